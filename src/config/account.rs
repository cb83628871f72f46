//! Reads `[[account]]`, one by one and then against each other: names, appids, hosts and prefixes must tell
//! them apart.
//!
//! What its token is issued for is read by `app.rs`.

use super::parse::{address, path};
use super::report::Report;
use super::table::{Given, Table};
use super::value::Value;
use super::{Account, Product, app, keys, parse, secret_paths, signing};
use crate::proxy::route::{PathPattern, table_of};
use crate::secret::Secret;
use crate::upstream::BaseUrl;

/// A value and the line to name when it clashes with another account's.
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// One account as far as it could be read; what is needed to compare it with the others.
struct Draft<'r> {
    report: &'r Report<'r>,
    path: String,
    line: usize,
    /// `None`: unreadable, and then no judgement about clashes.
    name: Option<At<String>>,
    name_given: bool,
    appid: Option<At<String>>,
    hosts: Vec<At<String>>,
    prefix: At<String>,
    /// Whether `hosts` and `prefix` were readable: without them no judgement about reachability.
    routes_known: bool,
    account: Option<Account>,
}

/// The names of all accounts of the file, of those too that nothing else could be read of.
pub(super) enum Names {
    /// All of them are known.
    Known(Vec<String>),
    /// Some name could not be read, and any name may be that one.
    Unclear,
}

impl Names {
    /// Whether an account may be called that.
    pub(super) fn may_hold(&self, name: &str) -> bool {
        match self {
            Self::Known(names) => names.iter().any(|known| known == name),
            Self::Unclear => true,
        }
    }
}

/// All accounts of all files, and their names; what is wrong is in the reports, and then the list is not to be used.
pub(super) fn read_all<'r>(
    tops: &[&Table<'r>],
    default_url: &BaseUrl,
    all_parsed: bool,
) -> (Vec<Account>, Names) {
    let mut readable = all_parsed;
    let mut drafts = Vec::new();
    let mut any = false;
    for top in tops {
        let Some(found) = top.tables("account") else { continue };
        any = true;
        let Some(tables) = found.elements().filter(|tables| !tables.is_empty()) else {
            found.wrong_kind::<()>("[[account]] with double brackets, at least one");
            readable = false;
            continue;
        };
        let read = tables.iter().filter_map(|value| value.table(keys::section("account")));
        let before = drafts.len();
        drafts.extend(read.map(|table| read_one(table, default_url)));
        readable &= drafts.len() - before == tables.len();
    }
    if let Some(top) = tops.first().filter(|_| !any) {
        let elsewhere = if top.given("accounts") { ", here or in the files of `accounts`" } else { "" };
        let words = format!("at least one [[account]] with `appid` and `secret` is required{elsewhere}");
        top.report.problem(1, "account", None, words);
        return (Vec::new(), Names::Unclear);
    }
    compare(&drafts);
    let names = drafts.iter().map(|draft| draft.name.as_ref().map(|name| name.value.clone()));
    let names: Option<Vec<String>> = names.collect();
    let names = names.filter(|_| readable).map_or(Names::Unclear, Names::Known);
    (drafts.into_iter().filter_map(|draft| draft.account).collect(), names)
}

