//! A running wxgate in this process, on port 0, with a state directory of its own.
//!
//! It runs on a thread of its own, as the program does, and stops when dropped. All logs of the test binary,
//! at trace level, go to one file, and every credential that a test gives out is noted beside it, so that
//! `tests/run` can search the one for the other.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use wxgate::app::{App, Order};
use wxgate::config::Config;
use wxgate::logging::{self, LogGuard};

use super::https::{Connection, Response, request};

/// The appid and AppSecret that tests use with the sandbox.
pub(crate) const APPID: &str = wxgate_sandbox::DEFAULT_APPID;
pub(crate) const SECRET: &str = wxgate_sandbox::DEFAULT_SECRET;

/// The corpid that tests use with the sandbox as WeCom.
pub(crate) const CORPID: &str = wxgate_sandbox::DEFAULT_CORPID;

/// A running proxy.
pub(crate) struct Gate {
    pub(crate) addr: SocketAddr,
    /// Of the HTTPS listener, where the settings ask for one.
    pub(crate) tls_addr: Option<SocketAddr>,
    /// Of the admin listener, where the settings ask for one on TCP.
    pub(crate) admin_addr: Option<SocketAddr>,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    state: PathBuf,
    _dir: Option<TempDir>,
}

/// What a test wants to be different from the usual configuration.
#[derive(Default)]
pub(crate) struct Settings {
    /// Lines at the top of the file.
    pub(crate) top: String,
    /// Lines of `[upstream]` besides url and ca.
    pub(crate) upstream: String,
    /// Lines of `[limits]`.
    pub(crate) limits: String,
    /// Lines of the one `[[account]]` besides appid and secret, which one with `token_api = "none"` does not have.
    pub(crate) account: String,
    /// Whole further tables.
    pub(crate) tables: String,
    /// A state directory that outlives the proxy.
    pub(crate) state: Option<PathBuf>,
    /// Another AppSecret than the sandbox's usual one.
    pub(crate) secret: Option<String>,
    /// Another appid.
    pub(crate) appid: Option<String>,
    /// Trusts the system's roots alone, not the sandbox's CA.
    pub(crate) distrusts_the_sandbox: bool,
}

/// The table of an HTTPS listener beside the plain one.
pub(crate) fn https_listener() -> String {
    let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/certs");
    format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\ncert = \"{certs}/server.pem\"\nkey = \"{certs}/server.key\"\n"
    )
}

/// The text of a configuration with one account before the upstream at `url`.
pub(crate) fn configuration(url: &str, settings: &Settings, state: &Path) -> String {
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/ca.pem");
    let ca = if settings.distrusts_the_sandbox { String::new() } else { format!("ca = {ca:?}") };
    let mut text = String::new();
    // Numbers that tests may override stand in `top`.
    if !settings.top.contains("workers") {
        text += "workers = 2\n";
    }
    if !settings.top.contains("listen") {
        text += "listen = [\"127.0.0.1:0\"]\n";
    }
    let app = match &settings.account {
        egress_only if egress_only.contains("token_api = \"none\"") => String::new(),
        wecom if wecom.contains("kind = \"wecom\"") => {
            format!("upstream = {url:?}\nappid = \"{CORPID}\"\nsecret = \"{SECRET}\"\n")
        }
        _ => {
            let appid = settings.appid.as_deref().unwrap_or(APPID);
            let secret = settings.secret.as_deref().unwrap_or(SECRET);
            note_credential(secret);
            format!("appid = \"{appid}\"\nsecret = \"{secret}\"\n")
        }
    };
    write!(
        text,
        "state_dir = {state:?}\n{}\n[upstream]\nurl = {url:?}\n{ca}\n{}\n\
         [limits]\n{}\n[[account]]\nname = \"main\"\n{app}{}\n{}\n",
        settings.top, settings.upstream, settings.limits, settings.account, settings.tables
    )
    .unwrap();
    text
}

