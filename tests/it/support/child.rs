//! The real binary as a child process. Everything it writes to stderr, at trace level, goes beside the logs
//! of the tests too, so that the search for credentials sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::gate::{SECRET, Settings, configuration, note_credential, open};
use super::until::{until, until_some};

/// The program in `dir`, with an empty environment but for the log level.
pub(crate) fn wxgate(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wxgate"));
    command.current_dir(dir).env_clear().env("WXGATE_LOG", "trace").args(arguments);
    command
}

/// `wxgate serve` before the upstream at `url`, with its configuration and state in `dir`.
pub(crate) fn serve(dir: &Path, url: &str, settings: &Settings) -> Command {
    note_credential(SECRET);
    let file = dir.join("gate.toml");
    std::fs::write(&file, configuration(url, settings, &dir.join("state"))).unwrap();
    wxgate(dir, &["serve", "--config", file.to_str().unwrap()])
}

/// What a child left behind that ended by itself.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(command: &mut Command) -> Ended {
    let mut child = Child::start(command.stdout(Stdio::piped()));
    let mut pipe = child.process.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut pipe).unwrap());
    let code = child.ended().await.code();
    let stdout = reader.join().unwrap();
    Ended { code, stdout, stderr: child.stderr() }
}

/// A running child; killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Child {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (stderr, mut log) =
            (process.stderr.take().unwrap(), open(&format!("trace-child-{}.log", process.id())));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                writeln!(log, "{line}").unwrap();
                kept.lock().unwrap().push(line);
            }
        });
        Self { process, lines, reader: Some(reader) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// All that it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The first line on stderr that holds `part`, once there is one.
    pub(crate) async fn line(&self, part: &str) -> String {
        until_some(&format!("a line with `{part}` on stderr"), || {
            self.lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned()
        })
        .await
    }

    /// Where it listens for callers, once it does.
    pub(crate) async fn addr(&self) -> SocketAddr {
        self.listens("(callers)").await
    }

    /// Where its admin listener is, once it says so.
    pub(crate) async fn admin_addr(&self) -> SocketAddr {
        self.listens("(admin)").await
    }

    async fn listens(&self, to: &str) -> SocketAddr {
        let line = self.line(to).await;
        let (_, rest) = line.split_once("listening on http://").unwrap();
        rest.split_once(' ').unwrap().0.parse().unwrap()
    }

    /// Sends a signal: `TERM`, `INT`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended and all that it wrote has been read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let status = until_some("the child ends", || process.try_wait().unwrap()).await;
        let reader = self.reader.take().unwrap();
        until("the child's stderr ends", || reader.is_finished()).await;
        reader.join().unwrap();
        status
    }

    /// The code it ended with; a signal that ended it fails the test.
    pub(crate) async fn code(&mut self) -> i32 {
        let status = self.ended().await;
        status.code().unwrap_or_else(|| panic!("ended by signal {:?}\n{}", status.signal(), self.stderr()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
