//! `wxgate check`: says what is right and what is wrong, and how to mend it.
//!
//! One finding per line, or all as JSON: ok, warning or FAIL, with the cure. It ends nobody's token: the credentials are
//! proved with `stable_token` in its normal mode (WeCom's with `gettoken`), never with `/cgi-bin/token`. What it writes, to
//! the state directory or a shared store, it takes away again: a wxgate may be running on the same. No finding holds a
//! token or a secret.

mod machine;
mod network;
mod robots;
mod secrets;
mod shared;
mod signing;
mod state;

use std::fmt;
use std::io::Write;

use serde_json::{Value, json};

use crate::config::{self, Account, Config, ConfigErrors, ConfigSource, Loaded, Product};
use crate::proxy::route::table_of;
use crate::upstream::tls::Trust;

/// Nothing is wrong.
const RIGHT: u8 = 0;
/// Something is wrong that is not configuration.
const WRONG: u8 = 1;
/// The configuration is wrong, and nothing could be looked at.
const WRONG_CONFIGURATION: u8 = 2;

/// What a check was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Look at files and settings alone; contact nobody.
    pub offline: bool,
    /// Write the findings as one JSON object.
    pub json: bool,
    /// Send a test message to the robots of `[[alert]]`.
    pub alerts: bool,
}

/// Writes its findings; 0 when nothing is wrong, 1 when something is.
pub async fn command(loaded: &Loaded, asked: Asked, out: &mut dyn Write) -> u8 {
    let mut report = Report::new(out, asked.json);
    let config = &loaded.config;
    configuration(loaded, &mut report);
    secrets::look(loaded, &mut report);
    signing::certificates(&config.accounts, &mut report);
    machine::listeners(config, state::in_use(config).await, &mut report);
    machine::open_files(config, &mut report);
    machine::egress(config, &mut report);
    match &config.store {
        config::Store::File { .. } => {
            state::directory(&config.state_dir, &mut report);
            state::tokens(config, &state::looks(config).await, &mut report);
        }
        config::Store::Redis(settings) if asked.offline => {
            report.ok(format_args!("the store {} was not asked (--offline)", settings.shown()));
        }
        config::Store::Redis(settings) => shared::store(config, settings, &mut report).await,
    }
    let trust = trust(config, &mut report);
    match trust {
        _ if asked.offline => {
            report.ok(format_args!("nobody was asked (--offline): DNS, connection, clock, credentials"));
        }
        Some(trust) => {
            network::look(config, &trust, &mut report).await;
            robots::look(config, &trust, asked.alerts, &mut report).await;
        }
        // Without trust roots there is no connection, and that has been said.
        None => {}
    }
    report.finish()
}

/// As [`command`] of a configuration that cannot be read, with `--json`: what is wrong with it are the findings.
pub fn refused(errors: &ConfigErrors, out: &mut dyn Write) -> u8 {
    let mut report = Report::new(out, true);
    match errors.problems() {
        [] => report.wrong(format_args!("{errors}")),
        problems => problems.iter().for_each(|problem| report.wrong(format_args!("{problem}"))),
    }
    report.finish();
    WRONG_CONFIGURATION
}

/// What was read, without secrets, and what the reader found odd.
fn configuration(loaded: &Loaded, report: &mut Report<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    match &loaded.source {
        ConfigSource::File(path) => {
            report.ok(format_args!("wxgate {version}, configuration from `{}`", path.display()));
        }
        ConfigSource::Environment => {
            report.ok(format_args!("wxgate {version}, configuration from the environment"));
        }
    }
    for warning in &loaded.warnings {
        report.warning(format_args!("{warning}"));
    }
    for account in &loaded.config.accounts {
        report.ok(format_args!("{}", Summary(account)));
    }
    let upstream = &loaded.config.upstream;
    match upstream.egress_ip {
        Some(ip) => report.ok(format_args!("connections leave from egress_ip {ip}")),
        None => report.ok(format_args!("connections leave from the address that the system chooses")),
    }
}

/// One account in one line.
struct Summary<'a>(&'a Account);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account {
            name,
            kind,
            app,
            hosts,
            prefix,
            paths,
            untouched,
            tickets,
            secret_paths,
            upstream,
            refresh_on,
            signing,
        } = self.0;
        write!(f, "account `{name}`: ")?;
        match (app, kind) {
            (Some(app), Product::Weixin) => write!(f, "appid {}", app.appid)?,
            (Some(app), Product::Wecom) => write!(f, "WeCom, corpid {}", app.appid)?,
            (None, _) => f.write_str("callers keep their own token")?,
        }
        let api = self.0.token_api();
        write!(f, ", upstream {upstream}, token_api {api}, paths {}", paths.join(" "))?;
        if !hosts.is_empty() {
            write!(f, ", hosts {}", hosts.join(" "))?;
        }
        if !prefix.is_empty() {
            write!(f, ", prefix {prefix}")?;
        }
        if !untouched.is_empty() {
            let untouched: Vec<_> = untouched.iter().map(ToString::to_string).collect();
            write!(f, ", untouched {}", untouched.join(" "))?;
        }
        if *tickets {
            f.write_str(", keeps tickets and signs pages at ")?;
            let paths = table_of(*kind, true).signatures.iter().map(|(path, _)| *path);
            f.write_str(&paths.collect::<Vec<_>>().join(" "))?;
        }
        if !secret_paths.is_empty() {
            let paths: Vec<_> = secret_paths.iter().map(|entry| entry.path.as_str()).collect();
            write!(f, ", puts the secret into {}", paths.join(" "))?;
        }
        if let Some(keys) = signing {
            write!(f, ", encrypts and signs calls with the symmetric key {}", keys.key_number)?;
        }
        if refresh_on.is_empty() && app.is_some() {
            f.write_str(", never refreshed by an errcode")?;
        }
        Ok(())
    }
}