fn read_one<'r>(mut table: Table<'r>, default_url: &BaseUrl) -> Draft<'r> {
    let report = table.report;
    let (path, line) = (table.path.clone(), table.line);
    let (name_given, name) = table.given_or_default("name", |v| v.parsed("a name in quotes", parse::name));
    let name = At { line: table.line_of("name"), value: name };
    let kind = table.key("kind", |v| v.one_of(&[Product::Weixin, Product::Wecom].map(|p| (p.as_str(), p))));
    let (appid, app) = app::read(&mut table, kind);
    let upstream = app::upstream_of(&mut table, kind, default_url);
    let (hosts_given, hosts) = table.given_or_default("hosts", hosts);
    let (prefix_given, prefix) =
        table.given_or_default("prefix", |v| v.parsed(r#"a prefix like "/shop" in quotes"#, path::prefix));
    let prefix = At { line: table.line_of("prefix"), value: prefix };
    let routes_known = hosts_given != Given::Wrong && prefix_given != Given::Wrong;
    let paths = table.key("paths", |v| paths(v, &prefix.value));
    let untouched =
        table.key("untouched", |v| patterns(v, &paths, r#"an array of paths like ["/wxa/gettemplatelist"]"#));
    let keeps_token = !matches!(app, Some(None));
    let tickets = table.key("tickets", Value::yes_or_no);
    if !keeps_token && tickets {
        let words =
            "of no use with token_api = \"none\": there is no token to ask for tickets with; remove it";
        table.problem("tickets", words);
    }
    let secret_paths = table.key("secret_paths", |v| secret_paths::read(v, table_of(kind, true), &paths));
    if !keeps_token && !secret_paths.is_empty() {
        let words = "of no use with token_api = \"none\": there is no secret to put in; remove it";
        table.problem("secret_paths", words);
    }
    let signing = signing::read(&table, kind, keeps_token, &paths);
    let (refresh_given, mut refresh_on) = table.given_or_default("refresh_on", refresh_on);
    if !keeps_token && refresh_given == Given::Right {
        let words = "without effect with token_api = \"none\": nothing is sent a second time";
        report.warn(table.line_of("refresh_on"), &table.path_of("refresh_on"), words);
    }
    match kind {
        Product::Weixin => table.finish(),
        Product::Wecom => {
            if refresh_given == Given::No {
                refresh_on = app::WECOM_REFRESH_ON.to_vec();
            }
            table.finish_with(&[
                ("upstream", app::WECOM_URL.into()),
                ("refresh_on", app::WECOM_REFRESH_ON.into()),
            ]);
        }
    }

    let signing = signing.and_then(|signing| signing.finish());
    let account = app.map(|app| Account {
        name: name.value.clone(),
        kind,
        app,
        hosts: hosts.iter().map(|host| host.value.clone()).collect(),
        prefix: prefix.value.clone(),
        paths,
        upstream,
        untouched,
        tickets,
        secret_paths,
        refresh_on,
        signing,
    });
    let (name, name_given) = ((name_given != Given::Wrong).then_some(name), name_given != Given::No);
    Draft { report, path, line, name, name_given, appid, hosts, prefix, routes_known, account }
}

fn hosts(value: &Value<'_>) -> Option<Vec<At<String>>> {
    value.list(r#"an array of host names like ["wx.example.com"]"#, |v| {
        let host = v.parsed(r#"a host name in quotes, like "wx.example.com""#, address::host)?;
        Some(At { line: v.line(), value: host })
    })
}

fn paths(value: &Value<'_>, prefix: &str) -> Option<Vec<String>> {
    const WANT: &str = r#"an array of path beginnings like ["/cgi-bin/"]"#;
    let paths = value.list(WANT, |v| {
        let path = v.parsed(r#"the beginning of a path in quotes, like "/cgi-bin/""#, path::api_path)?;
        if path.len() > 1 && path.matches('/').count() == 1 {
            let words = format!("\"{path}\" also admits \"{path}x\"; \"{path}/\" is most likely meant");
            v.report.warn(v.line(), v.key(), &words);
        }
        if !prefix.is_empty() && path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')) {
            let words = format!(
                "\"{path}\" begins with the account's `prefix`, which is taken off before: write it without"
            );
            v.report.warn(v.line(), v.key(), &words);
        }
        Some(path)
    })?;
    if paths.is_empty() {
        return value.wrong_as("an empty array", "at least one path: nothing could be called");
    }
    Some(paths)
}

/// Patterns of paths, with a warning for one that none of the account's `paths` admits.
pub(super) fn patterns(value: &Value<'_>, paths: &[String], wanted: &str) -> Option<Vec<PathPattern>> {
    value.list(wanted, |v| {
        let pattern = v.parsed(path::PATTERN_WANTED, path::pattern)?;
        if !path::could_fit(&pattern, paths) {
            let words = format!("no call fits \"{pattern}\": none of the account's `paths` admits one");
            v.report.warn(v.line(), v.key(), &words);
        }
        Some(pattern)
    })
}

fn refresh_on(value: &Value<'_>) -> Option<Vec<i64>> {
    value.list("an array of errcodes like [40001, 40014, 42001]", |v| match v.integer()? {
        0 => v.wrong("an errcode that means a dead token: 0 means success"),
        -1 => v.wrong("an errcode that means a dead token: -1 means that WeChat is busy"),
        errcode => Some(errcode),
    })
}

impl Draft<'_> {
    /// What a message about another account calls this one.
    fn named_from(&self, other: &Self) -> String {
        match self.report.file() == other.report.file() {
            true => self.path.clone(),
            false => format!("{} of {}", self.path, self.report.file().display()),
        }
    }

    /// Whether both are WeCom's, whose applications share the company's corpid and each have a secret.
    fn is_another_application(&self, other: &Self) -> bool {
        self.wecom_secret().zip(other.wecom_secret()).is_some_and(|(this, other)| this != other)
    }

    fn wecom_secret(&self) -> Option<&Secret> {
        let account = self.account.as_ref().filter(|account| account.kind == Product::Wecom)?;
        account.app.as_ref().map(|app| &app.secret)
    }
}

/// Says where two accounts cannot be told apart, at the later one.
fn compare(drafts: &[Draft<'_>]) {
    for (i, this) in drafts.iter().enumerate() {
        let earlier = drafts.get(..i).unwrap_or_default();
        compare_identity(this, earlier);
        compare_routes(this, earlier);
    }
}

fn compare_identity(this: &Draft<'_>, earlier: &[Draft<'_>]) {
    let report = this.report;
    if let Some(name) = &this.name
        && let Some(other) = earlier.iter().find(|other| same(&other.name, name))
    {
        let whose = other.named_from(this);
        let words = if this.name_given && other.name_given {
            format!("a name that {whose} does not have")
        } else {
            let name = &name.value;
            format!("a name of its own: {whose} has the same, and without `name` it is \"{name}\"")
        };
        let key = format!("{}.name", this.path);
        report.problem(name.line, &key, Some(format!("\"{}\"", name.value)), words);
    }
    if let Some(appid) = &this.appid
        && let Some(other) =
            earlier.iter().find(|other| same(&other.appid, appid) && !this.is_another_application(other))
    {
        let words = format!(
            "the appid of {} once more; two accounts with one appid would end each other's token",
            other.named_from(this)
        );
        report.problem(appid.line, &format!("{}.appid", this.path), None, words);
    }
}

fn same(other: &Option<At<String>>, this: &At<String>) -> bool {
    other.as_ref().is_some_and(|other| other.value == this.value)
}

fn compare_routes(this: &Draft<'_>, earlier: &[Draft<'_>]) {
    let report = this.report;
    for (n, host) in this.hosts.iter().enumerate() {
        let own = this.hosts.iter().take(n).any(|other| other.value == host.value);
        let other = earlier.iter().find(|other| other.hosts.iter().any(|other| other.value == host.value));
        let whose = other.map(|other| other.named_from(this)).or(own.then(|| "this account".to_owned()));
        if let Some(whose) = whose {
            let words = format!("a host that {whose} does not have already");
            report.problem(
                host.line,
                &format!("{}.hosts[{n}]", this.path),
                Some(format!("\"{}\"", host.value)),
                words,
            );
        }
    }
    if !this.routes_known {
        return;
    }
    if this.prefix.value.is_empty() {
        let open =
            |draft: &Draft<'_>| draft.routes_known && draft.hosts.is_empty() && draft.prefix.value.is_empty();
        if let Some(other) = earlier.iter().find(|other| open(other)).filter(|_| open(this)) {
            let words = format!(
                "`hosts` or `prefix` is required: {} has neither too, and a request could belong to both",
                other.named_from(this)
            );
            report.problem(this.line, &this.path, None, words);
        }
    } else if let Some(other) = earlier.iter().find(|other| other.prefix.value == this.prefix.value) {
        let words = format!("a prefix that {} does not have", other.named_from(this));
        let key = format!("{}.prefix", this.path);
        report.problem(this.prefix.line, &key, Some(format!("\"{}\"", this.prefix.value)), words);
    }
}
