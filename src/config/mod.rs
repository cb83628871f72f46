//! From a TOML file or the environment to checked values.
//!
//! This file holds what the program uses; `file.rs` and `environment.rs` read what the user wrote. The parts
//! of the program get these values and never see TOML. Nothing here opens sockets or talks to anybody.

mod account;
mod admin;
mod advice;
mod alert;
mod app;
mod caller;
mod defaults;
mod environment;
mod error;
mod file;
mod files;
mod keys;
mod limits;
mod loader;
mod parse;
mod pem;
mod report;
mod schema;
mod secret;
mod secret_paths;
mod settings;
mod signing;
mod store;
mod table;
mod text;
mod tls;
mod upstream;
mod value;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::credential::TokenApi;
use crate::credential::{Policy, policy};
pub use crate::errcodes::Product;
pub use admin::{Admin, AdminListen};
pub use error::{ConfigErrors, Problem};
pub use loader::Loader;
pub(crate) use parse::address::is_loopback;
pub(crate) use parse::appid;
pub use schema::schema;
pub(crate) use secret::appsecret;
pub use settings::{Setting, ValueSource, changed, print};
pub use store::Store;
pub use upstream::Upstream;

use files::Files;

use crate::alert::Robot;
pub use crate::logging::LogFormat;
use crate::proxy::route::{PathPattern, SecretPath};
pub use crate::proxy::settings::{Allow, Caller, Limits, Rate};
pub use crate::proxy::signing::keys::Keys as SigningKeys;
use crate::secret::Secret;
use crate::tls::ServerPem;
use crate::upstream::BaseUrl;

/// Where variables come from: the process's environment, or a test's own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What is read when no file is named.
pub const DEFAULT_FILE: &str = "wxgate.toml";

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// What is allowed and probably not meant, one line each, free of secrets.
    pub warnings: Vec<String>,
    /// Whether other users of this machine can read a file with a secret; the warnings name each.
    pub exposed: bool,
    /// What decided.
    pub source: ConfigSource,
    /// Keys whose values are systemd's credentials, which stay as they are until the unit is restarted.
    pub credentials: Vec<String>,
    /// What is in force, key by key, secrets masked.
    pub settings: Vec<Setting>,
}

/// What decided about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// This file, as the user named it.
    File(PathBuf),
    /// The environment alone.
    Environment,
}

/// A whole checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Plain HTTP listeners for callers; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// HTTPS listeners for callers.
    pub tls: Option<Tls>,
    /// The admin listener.
    pub admin: Option<Admin>,
    /// Folder of the token files, one per appid.
    pub state_dir: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
    /// Threads that serve requests; never 0, the CPUs are already counted.
    pub workers: usize,
    /// How long requests in flight may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// How long wxgate goes on accepting after SIGTERM.
    pub shutdown_delay: Duration,
    /// Whether it reloads by itself when a file has changed.
    pub watch: bool,
    /// The API host and the way there.
    pub upstream: Upstream,
    /// What one caller may use up.
    pub limits: Limits,
    /// Whether listeners may be open to whoever reaches them.
    pub open_to_everyone: bool,
    /// At least one; names and appids are unique, and so are hosts and prefixes.
    pub accounts: Vec<Account>,
    /// Who may call; empty: whoever reaches a listener.
    pub callers: Vec<Caller>,
    /// Where tokens are kept.
    pub store: Store,
    /// Group robots that are told when something needs a person.
    pub alerts: Vec<Robot>,
}

impl Config {
    /// Reads the file named; else `./wxgate.toml` if there is one; else the environment alone.
    ///
    /// Secrets are read too, so a value that comes back is ready to run with. The files it reads are small;
    /// it blocks for as long as they take.
    ///
    /// # Errors
    /// Everything that is wrong, at once; the process should print it and exit with 2.
    pub fn load(path: Option<&Path>, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
        Self::load_in(Path::new(""), path, &Files::default(), env)
    }

    /// As [`Config::load`] with another folder to look for `wxgate.toml` in.
    fn load_in(
        folder: &Path,
        path: Option<&Path>,
        files: &Files,
        env: Env<'_>,
    ) -> Result<Loaded, ConfigErrors> {
        match chosen(folder, path) {
            Some(path) => file::load(&path, files, env),
            None => environment::load(files, env),
        }
    }

