//! A real redis-server on loopback with nothing in it, which ends with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, Connection};
use tempfile::TempDir;

use super::port::port;
use super::until::until_some;

/// A line of `[store]` for tests that count fetches or read why a store is away: on a busy machine a command may take
/// longer than the default allows, and then a replica fetches for itself, as it should.
pub(crate) const PATIENT: &str = "timeout = \"2s\"\n";

/// A running server; stops when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    dir: TempDir,
    program: &'static str,
    options: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with further options, `--requirepass` for example.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let mut redis = Self::idle();
        redis.options = options.iter().map(|option| (*option).to_owned()).collect();
        redis.again().await;
        redis
    }

    /// A Valkey; `None` where the machine has none.
    pub(crate) async fn valkey() -> Option<Self> {
        let version = Command::new("valkey-server").arg("--version").stdout(Stdio::null()).status();
        version.ok().filter(std::process::ExitStatus::success)?;
        let mut valkey = Self::idle();
        valkey.program = "valkey-server";
        valkey.again().await;
        Some(valkey)
    }

    /// One that speaks nothing but TLS, with a certificate for 127.0.0.1 out of `dir`.
    pub(crate) async fn with_tls(dir: &Path, options: &[&str]) -> Self {
        let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let mut redis = Self::idle();
        let port = redis.port.to_string();
        let (ca, cert, key) = (file("ca.pem"), file("redis.pem"), file("redis.key"));
        let tls = ["--port", "0", "--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
        redis.options =
            [&tls[..], &["--tls-key-file", &key], options].concat().into_iter().map(str::to_owned).collect();
        redis.again().await;
        redis
    }

    /// A sentinel of these servers' master `main`, with further lines for its file, in which PORT is its own.
    pub(crate) async fn sentinel(master: &Self, lines: &str) -> Self {
        let mut sentinel = Self::idle();
        let file = sentinel.dir.path().join("sentinel.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 10000\n{lines}\n",
            sentinel.port, master.port
        );
        std::fs::write(&file, text.replace("PORT", &sentinel.port.to_string())).unwrap();
        let process =
            Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap();
        sentinel.process = Some(process);
        sentinel.listens().await;
        sentinel
    }

    fn idle() -> Self {
        let (dir, program) = (TempDir::new().unwrap(), "redis-server");
        Self { port: port(), dir, program, options: Vec::new(), process: None }
    }

    /// Starts it on the same port, empty.
    pub(crate) async fn again(&mut self) {
        let (port, dir) = (self.port.to_string(), self.dir.path());
        let process = Command::new(self.program)
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(dir)
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn();
        self.process =
            Some(process.expect("redis-server of the Debian package redis-server (tests/run installs it)"));
        self.listens().await;
    }

    async fn listens(&self) {
        let port = self.port;
        until_some("redis-server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The table that makes a wxgate use it, as it is by default.
    pub(crate) fn table(&self) -> String {
        format!("[store]\nkind = \"redis\"\nurl = \"{}\"\n", self.url())
    }

    /// The same with [`PATIENT`].
    pub(crate) fn patient_table(&self) -> String {
        self.table() + PATIENT
    }

    /// An operator's connection.
    pub(crate) fn client(&self) -> Connection {
        let connection = Client::open(self.url()).unwrap().get_connection().unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection
    }

    /// What it says to a command of words; nothing while it hangs up, as in a failover.
    pub(crate) fn says(&self, words: &str) -> String {
        let mut words = words.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = cmd.arg(word));
        let connection = Client::open(self.url()).unwrap().get_connection();
        connection.and_then(|mut connection| cmd.query(&mut connection)).unwrap_or_default()
    }

    /// Runs a command of words.
    pub(crate) fn run(&self, words: &str) {
        run(&mut self.client(), words);
    }

    /// The same where a password is asked for.
    pub(crate) fn run_as(&self, password: &str, words: &str) {
        let url = format!("redis://:{password}@127.0.0.1:{}/0", self.port);
        run(&mut Client::open(url).unwrap().get_connection().unwrap(), words);
    }

    pub(crate) fn dump(&self, key: &str) -> Vec<u8> {
        redis::cmd("DUMP").arg(key).query(&mut self.client()).unwrap()
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) {
        redis::cmd("SET").arg(key).arg(value).exec(&mut self.client()).unwrap();
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut self.client()).unwrap();
        keys.sort();
        keys
    }

    /// The one key of the usual account's state.
    pub(crate) fn state_key(&self) -> String {
        self.keys().into_iter().find(|key| key.contains('{') && !key.ends_with(":lock")).expect("a state")
    }

    pub(crate) fn value(&self, key: &str) -> Vec<u8> {
        redis::cmd("GET").arg(key).query(&mut self.client()).unwrap()
    }
}

fn run(client: &mut Connection, words: &str) {
    let mut words = words.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    for word in words {
        cmd.arg(word);
    }
    cmd.exec(client).unwrap();
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
