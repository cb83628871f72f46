//! Reads a TOML file into a checked configuration: the keys at the top, then each table by its own reader.
//!
//! A file with a syntax error is not read any further, for what the parser makes of the rest is guesswork.

use std::net::SocketAddr;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{ConfigErrors, Problem};
use super::files::Files;
use super::keys::{self, TOP};
use super::parse::address;
use super::report::{Findings, Finished, Report};
use super::secret::is_exposed;
use super::table::Table;
use super::value::Value;
use super::{Config, Env, Loaded, LogFormat, Source, account, caller, limits, state_dir, tls, upstream};
use crate::regular_file::ReadError;

/// More than any configuration.
const MOST_BYTES: usize = 1 << 20;

/// What follows is seldom more than an echo, above all if the file is no TOML at all.
const MOST_SYNTAX_ERRORS: usize = 20;

/// Reads the file and everything that it names.
pub(super) fn load(path: &Path, files: &Files, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    let (text, exposed) = text_of(path, files, env)?;
    from_text(&text, path, files, env, exposed)
}

/// As [`load`] with the text at hand; `exposed`: others may read the file that it came from.
pub(super) fn from_text(
    text: &str,
    path: &Path,
    files: &Files,
    env: Env<'_>,
    exposed: bool,
) -> Result<Loaded, ConfigErrors> {
    let (config, finished, plain_secret) = read(text, path, files, env);
    let Finished { problems, mut warnings, env_used, credentials, .. } = finished;
    let config = match config {
        Some(config) if problems.is_empty() => config,
        _ => return Err(ConfigErrors::Wrong(problems)),
    };
    let shown = path.display();
    if exposed && plain_secret {
        warnings.push(format!(
            "{shown}: holds a secret, and other users of this machine can read it; `chmod 600` it"
        ));
    }
    let ignored = super::environment::set_beside_a_file(env, &env_used);
    if !ignored.is_empty() {
        warnings.push(format!("{} in the environment: ignored, {shown} alone decides", ignored.join(", ")));
    }
    Ok(Loaded { config, warnings, source: Source::File(path.to_owned()), credentials })
}

/// The configuration as far as it could be read, what is wrong with it, and whether it holds a secret itself.
pub(super) fn read(text: &str, path: &Path, files: &Files, env: Env<'_>) -> (Option<Config>, Finished, bool) {
    let findings = Findings::new(files, env);
    let report = Report::new(path, text, &findings);
    let (document, errors) = DeTable::parse_recoverable(text);
    let config = if errors.is_empty() {
        let empty = Spanned::new(0..0, DeTable::new());
        read_top(&document, &empty, &report)
    } else {
        for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
            // `Display` of this error quotes the source line; its message and span do not.
            report.syntax(&error.span().unwrap_or(text.len()..text.len()), &syntax_words(error.message()));
        }
        None
    };
    let plain_secret = report.has_plain_secret();
    (config, findings.finish(), plain_secret)
}