    /// Where the admin listener is, and its key where that can be had; nothing else of the configuration need be right.
    /// `None` where there is no such listener: the environment alone cannot ask for one.
    fn load_admin(path: Option<&Path>, files: &Files, env: Env<'_>) -> Result<Option<Admin>, ConfigErrors> {
        match chosen(Path::new(""), path) {
            Some(path) => file::load_admin(&path, files, env),
            None if environment::has_any(env) => Ok(None),
            None => Err(ConfigErrors::NothingConfigured),
        }
    }

    /// The environment alone, whatever files there are.
    #[cfg(test)]
    fn from_environment(env: Env<'_>) -> Result<Loaded, ConfigErrors> {
        environment::load(&Files::default(), env)
    }

    /// A text as if it stood in `file`, which need not exist; relative paths start from its folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str, file: &Path, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
        file::from_text(text, file, &Files::default(), env)
    }
}

/// The file that decides: the one that is named, else the usual one of the folder; `None`: the environment.
fn chosen(folder: &Path, path: Option<&Path>) -> Option<PathBuf> {
    let default = folder.join(DEFAULT_FILE);
    // A file that is there and cannot be looked at is for the reader to complain about: falling back
    // to the environment would run another configuration than the one meant.
    match path {
        Some(path) => Some(path.to_owned()),
        None => default.try_exists().unwrap_or(true).then_some(default),
    }
}

/// HTTPS listeners for callers and what they show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Addresses; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Certificates and key, as they were read.
    pub pem: ServerPem,
}

impl Config {
    /// The addresses of all listeners.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let https = self.tls.iter().flat_map(|tls| &tls.listen).copied();
        let admin = self.admin.iter().filter_map(|admin| admin.listen.address());
        self.listen.iter().copied().chain(https).chain(admin)
    }

    /// How many connections there can be at one moment: those of callers, and those to each API host.
    pub fn connections(&self) -> usize {
        let hosts: HashSet<_> =
            self.accounts.iter().flat_map(|account| self.upstream.bases(account)).collect();
        self.limits.max_connections.saturating_add(self.upstream.max_connections.saturating_mul(hosts.len()))
    }
}

/// One WeChat appid with its secret, its token, its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `[a-z0-9-]+`, unique.
    pub name: String,
    /// Whose API it calls.
    pub kind: Product,
    /// Whose token wxgate keeps; `None`: callers keep their own (`token_api = "none"`).
    pub app: Option<App>,
    /// Host names and addresses that belong to this account: lower-case, without port, brackets or a dot at
    /// the end.
    pub hosts: Vec<String>,
    /// `""`, or `/shop`: starts with `/`, does not end with it.
    pub prefix: String,
    /// What may be called: each starts with `/`.
    pub paths: Vec<String>,
    /// Its API host: that of `[upstream]`, or another.
    pub upstream: BaseUrl,
    /// What is forwarded as it is, without the token.
    pub untouched: Vec<PathPattern>,
    /// Whether calls for tickets are answered here, and signatures made.
    pub tickets: bool,
    /// The calls that appid and AppSecret are put into.
    pub secret_paths: Vec<SecretPath>,
    /// The errcodes that mean a dead token.
    pub refresh_on: Vec<i64>,
    /// What calls are encrypted and signed with.
    pub signing: Option<SigningKeys>,
}

/// What a token is issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// `[A-Za-z0-9_-]+`, unique among official accounts and mini programs; at WeCom the corpid, which its
    /// applications share.
    pub appid: String,
    /// The AppSecret.
    pub secret: Secret,
    /// Which call issues the token.
    pub token_api: TokenApi,
}

impl Account {
    /// How its token lives and is issued; `None` where wxgate keeps none.
    pub fn policy(&self) -> Option<&'static Policy> {
        self.app.as_ref().map(|app| policy::of(self.kind, app.token_api))
    }

    /// The word for `token_api` in `/status`.
    pub fn token_api(&self) -> &'static str {
        self.app.as_ref().map_or("none", |app| app.token_api.as_str())
    }
}
