//! Reads `[[caller]]`: who may call, and what.
//!
//! The proxy's `authorize` step judges requests by it.

use super::account::Names;
use super::parse::{address, path};
use super::table::Table;
use super::value::Value;
use super::{Account, Allow, Caller, keys, parse, secret};
use crate::metrics;
use crate::proxy::route::table_of;
use crate::secret::Secret;

/// All callers; what is wrong is in the report, and then the list is not to be used.
pub(super) fn read_all(tops: &[&Table<'_>], accounts: &[Account], names: &Names) -> Vec<Caller> {
    let mut callers: Vec<Caller> = Vec::new();
    for top in tops {
        let Some(value) = top.tables("caller") else { continue };
        let Some(tables) = value.elements() else {
            value.wrong_kind::<()>("[[caller]] with double brackets");
            continue;
        };
        for table in tables.iter().filter_map(|value| value.table(keys::section("caller"))) {
            let (report, path, line) = (table.report, table.path.clone(), table.line_of("name"));
            let Some(caller) = read_one(table, accounts, names) else { continue };
            if callers.iter().any(|other| other.name == caller.name) {
                let found = Some(format!("\"{}\"", caller.name));
                report.problem(line, &format!("{path}.name"), found, "a name that no other [[caller]] has");
            }
            callers.push(caller);
        }
    }
    callers
}

fn read_one(mut table: Table<'_>, all: &[Account], names: &Names) -> Option<Caller> {
    let name = table.required("name", |v| v.parsed("a name in quotes", name));
    let from = table.optional("from", |v| {
        let networks = v.list(r#"an array of networks like ["10.1.0.0/16"]"#, |v| {
            v.parsed(r#"a network like "10.1.0.0/16" or an address, in quotes"#, address::network)
        });
        Some(
            networks.and_then(|list| not_empty(v, list, "at least one network: nobody could be this caller")),
        )
    });
    let key_given = table.given("key");
    let keys = table.optional("key", keys);
    let rate = table.optional("rate", |v| v.parsed(parse::RATE_WANTED, parse::rate));
    let concurrent = table.optional("concurrent", Value::count);
    let accounts = table.optional("accounts", |v| {
        v.list("an array of account names", |v| {
            v.parsed("the name of an account in quotes", |text| {
                names.may_hold(text).then(|| text.to_owned()).ok_or_else(|| match text {
                    "*" => "the key left out: without `accounts` it may use all".to_owned(),
                    _ => "the `name` of an [[account]]".to_owned(),
                })
            })
        })
        .and_then(|list| not_empty(v, list, "at least one account: this caller could use none"))
    });
    let allow = table.optional("allow", |v| {
        v.list(&format!("an array of entries {}", path::ALLOW_WANTED), |v| allow(v, all))
            .and_then(|list| not_empty(v, list, "at least one entry: this caller could call nothing"))
    });
    let real_token = table.key("real_token", Value::yes_or_no);
    if from.is_none() && !key_given {
        let words = "`from` or `key` is required: without both, everyone would be this caller";
        table.report.problem(table.line, &table.path, None, words);
    }
    let from = from.flatten().unwrap_or_default();
    table.finish();
    let keys = keys.unwrap_or_default();
    Some(Caller { name: name?.into(), from, keys, rate, concurrent, accounts, allow, real_token })
}

/// A name that the log and the metrics do not use themselves.
fn name(text: &str) -> Result<String, String> {
    match parse::name(text)? {
        name if name == metrics::ADMIN => {
            Err("another name: `admin` are the calls of the admin listener, in the log and the metrics"
                .to_owned())
        }
        name if name == metrics::NONE => {
            Err("another name: in the metrics `-` stands for callers that nobody knows".to_owned())
        }
        name => Ok(name),
    }
}

/// One key, or two while it is changed.
fn keys(value: &Value<'_>) -> Option<Vec<Secret>> {
    let one = |v: &Value<'_>| secret::read(v, secret::CALLER_KEY);
    if value.toml().as_array().is_none() {
        return one(value).map(|key| vec![key]);
    }
    let value = value.secret();
    let keys = value.list("a key, or an array of two", one)?;
    match keys.len() {
        1 | 2 => Some(keys),
        _ => value.say("want one key, or two while it is changed"),
    }
}

fn allow(value: &Value<'_>, accounts: &[Account]) -> Option<Allow> {
    let allow = value.parsed(path::ALLOW_WANTED, path::allow)?;
    let fits = |account: &Account| {
        let own = table_of(account.kind, account.app.is_some()).signatures;
        path::could_fit(&allow.path, &account.paths)
            || account.tickets && own.iter().any(|(path, _)| allow.path.covers(path))
    };
    // Accounts that could not be read have no paths to compare with.
    if !accounts.is_empty() && !accounts.iter().any(fits) {
        let words = format!("no call fits `{}`: the `paths` of no account admit one", allow.path);
        value.report.warn(value.line(), value.key(), &words);
    }
    Some(allow)
}

/// Without the key there is no limit, so nobody writes an empty list to say that.
fn not_empty<T>(value: &Value<'_>, list: Vec<T>, want: &str) -> Option<Vec<T>> {
    if list.is_empty() {
        let want = format!("{want} (without this key it is not limited)");
        return value.wrong_as("an empty array", &want);
    }
    Some(list)
}
