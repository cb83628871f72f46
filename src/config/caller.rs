//! Reads `[[caller]]`: who may call, and what.
//!
//! The proxy's `authorize` step judges requests by it.

use std::net::IpAddr;

use http::Method;
use ipnet::{IpNet, Ipv4Net};

use super::account::Names;
use super::table::Table;
use super::value::Value;
use super::{Allow, Caller, keys, parse, secret};
use crate::proxy::route::PathPattern;

const ALLOW_WANTED: &str = r#""METHOD PATTERN" like "GET /cgi-bin/user/*": `*` for any method, a `*` at the end of the path for any rest"#;

/// All callers; what is wrong is in the report, and then the list is not to be used.
pub(super) fn read_all(top: &mut Table<'_>, names: &Names) -> Vec<Caller> {
    let report = top.report;
    let Some(value) = top.tables("caller") else { return Vec::new() };
    let Some(tables) = value.elements() else {
        value.wrong_kind::<()>("[[caller]] with double brackets");
        return Vec::new();
    };
    let mut callers: Vec<Caller> = Vec::new();
    let section = keys::section("caller");
    for table in tables.iter().filter_map(|value| value.table(section)) {
        let (path, line) = (table.path.clone(), table.line_of("name"));
        let Some(caller) = read_one(table, names) else { continue };
        if callers.iter().any(|other| other.name == caller.name) {
            let found = Some(format!("\"{}\"", caller.name));
            report.problem(line, &format!("{path}.name"), found, "a name that no other [[caller]] has");
        }
        callers.push(caller);
    }
    callers
}

fn read_one(mut table: Table<'_>, names: &Names) -> Option<Caller> {
    let name = table.required("name", |v| v.parsed("a name in quotes", parse::name));
    let from = table.optional("from", |v| {
        Some(v.list(r#"an array of networks like ["10.1.0.0/16"]"#, |v| {
            v.parsed(r#"a network like "10.1.0.0/16" or an address, in quotes"#, network)
        }))
    });
    let key_given = table.given("key");
    let key = table.optional("key", |v| secret::read(v, secret::CALLER_KEY));
    let accounts = table.optional("accounts", |v| {
        v.list("an array of account names", |v| {
            v.parsed("the name of an account in quotes", |text| {
                names
                    .may_hold(text)
                    .then(|| text.to_owned())
                    .ok_or_else(|| "the `name` of an [[account]]".to_owned())
            })
        })
        .and_then(|list| not_empty(v, list, "at least one account: this caller could use none"))
    });
    let allow = table.optional("allow", |v| {
        v.list(&format!("an array of entries {ALLOW_WANTED}"), |v| v.parsed(ALLOW_WANTED, allow))
            .and_then(|list| not_empty(v, list, "at least one entry: this caller could call nothing"))
    });
    let real_token = table.key("real_token", Value::yes_or_no);
    match &from {
        None if !key_given => {
            let words = "`from` or `key` is required: without both, everyone would be this caller";
            table.report.problem(table.line, &table.path, None, words);
        }
        Some(Some(networks)) if networks.is_empty() && !key_given => {
            let words = "at least one network, or a `key`: with neither, everyone would be this caller";
            let path = table.path_of("from");
            table.report.problem(table.line_of("from"), &path, Some("an empty array".to_owned()), words);
        }
        _ => {}
    }
    let from = from.flatten().unwrap_or_default();
    table.finish();
    Some(Caller { name: name?.into(), from, key, accounts, allow, real_token })
}

/// Without the key there is no limit, so nobody writes an empty list to say that.
fn not_empty<T>(value: &Value<'_>, list: Vec<T>, want: &str) -> Option<Vec<T>> {
    if list.is_empty() {
        let want = format!("{want} (without this key it is not limited)");
        return value.wrong_as("an empty array", &want);
    }
    Some(list)
}

/// A network, or a single address as one; IPv4 in IPv6's clothes as IPv4, for that is what callers are compared as.
fn network(text: &str) -> Result<IpNet, String> {
    let wanted = r#"a network like "10.1.0.0/16" or "fd00::/8", or an address like "10.1.2.3""#;
    let network: IpNet =
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| wanted.to_owned())?;
    let IpNet::V6(v6) = network else { return Ok(network) };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    Ok(v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4))
}

fn allow(text: &str) -> Result<Allow, String> {
    let wanted = || ALLOW_WANTED.to_owned();
    let (method, pattern) = text.split_once(' ').ok_or_else(wanted)?;
    let method = match method {
        "*" => None,
        // In upper case, as requests have it when they are compared.
        name if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            Some(Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|_| wanted())?)
        }
        _ => return Err(wanted()),
    };
    let path = PathPattern::parse(pattern).ok_or_else(wanted)?;
    Ok(Allow { method, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        for (text, right) in [
            ("GET /cgi-bin/user/*", Some((Some(Method::GET), "/cgi-bin/user/*"))),
            ("* /cgi-bin/menu/get", Some((None, "/cgi-bin/menu/get"))),
            ("POST /*", Some((Some(Method::POST), "/*"))),
            ("post /cgi-bin/*", Some((Some(Method::POST), "/cgi-bin/*"))),
            ("GET", None),
            ("GET  /cgi-bin/", None),
            ("GET cgi-bin/", None),
            ("GET /cgi-bin/*/get", None),
            ("GET /a?b", None),
            ("GET /a//b", None),
            ("GET /%61", None),
            ("GET /a;b", None),
            ("G-T /a", None),
            ("", None),
        ] {
            let right = right.map(|(method, path)| Allow { method, path: PathPattern::parse(path).unwrap() });
            assert_eq!(allow(text).ok(), right, "{text}");
        }
    }

    #[test]
    fn networks_and_single_addresses() {
        for (text, right) in [
            ("10.1.0.0/16", Some("10.1.0.0/16")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.0.0/112", Some("10.1.0.0/16")),
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            ("::/0", Some("::/0")),
            ("10.1.0.0/33", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(network(text).ok().map(|net| net.to_string()).as_deref(), right, "{text}");
        }
    }
}
