//! Reads TOML files into a checked configuration: the keys at the top, then each table by its own reader.
//!
//! A file with a syntax error is not read any further, for what the parser makes of the rest is guesswork.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::defaults;
use super::error::{ConfigErrors, Problem};
use super::files::Files;
use super::keys::{self, TOP};
use super::parse::address;
use super::report::{Findings, Finished, Report};
use super::settings::ValueSource;
use super::table::Table;
use super::text::{self, NoText, Text};
use super::value::Value;
use super::{
    Account, Admin, Config, ConfigSource, Env, Loaded, LogFormat, Tls, Upstream, account, admin, alert,
    caller, limits, store, tls, upstream,
};

/// What follows is seldom more than an echo, above all if the file is no TOML at all.
const MOST_SYNTAX_ERRORS: usize = 20;

/// Reads the file and everything that it names.
pub(super) fn load(path: &Path, files: &Files, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    load_text(&text_of(path, files, env)?, files, env)
}

/// Reads the file for its `[admin]` alone: what else stands there may be wrong, and a key that cannot be had is left out.
/// `None` where the file has no `[admin]`.
pub(super) fn load_admin(path: &Path, files: &Files, env: Env<'_>) -> Result<Option<Admin>, ConfigErrors> {
    let text = text_of(path, files, env)?;
    let findings = Findings::new(files, env);
    let admin = {
        let report = Report::new(&text.path, &text.text, &findings);
        let document = parsed(&report);
        document.and_then(|document| {
            let top = Table::new(document.get_ref(), &(0..0), keys::section(TOP), String::new(), &report);
            admin::read(&top)
        })
    };
    match (admin, findings.finish().problems) {
        (None, problems) if !problems.is_empty() => Err(ConfigErrors::Wrong(problems)),
        (admin, _) => Ok(admin),
    }
}

fn text_of(path: &Path, files: &Files, env: Env<'_>) -> Result<Text, ConfigErrors> {
    text::read(path.display().to_string(), path, files, env).map_err(|NoText { line, words }| {
        let file = Some(path.to_owned());
        ConfigErrors::Wrong(vec![Problem { file, line, column: None, key: None, found: None, advice: words }])
    })
}

/// As [`load`] with the text at hand.
pub(super) fn from_text(
    text: &str,
    path: &Path,
    files: &Files,
    env: Env<'_>,
) -> Result<Loaded, ConfigErrors> {
    let text = Text { path: path.to_owned(), text: Zeroizing::new(text.to_owned()), exposed: false };
    load_text(&text, files, env)
}

fn load_text(text: &Text, files: &Files, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    let (config, finished) = read(text, files, env);
    let Finished { problems, mut warnings, exposed, env_used, credentials, settings, .. } = finished;
    let config = match config {
        Some(config) if problems.is_empty() => config,
        _ => return Err(ConfigErrors::Wrong(problems)),
    };
    let ignored = super::environment::set_beside_a_file(env, &env_used);
    if !ignored.is_empty() {
        let shown = text.path.display();
        warnings.push(format!("{} in the environment: ignored, {shown} alone decides", ignored.join(", ")));
    }
    let source = ConfigSource::File(text.path.clone());
    Ok(Loaded { config, warnings, exposed, source, credentials, settings })
}

/// The configuration as far as it could be read, and what is wrong with it.
pub(super) fn read(text: &Text, files: &Files, env: Env<'_>) -> (Option<Config>, Finished) {
    let findings = Findings::new(files, env);
    let config = read_all(text, &findings);
    (config, findings.finish())
}

fn read_all(main: &Text, findings: &Findings<'_>) -> Option<Config> {
    let report = Report::new(&main.path, &main.text, findings);
    let document = parsed(&report)?;
    let mut top = Table::new(document.get_ref(), &(0..0), keys::section(TOP), String::new(), &report);
    let included = |entry: &Value<'_>| Some(texts(entry, text::named(entry)?, findings));
    let included = top.key("accounts", |value| value.list("an array of paths", included));
    let included: Vec<Text> = included.into_iter().flatten().collect();
    let reports: Vec<Report<'_>> =
        included.iter().map(|text| Report::new(&text.path, &text.text, findings)).collect();
    let documents: Vec<_> = reports.iter().map(parsed).collect();
    let all_parsed = documents.iter().all(Option::is_some);
    let tables = documents.iter().zip(&reports).filter_map(|(document, report)| {
        let entries = document.as_ref()?.get_ref();
        Some(Table::new(entries, &(0..0), keys::section(TOP), String::new(), report))
    });
    let included_tops: Vec<Table<'_>> = tables.collect();
    included_tops.iter().for_each(Table::finish_included);
    let empty = Spanned::new(0..0, DeTable::new());
    let config = read_top(&mut top, &included_tops, all_parsed, &empty);
    for (text, report) in std::iter::once((main, &report)).chain(included.iter().zip(&reports)) {
        if text.exposed && report.has_plain_secret() {
            findings.warn_exposed(format!(
                "{}: holds a secret, and other users of this machine can read it; `chmod 600` it",
                text.path.display()
            ));
        }
    }
    config
}

/// The texts of the files that an entry of `accounts` names, but for those that cannot be read, which are reported.
fn texts(entry: &Value<'_>, paths: Vec<PathBuf>, findings: &Findings<'_>) -> Vec<Text> {
    let read =
        |path: PathBuf| match text::read(path.display().to_string(), &path, findings.files, findings.env) {
            Ok(text) => Some(text),
            Err(NoText { line: None, words }) => {
                entry.say(format!("`{}`: {words}; want the path of a TOML file", path.display()))
            }
            Err(NoText { line, words }) => {
                findings.problem_in(&path, line, words);
                None
            }
        };
    paths.into_iter().filter_map(read).collect()
}

