//! Which account a call belongs to: by host, by the longest prefix, or the plain one.
//!
//! The oracle looks at one account after the other. A line is an account, `HOST,HOST|PREFIX`; the last one is a call,
//! `HOST PATH`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wxgate::errcodes::Product;
use wxgate::http1::host::normalize;
use wxgate::proxy::route::{Routes, Rules, table_of};

/// An account, if the configuration would take it.
fn rules(line: &str) -> Option<Rules> {
    let (hosts, prefix) = line.split_once('|')?;
    let segments = prefix.strip_prefix('/').map(|rest| rest.split('/').all(|segment| !segment.is_empty()));
    if !prefix.is_empty() && segments != Some(true) {
        return None;
    }
    let hosts = hosts.split(',').filter(|host| !host.is_empty());
    Some(Rules {
        hosts: hosts.map(|host| normalize(host).map(|host| host.into_owned())).collect::<Option<_>>()?,
        prefix: prefix.to_owned(),
        paths: vec!["/".to_owned()],
        untouched: Vec::new(),
        secret_paths: Vec::new(),
        tickets: false,
        sealed: Vec::new(),
        table: table_of(Product::Weixin, true),
    })
}

fn under<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'))
}

fn slowly<'p>(accounts: &[Rules], host: &str, path: &'p str) -> Option<(usize, &'p str)> {
    for (index, rules) in accounts.iter().enumerate() {
        if rules.hosts.iter().any(|name| name == host) {
            return Some((index, under(&rules.prefix, path).unwrap_or(path)));
        }
    }
    let mut longest: Option<(usize, &str)> = None;
    for (index, rules) in accounts.iter().enumerate() {
        if let Some(rest) = under(&rules.prefix, path).filter(|_| !rules.prefix.is_empty())
            && longest.is_none_or(|(_, before)| rest.len() < before.len())
        {
            longest = Some((index, rest));
        }
    }
    let plain = accounts.iter().position(|rules| rules.prefix.is_empty() && rules.hosts.is_empty());
    longest.or(plain.map(|index| (index, path)))
}

fuzz_target!(|text: &str| {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some((host, path)) = lines.pop().and_then(|line| line.split_once(' ')) else { return };
    // What `admit` lets through.
    if !path.starts_with('/') || path.contains("//") {
        return;
    }
    let Some(host) = normalize(host) else { return };
    let Some(accounts) = lines.into_iter().map(rules).collect::<Option<Vec<_>>>() else { return };
    let found = Routes::new(accounts.iter()).find(&host, path).ok();
    assert_eq!(found, slowly(&accounts, &host, path), "{text}");
});
