//! Which account a request belongs to, and what is done with it.
//!
//! Pure: rules and a checked target in, an account and an action out. It neither looks at headers other than the
//! host name nor knows tokens.

mod action;
mod egress_only;
mod pattern;
mod wecom;
mod weixin;

use std::collections::HashMap;

pub use action::{
    Action, KnownSecretPath, LocalAnswer, LookAlike, PathTable, SecretPath, Signature, TicketPath,
};
pub use pattern::PathPattern;

use egress_only::EGRESS_ONLY;
use wecom::WECOM;
use weixin::WEIXIN;

use super::refusal::Refusal;
use crate::errcodes::Product;

/// The paths of a product; where wxgate keeps no token for the account, none of them stands out.
pub fn table_of(product: Product, keeps_token: bool) -> &'static PathTable {
    match product {
        _ if !keeps_token => &EGRESS_ONLY,
        Product::Weixin => &WEIXIN,
        Product::Wecom => &WECOM,
    }
}

/// What the paths begin with that wxgate has itself.
const OWN: &str = "/wxgate/";

/// What decides whether a request belongs to an account, and what may be called.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Host names in their normal form ([`crate::http1::host::normalize`]).
    pub hosts: Vec<String>,
    /// `""`, or a path without a slash at its end.
    pub prefix: String,
    /// What may be called, compared byte for byte with the beginning of the path.
    pub paths: Vec<String>,
    /// What is forwarded as it is, besides what the table says.
    pub untouched: Vec<PathPattern>,
    /// What appid and AppSecret are put into.
    pub secret_paths: Vec<SecretPath>,
    /// Whether calls for tickets are answered here, and signatures made.
    pub tickets: bool,
    /// What is encrypted and signed.
    pub sealed: Vec<PathPattern>,
    /// The paths of the account's product.
    pub table: &'static PathTable,
}

impl Rules {
    /// What is done with a call of this account; `path` is without its prefix.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for a path outside `paths`, and for one that looks like a token call.
    pub fn action(&self, path: &str) -> Result<Action, Refusal> {
        if path.starts_with(OWN)
            && let Some((_, signature)) = self.table.signatures.iter().find(|(own, _)| *own == path)
        {
            return match self.tickets {
                true => Ok(Action::Sign(*signature)),
                false => Err(Refusal::NotFound(
                    "this account has no tickets to sign with; set `tickets = true` in its [[account]] table"
                        .into(),
                )),
            };
        }
        let (action, documented) = self.table.action(path, &self.untouched)?;
        // `/CGI-BIN/TOKEN` may be called where `/cgi-bin/token` may.
        let path = documented.unwrap_or(path);
        if self.paths.iter().any(|allowed| path.starts_with(allowed.as_str())) {
            if matches!(action, Action::AnswerLocally(_)) {
                return Ok(action);
            }
            if let Some(entry) = self.secret_paths.iter().position(|entry| entry.path == path) {
                return Ok(Action::PutSecret(entry));
            }
            if self.tickets
                && action == Action::Inject
                && let Some(entry) = self.table.tickets.iter().position(|entry| entry.path == path)
            {
                return Ok(Action::Ticket(entry));
            }
            if matches!(action, Action::Inject | Action::InjectAndClean)
                && self.sealed.iter().any(|entry| entry.covers(path))
            {
                return Ok(Action::InjectAndSeal { reveals: action == Action::InjectAndClean });
            }
            return Ok(action);
        }
        Err(Refusal::NotFound(
            "this path is not among the account's `paths`; add its beginning to `paths` in the account's [[account]] table"
                .into(),
        ))
    }
}

impl From<LookAlike> for Refusal {
    fn from(LookAlike(documented): LookAlike) -> Self {
        let text = format!(
            "this path looks like {documented}, which wxgate answers by itself and never forwards; call {documented}"
        );
        Self::NotFound(text.into())
    }
}

/// All accounts by host name and by prefix; a look-up takes the same time however many there are.
#[derive(Debug, Default)]
pub struct Routes {
    by_host: HashMap<String, usize>,
    by_prefix: HashMap<String, usize>,
    /// Each account's prefix.
    prefixes: Vec<String>,
    /// How many segments the longest prefix has.
    deepest: usize,
    /// The only account without either.
    plain: Option<usize>,
}

