//! One account from the environment alone, for containers and for a first try.
//!
//! Only the variables below are looked at, and only when there is no file; whatever else can be set needs one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::defaults::state_dir;
use super::error::{ConfigErrors, Problem, shown};
use super::files::Files;
use super::parse::address;
use super::report::Finished;
use super::settings::{self, Content, ValueSource};
use super::text::Text;
use super::{ConfigSource, Env, Loaded, parse, secret};
use crate::secret::Secret;

const APPID: &str = "WXGATE_APPID";
const SECRET: &str = "WXGATE_SECRET";
const SECRET_FILE: &str = "WXGATE_SECRET_FILE";
const LISTEN: &str = "WXGATE_LISTEN";
const UPSTREAM: &str = "WXGATE_UPSTREAM";
const EGRESS_IP: &str = "WXGATE_EGRESS_IP";
const STATE_DIR: &str = "WXGATE_STATE_DIR";

const ALL: [&str; 7] = [APPID, SECRET, SECRET_FILE, LISTEN, UPSTREAM, EGRESS_IP, STATE_DIR];

/// Which of the variables are set although a file decides; `used` are those that the file itself names.
pub(super) fn set_beside_a_file(env: Env<'_>, used: &[String]) -> Vec<&'static str> {
    let ignored = |name: &&str| set(env, name).is_some() && !used.iter().any(|used| used == *name);
    ALL.into_iter().filter(ignored).collect()
}

/// Whether any of the variables is set.
pub(super) fn has_any(env: Env<'_>) -> bool {
    ALL.iter().any(|name| set(env, name).is_some())
}

/// Reads the variables; [`ConfigErrors::NothingConfigured`] if none is set.
pub(super) fn load(files: &Files, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    if !has_any(env) {
        return Err(ConfigErrors::NothingConfigured);
    }
    let mut reader = Reader { files, env, problems: Vec::new(), exposed: false };
    // The defaults are those of a file with an account that says nothing of itself.
    let nobody = "state_dir = '.'\n[[account]]\nappid = 'nobody'\nsecret = 'none'\n";
    let nobody = Text { path: PathBuf::new(), text: Zeroizing::new(nobody.to_owned()), exposed: false };
    let (base, Finished { mut settings, .. }) = super::file::read(&nobody, files, env);
    let appid = reader.appid();
    let secret = reader.secret();
    let secret_variable = if set(env, SECRET).is_some() { SECRET } else { SECRET_FILE };
    let listen = reader.listen();
    let url = reader.parsed(UPSTREAM, address::url_may_be_shown, address::upstream_url);
    let egress_ip = reader.parsed(EGRESS_IP, |_| true, address::egress_ip);
    let state_dir = reader.state_dir();
    let (Some(mut config), Some(appid), Some(secret), Some(state_dir), []) =
        (base, appid, secret, state_dir, reader.problems.as_slice())
    else {
        return Err(ConfigErrors::Wrong(reader.problems));
    };
    let mut set_with = |key: &str, value: Json, name, content| {
        settings::replace(&mut settings, key, value, ValueSource::Environment(name), content);
    };
    set_with("account[0].secret", "***".into(), secret_variable, Content::of(secret.expose()));
    let mut set = |key: &str, value: Json, name| set_with(key, value, name, Content::default());
    if let Some(listen) = listen {
        set("listen", listen.iter().map(ToString::to_string).collect(), LISTEN);
        config.listen = listen;
    }
    if let Some(url) = url {
        set("upstream.url", url.to_string().into(), UPSTREAM);
        config.upstream.url = url;
    }
    if let Some(ip) = egress_ip {
        set("upstream.egress_ip", ip.to_string().into(), EGRESS_IP);
        config.upstream.egress_ip = Some(ip);
    }
    let (state_dir, variable) = state_dir;
    set("state_dir", state_dir.display().to_string().into(), variable);
    set("account[0].appid", appid.as_str().into(), APPID);
    config.state_dir = state_dir;
    for account in &mut config.accounts {
        if let Some(app) = &mut account.app {
            (app.appid, app.secret) = (appid.clone(), secret.clone());
        }
        account.upstream = config.upstream.url.clone();
    }
    let (exposed, source) = (reader.exposed, ConfigSource::Environment);
    let warnings = exposed.then(|| format!("{SECRET_FILE}: {}", secret::EXPOSED)).into_iter().collect();
    Ok(Loaded { config, warnings, exposed, source, credentials: Vec::new(), settings })
}

/// A variable's value; empty counts as not set, for compose files write `NAME=` for "none".
fn set(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

struct Reader<'a> {
    files: &'a Files,
    env: Env<'a>,
    problems: Vec<Problem>,
    /// Other users can read the file with the secret.
    exposed: bool,
}

impl Reader<'_> {
    fn problem(&mut self, name: &str, found: Option<String>, advice: impl Into<String>) {
        let (key, advice) = (Some(name.to_owned()), advice.into());
        self.problems.push(Problem { file: None, line: None, column: None, key, found, advice });
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        may_be_shown: impl FnOnce(&str) -> bool,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = set(self.env, name)?;
        let text = value.to_string_lossy();
        match parse(&text) {
            Ok(value) => Some(value),
            Err(want) => {
                let found = if may_be_shown(&text) { shown(&text) } else { "a text".to_owned() };
                self.problem(name, Some(found), want);
                None
            }
        }
    }

    fn appid(&mut self) -> Option<String> {
        if set(self.env, APPID).is_none() {
            self.problem(APPID, None, "not set, and required beside WXGATE_SECRET or WXGATE_SECRET_FILE");
        }
        self.parsed(APPID, |_| true, parse::appid)
    }

    fn secret(&mut self) -> Option<Secret> {
        let (plain, file) = (set(self.env, SECRET), set(self.env, SECRET_FILE));
        let (name, secret) = match (plain, file) {
            (Some(text), None) => (SECRET, secret::from_variable(text, secret::APP_SECRET)),
            (None, Some(path)) => (SECRET_FILE, self.secret_file(&PathBuf::from(path))),
            (None, None) => {
                self.problem(
                    SECRET_FILE,
                    None,
                    "not set, and neither is WXGATE_SECRET; one of the two is required",
                );
                return None;
            }
            (Some(_), Some(_)) => {
                self.problem(SECRET_FILE, None, "set beside WXGATE_SECRET; want one of the two");
                return None;
            }
        };
        secret.map_err(|words| self.problem(name, None, words)).ok()
    }

    fn secret_file(&mut self, path: &Path) -> Result<Secret, String> {
        let (secret, exposed) =
            secret::from_file(self.files, SECRET_FILE, path, self.env, secret::APP_SECRET)?;
        self.exposed = exposed;
        Ok(secret)
    }

    fn listen(&mut self) -> Option<Vec<std::net::SocketAddr>> {
        let listen = self.parsed(
            LISTEN,
            |_| true,
            |text| text.split(',').map(address::listen).collect::<Result<Vec<_>, _>>(),
        )?;
        if let Some(twice) = address::twice(&listen) {
            self.problem(LISTEN, Some(format!("{twice} twice")), "each address once");
        }
        if let Some(open) = listen.iter().find(|listen| !address::is_loopback(listen.ip())) {
            let words = "a loopback address such as \"127.0.0.1:8080\": whoever reaches this one could use the \
                         WeChat account. Opening it takes a wxgate.toml, with a [[caller]] or open_to_everyone = true";
            self.problem(LISTEN, Some(format!("\"{open}\"")), words);
        }
        Some(listen)
    }

    /// The folder, and the variable that names it.
    fn state_dir(&mut self) -> Option<(PathBuf, &'static str)> {
        match set(self.env, STATE_DIR) {
            Some(path) => Some((PathBuf::from(path), STATE_DIR)),
            None => state_dir(self.env).map_err(|words| self.problem(STATE_DIR, None, words)).ok(),
        }
    }
}