impl Gate {
    /// A proxy with one account before the upstream at `url`.
    pub(crate) async fn before(url: &str) -> Self {
        Self::with(url, Settings::default()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(url: &str, settings: Settings) -> Self {
        let dir = TempDir::new().unwrap();
        let state = settings.state.clone().unwrap_or_else(|| dir.path().join("state"));
        let text = configuration(url, &settings, &state);
        Self::start(&text, state, Some(dir)).await
    }

    async fn start(text: &str, state: PathBuf, dir: Option<TempDir>) -> Self {
        log_everything();
        note_credential(SECRET);
        let loaded = Config::from_toml(text, Path::new("/nowhere/wxgate.toml"), &|_| None);
        let config = loaded.unwrap_or_else(|e| panic!("{e}")).config;
        let (ready, is_ready) = oneshot::channel();
        let (orders, received) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = App::start(config).await.unwrap();
                let admin = app.admin().and_then(|at| at.strip_prefix("http://")?.parse().ok());
                let listening = app.listening().iter().map(|l| l.address).collect::<Vec<_>>();
                ready.send((listening, admin)).unwrap();
                app.run(received).await.unwrap();
            });
        });
        let (addrs, admin_addr) = is_ready.await.expect("wxgate starts");
        Self {
            addr: addrs[0],
            tls_addr: addrs.get(1).copied(),
            admin_addr,
            orders: Some(orders),
            thread: Some(thread),
            state,
            _dir: dir,
        }
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Goes on with other settings; returns when they are in use.
    pub(crate) async fn reload(&self, url: &str, settings: &Settings) {
        // A test that expects a failure looks at what follows from it.
        let _ = self.reload_with_state(url, settings, &self.state).await;
    }

    /// The same with another state directory.
    pub(crate) async fn reload_with_state(
        &self,
        url: &str,
        settings: &Settings,
        state: &Path,
    ) -> Result<Vec<&'static str>, String> {
        let text = configuration(url, settings, state);
        let loaded = Config::from_toml(&text, Path::new("/nowhere/wxgate.toml"), &|_| None);
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
        let (config, settings) = (Box::new(loaded.config), loaded.settings);
        let (done, is_done) = oneshot::channel();
        self.orders.as_ref().unwrap().send(Order::Reload { config, settings, done }).await.unwrap();
        is_done.await.unwrap()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A test that is failing already must not panic again.
            if !std::thread::panicking() {
                ended.expect("wxgate ends without a panic");
            }
        }
    }

    /// Writes bytes on a connection of its own and reads one response.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Response {
        Connection::plain(self.addr).await.send(bytes).await.expect("a whole response")
    }

    /// `GET` on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(&request("GET", target, &[], b"")).await
    }

    /// `POST` of JSON on a connection of its own.
    pub(crate) async fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.send(&request("POST", target, &["Content-Type: application/json"], body.as_ref())).await
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the logs of the tests and the list of credentials go: `WXGATE_TEST_LOGS`, set by `tests/run`.
pub(crate) fn log_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| match std::env::var_os("WXGATE_TEST_LOGS") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::temp_dir().join(format!("wxgate-tests-{}", std::process::id())),
    })
}

/// A file beside the logs, to append to.
pub(crate) fn open(name: &str) -> std::fs::File {
    std::fs::create_dir_all(log_dir()).unwrap();
    OpenOptions::new().create(true).append(true).open(log_dir().join(name)).unwrap()
}

/// Starts the log of this process, once: everything that wxgate says at any level.
pub(crate) fn log_everything() {
    static LOG: OnceLock<LogGuard> = OnceLock::new();
    LOG.get_or_init(|| {
        let file = open(&format!("trace-{}.log", std::process::id()));
        logging::start_to(file)
    });
}

/// Notes a token, secret or key that no log may hold.
pub(crate) fn note_credential(credential: &str) {
    static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut noted = NOTED.lock().unwrap();
    if !noted.iter().any(|known| known == credential) {
        noted.push(credential.to_owned());
        writeln!(open(&format!("credentials-{}.txt", std::process::id())), "{credential}").unwrap();
    }
}
