//! What the process does for itself when it starts: no core dumps, enough open files.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::started;
use crate::support::child::{Child, serve, wxgate};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{SECRET, Settings, note_credential};

async fn fake() -> Fake {
    Fake::answering(|_| Reply::json("{}")).await
}

/// Soft and hard limit as `/proc/PID/limits` shows them.
fn limit(child: &Child, name: &str) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

/// Runs the same command after `ulimit` has set a limit.
fn limited(command: &Command, ulimit: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{ulimit} && exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[tokio::test]
async fn serve_and_demo_leave_no_core_file() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    note_credential(SECRET);
    let (served, _) = started(dir.path(), &fake.url(), &Settings::default()).await;
    let demo = Child::start(wxgate(dir.path(), &["demo"]).stdout(Stdio::null()));
    demo.line("(callers)").await;
    for child in [served, demo] {
        assert_eq!(limit(&child, "Max core file size"), ("0".to_owned(), "0".to_owned()));
        child.line("core dumps are off").await;
    }
}

/// The files in /proc of a process that is not dumpable belong to root, whoever runs it.
#[tokio::test]
async fn serve_is_not_dumpable() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    note_credential(SECRET);
    // Run by root, it has to become somebody else, or nothing would show.
    let me = std::fs::metadata(dir.path()).unwrap().uid();
    let user = if me == 0 { 54_321 } else { me };
    let program = dir.path().join("wxgate");
    // Not by this process: a child that another test forks meanwhile would hold the copy open for writing, and nobody
    // may run it until then.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_wxgate")).arg(&program).status().unwrap();
    assert!(copied.success());
    let start = |command: &Command| {
        let mut own = Command::new(&program);
        own.args(command.get_args()).current_dir(dir.path()).env_clear().env("WXGATE_LOG", "trace");
        if me == 0 {
            own.uid(user);
        }
        Child::start(&mut own)
    };
    let owner = |child: &Child| {
        std::fs::metadata(Path::new("/proc").join(child.id().to_string()).join("environ")).unwrap().uid()
    };
    // Whoever that is may not be able to read the checkout.
    let ca = dir.path().join("ca.pem");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/ca.pem"), &ca).unwrap();
    let upstream = format!("ca = {ca:?}");
    let settings = Settings { upstream, distrusts_the_sandbox: true, ..Settings::default() };
    let command = serve(dir.path(), &fake.url(), &settings);
    if me == 0 {
        for path in [dir.path().to_owned(), dir.path().join("gate.toml")] {
            chown(path, Some(user), None).unwrap();
        }
    }
    let served = start(&command);
    served.addr().await;
    assert_ne!(owner(&served), user);
    // The sandbox has no secrets: it shows what the other would look like.
    let sandbox = start(&wxgate(dir.path(), &["sandbox", "--listen", "127.0.0.1:0"]));
    sandbox.line("(sandbox)").await;
    assert_eq!(owner(&sandbox), user);
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_where_the_connections_need_it() {
    let fake = fake().await;
    for (connections, soft) in [(1000, "3000"), (10, "1024")] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            limits: format!("max_connections = {connections}"),
            upstream: "max_connections = 20".to_owned(),
            ..Settings::default()
        };
        let command = serve(dir.path(), &fake.url(), &settings);
        let child = Child::start(&mut limited(&command, "ulimit -Sn 1024 && ulimit -Hn 3000"));
        child.addr().await;
        assert_eq!(limit(&child, "Max open files"), (soft.to_owned(), "3000".to_owned()), "{connections}");
        assert!(!child.stderr().contains("the hard limit of open files"), "{}", child.stderr());
    }
}

#[tokio::test]
async fn a_hard_limit_that_is_too_low_is_said() {
    let fake = fake().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { limits: "max_connections = 1000".to_owned(), ..Settings::default() };
    let command = serve(dir.path(), &fake.url(), &settings);
    let child = Child::start(&mut limited(&command, "ulimit -n 256"));
    let line = child.line("the hard limit of open files is too low").await;
    assert!(line.contains("LimitNOFILE=2984") && line.contains("WARN"), "{line}");
    // It serves all the same.
    child.addr().await;
}