impl Routes {
    /// The routes to accounts with these rules, in this order. Where two have the same name the first one has it.
    pub fn new<'r>(accounts: impl Iterator<Item = &'r Rules>) -> Self {
        let mut routes = Self::default();
        for (index, rules) in accounts.enumerate() {
            for host in &rules.hosts {
                routes.by_host.entry(host.clone()).or_insert(index);
            }
            if !rules.prefix.is_empty() {
                routes.by_prefix.entry(rules.prefix.clone()).or_insert(index);
                routes.deepest = routes.deepest.max(rules.prefix.matches('/').count());
            } else if rules.hosts.is_empty() {
                routes.plain.get_or_insert(index);
            }
            routes.prefixes.push(rules.prefix.clone());
        }
        routes
    }

    /// Finds the account by host name (in its normal form), else by the longest prefix, else the only account
    /// without either: its index, and the path without its prefix.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] when there is none.
    pub fn find<'p>(&self, host: &str, path: &'p str) -> Result<(usize, &'p str), Refusal> {
        if !self.by_host.is_empty()
            && let Some(&index) = self.by_host.get(host)
        {
            // An account that has both names keeps its prefix optional: the host has already decided.
            let prefix = self.prefixes.get(index).map_or("", String::as_str);
            return Ok((index, strip(prefix, path).unwrap_or(path)));
        }
        let slashes = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        let by_prefix = slashes
            .take(self.deepest)
            .filter_map(|end| self.by_prefix.get(&path[..end]).map(|&index| (index, &path[end..])))
            .last();
        by_prefix.or(self.plain.map(|index| (index, path))).ok_or_else(|| {
            Refusal::NotFound(
                "no account has this Host name or path prefix; see `hosts` and `prefix` in the [[account]] tables"
                    .into(),
            )
        })
    }
}