fn trust(config: &Config, report: &mut Report<'_>) -> Option<Trust> {
    match Trust::load(config.upstream.ca.as_ref()) {
        Ok(trust) => {
            let (system, file) = (trust.system(), trust.file());
            match &config.upstream.ca {
                Some(ca) => report.ok(format_args!(
                    "trust roots: {system} of the system, {file} of upstream.ca `{}`",
                    ca.name()
                )),
                None => report.ok(format_args!("trust roots: {system} of the system")),
            }
            Some(trust)
        }
        Err(error) => {
            report.wrong(format_args!("{error}"));
            None
        }
    }
}

/// Takes findings, and writes them: each at once as a line, or all at the end as JSON.
struct Report<'a> {
    out: &'a mut dyn Write,
    wrong: bool,
    /// With JSON, what has been found so far.
    findings: Option<Vec<Value>>,
}

impl<'a> Report<'a> {
    fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, wrong: false, findings: json.then(Vec::new) }
    }

    /// As it should be.
    fn ok(&mut self, text: fmt::Arguments<'_>) {
        self.line("ok", text);
    }

    /// It works, and will cause trouble; or nobody can tell.
    fn warning(&mut self, text: fmt::Arguments<'_>) {
        self.line("warning", text);
    }

    /// It does not work.
    fn wrong(&mut self, text: fmt::Arguments<'_>) {
        self.wrong = true;
        self.line("FAIL", text);
    }

    fn line(&mut self, kind: &str, text: fmt::Arguments<'_>) {
        // A path can hold a line feed; a finding is one line all the same.
        let text = text.to_string().replace(char::is_control, " ");
        match &mut self.findings {
            Some(findings) => findings.push(json!({ "level": kind.to_ascii_lowercase(), "text": text })),
            // With stdout gone the exit code still tells.
            None => {
                let _ = writeln!(self.out, "{kind:<8} {text}").and_then(|()| self.out.flush());
            }
        }
    }

    /// Writes what has not been written; the exit code.
    fn finish(self) -> u8 {
        if let Some(findings) = self.findings {
            let all = json!({ "ok": !self.wrong, "findings": findings });
            // As above.
            let _ = writeln!(self.out, "{all:#}").and_then(|()| self.out.flush());
        }
        if self.wrong { WRONG } else { RIGHT }
    }
}

/// What a look writes, for the tests of the looks.
#[cfg(test)]
fn said(look: impl FnOnce(&mut Report<'_>)) -> String {
    let mut out = Vec::new();
    look(&mut Report::new(&mut out, false));
    String::from_utf8(out).expect("findings are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn checked(text: &str) -> (u8, String) {
        let env = |name: &str| (name == "S").then(|| "s3cr3t-of-the-test".into());
        let loaded = Config::from_toml(text, Path::new("/nowhere/wxgate.toml"), &env).unwrap();
        let mut out = Vec::new();
        let asked = Asked { offline: true, ..Asked::default() };
        let code = command(&loaded, asked, &mut out).await;
        (code, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn a_summary_names_everything_but_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (code, said) = checked(&format!(
            "listen = [\"127.0.0.1:0\"]\nstate_dir = {:?}\n[[account]]\nname = \"shop\"\nappid = \"wx1\"\n\
             secret = {{ env = \"S\" }}\ntoken_api = \"stable_token\"\nhosts = [\"a.test\"]\nprefix = \"/shop\"\n\
             paths = [\"/cgi-bin/\", \"/wxa/\"]\nrefresh_on = []\n",
            dir.path()
        ))
        .await;
        assert_eq!(code, RIGHT, "{said}");
        let summary = "ok       account `shop`: appid wx1, upstream https://api.weixin.qq.com:443, token_api stable_token, \
                       paths /cgi-bin/ /wxa/, hosts a.test, prefix /shop, never refreshed by an errcode\n";
        assert!(said.contains(summary), "{said}");
        assert!(said.contains("configuration from `/nowhere/wxgate.toml`"), "{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
        let kinds = ["ok ", "warning ", "FAIL "];
        assert!(said.lines().all(|line| kinds.iter().any(|kind| line.starts_with(kind))), "{said}");
    }

    #[tokio::test]
    async fn what_the_machine_lacks_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let (code, said) = checked(&format!(
            "listen = [\"127.0.0.1:0\"]\nstate_dir = {:?}\n[upstream]\negress_ip = \"192.0.2.1\"\n\
             [[account]]\nappid = \"wx1\"\nsecret = {{ env = \"S\" }}\n",
            dir.path(),
        ))
        .await;
        assert_eq!(code, WRONG, "{said}");
        assert!(said.contains("FAIL     egress_ip 192.0.2.1 is not an address of this machine"), "{said}");
    }

    #[test]
    fn a_finding_is_one_line() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        report.ok(format_args!("a\nFAIL     b\x1b[2J"));
        assert_eq!(report.finish(), RIGHT);
        assert_eq!(String::from_utf8(out).unwrap(), "ok       a FAIL     b [2J\n");
    }
}