/// The document, unless the text is not TOML, which is reported.
fn parsed<'r>(report: &Report<'r>) -> Option<Spanned<DeTable<'r>>> {
    let text = report.text();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
        // `Display` of this error quotes the source line; its message and span do not.
        report.syntax(&error.span().unwrap_or(text.len()..text.len()), &syntax_words(error.message()));
    }
    errors.is_empty().then_some(document)
}

fn read_top<'r>(
    top: &mut Table<'r>,
    included: &[Table<'r>],
    all_parsed: bool,
    empty: &'r Spanned<DeTable<'r>>,
) -> Option<Config> {
    let report = top.report;
    let without_plain = top.given("tls");
    let plain = top.key("listen", |value| match value.toml() {
        // Those who serve HTTPS alone say so.
        DeValue::Array(addresses) if addresses.is_empty() && without_plain => Some(Vec::new()),
        _ => listen(value),
    });
    let given_dir = top.optional("state_dir", |value| Some(value.path()));
    let log_format = top.key("log_format", |v| {
        v.one_of(&[
            ("auto", LogFormat::Auto),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
            ("ecs", LogFormat::Ecs),
        ])
    });
    let access_log = top.key("access_log", Value::yes_or_no);
    let workers = top.key("workers", Value::count);
    let shutdown_grace = top.key("shutdown_grace", Value::time);
    let shutdown_delay = top.key("shutdown_delay", Value::time);
    let watch = top.key("watch", Value::yes_or_no);
    let open_to_everyone = top.key("open_to_everyone", Value::yes_or_no);
    top.finish();
    let state_dir = given_dir.unwrap_or_else(|| match defaults::state_dir(report.env()) {
        Ok((dir, variable)) => {
            let shown = dir.display().to_string().into();
            report.findings.replace("state_dir", shown, ValueSource::Environment(variable));
            Some(dir)
        }
        Err(words) => {
            report.problem(1, "state_dir", None, words);
            None
        }
    });
    let tls = tls::read(top);
    let admin = admin::read(top);
    let table = top.table_or_defaults("upstream", empty);
    let proxy_line = table.line_of("proxy");
    let upstream = upstream::read(table);
    let limits = limits::read(top.table_or_defaults("limits", empty));
    let tops: Vec<&Table<'r>> = std::iter::once(&*top).chain(included).collect();
    let (accounts, names) = account::read_all(&tops, &upstream.url, all_parsed);
    refuse_plain_through_proxy(&upstream, &accounts, top, proxy_line);
    let callers = caller::read_all(&tops, &accounts, &names);
    let alerts = alert::read_all(top);
    refuse_conflicts(&plain, tls.as_ref(), admin.as_ref(), top);
    let store = store::read(top.table_or_defaults("store", empty), &accounts);
    if !open_to_everyone && !tops.iter().any(|top| top.has_elements("caller")) {
        refuse_open_relay(&plain, top, "listen");
        // A client certificate guards the listener that asks for it, and no other.
        if let Some(tls) = tls.as_ref().filter(|tls| tls.pem.client_ca.is_none()) {
            refuse_open_relay(&tls.listen, top, "tls");
        }
    }
    Some(Config {
        listen: plain,
        tls,
        admin,
        state_dir: state_dir?,
        log_format,
        access_log,
        workers: defaults::workers(workers),
        shutdown_grace,
        shutdown_delay,
        watch,
        upstream,
        limits,
        open_to_everyone,
        accounts,
        callers,
        store,
        alerts,
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

/// Of two listeners that cannot be open at one moment the start would fail, after a check that was content.
fn refuse_conflicts(plain: &[SocketAddr], tls: Option<&Tls>, admin: Option<&Admin>, top: &Table<'_>) {
    let plain = plain.iter().map(|address| ("", *address));
    let https = tls.iter().flat_map(|tls| &tls.listen).map(|address| ("tls", *address));
    let admin = admin.and_then(|admin| admin.listen.address()).map(|address| ("admin", address));
    let all: Vec<_> = plain.chain(https).chain(admin).collect();
    let named = |table: &str| match table {
        "" => "listen".to_owned(),
        table => format!("{table}.listen"),
    };
    for (at, (table, address)) in all.iter().enumerate() {
        let earlier = all.iter().take(at).find(|(_, earlier)| address::conflict(*earlier, *address));
        let Some((other, taken)) = earlier else { continue };
        let line = match *table {
            "" => top.line_of("listen"),
            table => top.table(table).map_or(top.line, |table| table.line_of("listen")),
        };
        let words = format!("another port or address: `{}` has {taken}, and the two conflict", named(other));
        top.report.problem(line, &named(table), Some(format!("\"{address}\"")), words);
    }
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

/// `http://` is for this machine alone; behind a proxy elsewhere it would not be.
fn refuse_plain_through_proxy(upstream: &Upstream, accounts: &[Account], top: &Table<'_>, line: usize) {
    let Some(proxy) = upstream.proxy.as_ref().filter(|proxy| !address::is_this_machine(&proxy.host)) else {
        return;
    };
    let plain = accounts.iter().flat_map(|account| upstream.bases(account)).find(|base| !base.is_tls());
    if let Some(plain) = plain {
        let words = format!(
            "{plain} is not encrypted, and the way to the proxy {proxy} would show the token; want https://, or a \
             proxy on this machine"
        );
        top.report.problem(line, "upstream.proxy", None, words);
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
