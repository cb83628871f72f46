//! `wxgate demo` as a newcomer meets it: start it, paste what it prints.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::support::gate::note_credential;

struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// Where it keeps what it throws away at its end.
    temporary: TempDir,
}

impl Demo {
    fn start() -> Self {
        note_credential(wxgate_sandbox::DEFAULT_SECRET);
        let temporary = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wxgate"))
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .env("LC_ALL", "C")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr, temporary }
    }
}

/// Lines up to and including the first that holds `text`.
fn lines_until(output: &mut impl BufRead, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let length = output.read_line(&mut line).unwrap();
        assert!(length > 0, "the demo ended before it said {text:?}: {lines:?}");
        let found = line.contains(text);
        lines.push(line.trim_end().to_owned());
        if found {
            return lines;
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has said so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_four_printed_commands_work_as_printed_and_show_the_retry() {
    let mut demo = Demo::start();
    let lines = lines_until(&mut demo.stdout, "Ctrl-C");
    lines_until(&mut demo.stderr, "(callers)");
    let commands: Vec<&str> = lines.iter().map(|l| l.trim()).filter(|l| l.starts_with("curl ")).collect();
    assert_eq!(commands.len(), 4, "{lines:?}");
    let answers: Vec<serde_json::Value> = commands
        .iter()
        .map(|command| {
            let output = Command::new("sh").args(["-c", &format!("{command} -sS")]).output().unwrap();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{command}: {e}"))
        })
        .collect();
    assert_eq!(answers[0]["total"], 3);
    assert_eq!(answers[1]["errcode"], 0);
    assert_eq!(answers[2]["openid"], "oSandboxFollower000000000001");
    assert_eq!(
        (&answers[3]["errcode"], &answers[3]["appId"]),
        (&0.into(), &wxgate_sandbox::DEFAULT_APPID.into())
    );
    assert_eq!(answers[3]["signature"].as_str().map(str::len), Some(40));
    let page =
        lines.iter().find_map(|line| line.strip_prefix("The page for people, with a console for calls: "));
    let page = Command::new("curl").args(["-sS", page.unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&page.stdout).contains("<title>✓ All is well"), "{page:?}");
    let retried = lines_until(&mut demo.stderr, "/cgi-bin/user/info").pop().unwrap();
    let line: serde_json::Value = serde_json::from_str(&retried).expect("an access line in JSON");
    assert_eq!(
        (line["attempts"].as_u64(), line["status"].as_u64()),
        (Some(3), Some(200)),
        "the token is young, so it is tried once more first"
    );
    let left = |demo: &Demo| std::fs::read_dir(demo.temporary.path()).unwrap().count();
    assert_eq!(left(&demo), 1);
    let told = Command::new("kill").arg(demo.child.id().to_string()).status().unwrap();
    assert!(told.success() && demo.child.wait().unwrap().success());
    assert_eq!(left(&demo), 0, "a clean stop leaves nothing behind");
}