/// `/shop/cgi-bin/x` without `/shop`; `/shop` alone and `/shopping` are not under it.
fn strip<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], prefix: &str, paths: &[&str]) -> Rules {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Rules {
            hosts: owned(hosts),
            prefix: prefix.to_owned(),
            paths: owned(paths),
            untouched: Vec::new(),
            secret_paths: Vec::new(),
            tickets: false,
            sealed: Vec::new(),
            table: &WEIXIN,
        }
    }

    fn found(accounts: &[Rules], host: &str, path: &str) -> Option<(usize, String)> {
        let (index, path) = Routes::new(accounts.iter()).find(host, path).ok()?;
        accounts[index].action(path).ok()?;
        Some((index, path.to_owned()))
    }

    #[test]
    fn account_by_host_then_longest_prefix_then_the_plain_one() {
        let accounts = [
            rules(&[], "", &["/cgi-bin/"]),
            rules(&[], "/shop", &["/cgi-bin/"]),
            rules(&[], "/shop/de", &["/cgi-bin/"]),
            rules(&["wx.example.com"], "", &["/cgi-bin/", "/wxa/"]),
            rules(&["both.example.com"], "/both", &["/cgi-bin/"]),
        ];
        for (host, path, right) in [
            ("h", "/cgi-bin/a", Some((0, "/cgi-bin/a"))),
            ("h", "/shop/cgi-bin/a", Some((1, "/cgi-bin/a"))),
            ("h", "/shop/de/cgi-bin/a", Some((2, "/cgi-bin/a"))),
            ("wx.example.com", "/cgi-bin/a", Some((3, "/cgi-bin/a"))),
            ("wx.example.com", "/wxa/b", Some((3, "/wxa/b"))),
            ("wx.example.com", "/shop/cgi-bin/a", None),
            ("both.example.com", "/cgi-bin/a", Some((4, "/cgi-bin/a"))),
            ("both.example.com", "/both/cgi-bin/a", Some((4, "/cgi-bin/a"))),
            ("h", "/both/cgi-bin/a", Some((4, "/cgi-bin/a"))),
            ("h", "/shop", None),
            ("h", "/shop/", None),
            ("h", "/shopping/cgi-bin/a", None),
            ("h", "/wxa/b", None),
            ("h", "/", None),
            ("h", "/cgi-bin", None),
            ("h", "/CGI-BIN/a", None),
            ("h", "/CGI-BIN/TOKEN", Some((0, "/CGI-BIN/TOKEN"))),
            ("h", "/cgi-bin/token.json", None),
            ("h", "/sns/jscode2session", None),
            ("h", "/shop/de/x/cgi-bin/a", None),
        ] {
            let right = right.map(|(i, p): (usize, &str)| (i, p.to_owned()));
            assert_eq!(found(&accounts, host, path), right, "{host} {path}");
        }
    }

    #[test]
    fn without_a_plain_account_an_unknown_host_is_not_found() {
        let accounts = [rules(&["a"], "", &["/cgi-bin/"]), rules(&[], "/b", &["/cgi-bin/"])];
        assert_eq!(found(&accounts, "h", "/cgi-bin/x"), None);
        assert_eq!(found(&accounts, "", "/cgi-bin/x"), None);
        assert_eq!(found(&accounts, "a", "/cgi-bin/x"), Some((0, "/cgi-bin/x".to_owned())));
    }

    #[test]
    fn tickets_and_signatures_are_for_accounts_that_have_them() {
        let with = Rules { tickets: true, ..rules(&[], "", &["/cgi-bin/"]) };
        let without = rules(&[], "", &["/"]);
        for (path, right, elsewhere) in [
            ("/cgi-bin/ticket/getticket", Some(Action::Ticket(0)), Some(Action::Inject)),
            ("/cgi-bin/ticket/getticket/", Some(Action::Inject), Some(Action::Inject)),
            ("/wxgate/jssdk", Some(Action::Sign(Signature::JsSdk)), None),
            ("/wxgate/cardext", Some(Action::Sign(Signature::CardExt)), None),
            ("/wxgate/jssdk/", None, Some(Action::Inject)),
            ("/wxgate/", None, Some(Action::Inject)),
        ] {
            assert_eq!((with.action(path).ok(), without.action(path).ok()), (right, elsewhere), "{path}");
        }
        let untouched = vec![PathPattern::parse("/cgi-bin/ticket/*").unwrap()];
        let rules = Rules { untouched, ..with };
        assert_eq!(rules.action("/cgi-bin/ticket/getticket"), Ok(Action::PassThrough));
    }

    #[test]
    fn calls_are_sealed_where_they_take_the_token() {
        let sealed = WEIXIN.sealed.iter().map(|text| PathPattern::parse(text).unwrap()).collect();
        let untouched = vec![PathPattern::parse("/wxa/plugin").unwrap()];
        let rules = Rules { sealed, untouched, ..rules(&[], "", &["/"]) };
        for (path, right) in [
            ("/wxa/msg_sec_check", Action::InjectAndSeal { reveals: false }),
            ("/cgi-bin/openapi/rid/get", Action::InjectAndSeal { reveals: true }),
            ("/datacube/getweanalysisappidvisitpage", Action::InjectAndSeal { reveals: false }),
            ("/wxa/plugin", Action::PassThrough),
            ("/wxa/getwxacodeunlimit", Action::Inject),
            ("/cgi-bin/token", Action::AnswerLocally(LocalAnswer::Token)),
        ] {
            assert_eq!(rules.action(path), Ok(right), "{path}");
        }
    }

    #[test]
    fn the_secret_is_for_exactly_the_paths_that_are_named() {
        let mut rules = rules(&[], "", &["/cgi-bin/", "/sns/"]);
        let named = |path: &str| SecretPath {
            path: path.to_owned(),
            appid: "appid".to_owned(),
            secret: "secret".to_owned(),
            token: false,
        };
        // The second one is refused by the configuration; it must not leave all the same.
        rules.secret_paths = ["/sns/jscode2session", "/cgi-bin/token", "/wxa/x"].map(named).to_vec();
        for (path, right) in [
            ("/sns/jscode2session", Some(Action::PutSecret(0))),
            ("/sns/jscode2session/", Some(Action::PassThrough)),
            ("/sns/jscode2sessions", Some(Action::PassThrough)),
            ("/sns/JsCode2Session", Some(Action::PassThrough)),
            ("/sns/jscode2session.json", Some(Action::PassThrough)),
            ("/cgi-bin/token", Some(Action::AnswerLocally(LocalAnswer::Token))),
            ("/wxa/x", None),
        ] {
            assert_eq!(rules.action(path).ok(), right, "{path}");
        }
    }

    #[test]
    fn a_token_call_outside_of_paths_is_not_found() {
        let accounts = [rules(&[], "", &["/wxa/"])];
        assert_eq!(found(&accounts, "h", "/cgi-bin/token"), None);
    }
}