fn read_top<'r>(
    document: &'r Spanned<DeTable<'r>>,
    empty: &'r Spanned<DeTable<'r>>,
    report: &'r Report<'r>,
) -> Option<Config> {
    let mut top = Table::new(document.get_ref(), &(0..0), keys::section(TOP), String::new(), report);
    let without_plain = top.given("tls");
    let plain = top.key("listen", |value| match value.toml() {
        // Those who serve HTTPS alone say so.
        DeValue::Array(addresses) if addresses.is_empty() && without_plain => Some(Vec::new()),
        _ => listen(value),
    });
    let state_dir = top.optional("state_dir", |value| Some(value.path())).unwrap_or_else(|| {
        state_dir(report.env()).map_err(|words| report.problem(1, "state_dir", None, words)).ok()
    });
    let log_format = top.key("log_format", |v| {
        v.one_of(&[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let access_log = top.key("access_log", Value::yes_or_no);
    let workers = top.key("workers", Value::count);
    let shutdown_grace = top.key("shutdown_grace", Value::time);
    let open_to_everyone = top.key("open_to_everyone", Value::yes_or_no);
    let tls = tls::read(&mut top);
    let upstream = upstream::read(top.table_or_defaults("upstream", empty));
    let limits = limits::read(top.table_or_defaults("limits", empty));
    // Files are the only kind of store so far.
    top.table_or_defaults("store", empty).finish();
    let (accounts, names) = account::read_all(&mut top, &upstream.url);
    let callers = caller::read_all(&mut top, &accounts, &names);
    if !open_to_everyone && !top.has_elements("caller") {
        refuse_open_relay(&plain, &top, "listen");
        // A client certificate guards the listener that asks for it, and no other.
        if let Some(tls) = tls.as_ref().filter(|tls| tls.pem.client_ca.is_none()) {
            refuse_open_relay(&tls.listen, &top, "tls");
        }
    }
    top.finish();
    Some(Config {
        listen: plain,
        tls,
        state_dir: state_dir?,
        log_format,
        access_log,
        workers: super::workers(workers),
        shutdown_grace,
        upstream,
        limits,
        open_to_everyone,
        accounts,
        callers,
    })
}

/// `listen`: an array of addresses, or a single one.
pub(super) fn listen(value: &Value<'_>) -> Option<Vec<SocketAddr>> {
    let one = |v: &Value<'_>| v.parsed(address::LISTEN_WANTED, address::listen);
    let addresses = match value.toml() {
        DeValue::String(_) => vec![one(value)?],
        _ => value.list(r#"an array of addresses like ["127.0.0.1:8080"]"#, one)?,
    };
    if addresses.is_empty() {
        return value.wrong_as("an empty array", "at least one address: nobody could call");
    }
    if let Some(twice) = address::twice(&addresses) {
        return value.wrong_as(format!("{twice} twice"), "each address once");
    }
    Some(addresses)
}

/// An open relay to someone's WeChat account is never an accident.
fn refuse_open_relay(listen: &[SocketAddr], top: &Table<'_>, key: &str) {
    if let Some(open) = listen.iter().find(|listen| !address::is_loopback(listen.ip())) {
        let named = if key == "listen" { key.to_owned() } else { format!("{key}.listen") };
        let words = "a loopback address such as \"127.0.0.1:8080\": whoever reaches this one could use the \
                     WeChat account. Say in [[caller]] who may call (or, for [tls], ask for certificates with `client_ca`); set open_to_everyone = true only if something else (a firewall, a private \
                     network) decides who reaches it";
        top.report.problem(top.line_of(key), &named, Some(format!("\"{open}\"")), words);
    }
}

fn text_of(path: &Path, files: &Files, env: Env<'_>) -> Result<(Zeroizing<String>, bool), ConfigErrors> {
    let wrong = |line, advice: String| {
        let file = Some(path.to_owned());
        ConfigErrors::Wrong(vec![Problem { file, line, column: None, key: None, found: None, advice }])
    };
    let contents = files.read(path.display().to_string(), path, MOST_BYTES).map_err(|error| match error {
        ReadError::TooLong(_) => {
            wrong(None, "far too long for a configuration; want a TOML file of some lines".to_owned())
        }
        error => wrong(None, format!("cannot read the configuration: {error}")),
    })?;
    let exposed = is_exposed(&contents.meta, path, env);
    let bytes = contents.bytes;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok((Zeroizing::new(text.to_owned()), exposed)),
        Err(e) => {
            let before = bytes.iter().take(e.valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            Err(wrong(Some(line), "not UTF-8; save the file as UTF-8".to_owned()))
        }
    }
}

/// The parser's words, which are fixed texts without anything of the file; where they leave a user puzzled,
/// with a cure.
fn syntax_words(message: &str) -> String {
    match message {
        "duplicate key" => "duplicate key, want each key (and each [table]) once".to_owned(),
        message if message.starts_with("string values must be quoted") => {
            "not valid TOML: string values must be quoted, want \"…\" around the value".to_owned()
        }
        message => format!("not valid TOML: {message}"),
    }
}
