//! Which account a request belongs to, and what kind of call it is.
//!
//! Pure: rules and a checked target in, an account and a destination out. It neither looks at headers other
//! than the host name nor knows tokens.

use super::admit::Target;
use super::refusal::Refusal;

/// What decides whether a request belongs to an account and may be made.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Host names in lower case.
    pub hosts: Vec<String>,
    /// `""`, or a path without a slash at its end.
    pub prefix: String,
    /// What may be called, compared byte for byte with the beginning of the path.
    pub paths: Vec<String>,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Index into the accounts.
    pub account: usize,
    /// The path without the account's prefix.
    pub path: &'a str,
    /// What is done with it.
    pub action: Action,
}

/// What wxgate does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Put the account's token in, look into the answer, retry when the token was refused.
    Inject,
    /// Forward it as it is: it carries credentials of its own.
    PassThrough,
    /// Answer it here: it asks for a token.
    AnswerLocally(LocalAnswer),
}

/// Which token call wxgate answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalAnswer {
    /// `GET|POST /cgi-bin/token`
    Token,
    /// `POST /cgi-bin/stable_token`
    StableToken,
}

/// Finds the account by host name, else by the longest prefix, else the only account without either.
///
/// # Errors
/// [`Refusal::NotFound`] when there is none, or when the path is outside the account's `paths`.
pub fn route<'a, 'r>(
    accounts: impl Iterator<Item = &'r Rules> + Clone,
    target: &Target<'_, 'a>,
) -> Result<Route<'a>, Refusal> {
    let by_host = accounts
        .clone()
        .position(|rules| rules.hosts.iter().any(|host| host.eq_ignore_ascii_case(target.host)));
    let (account, path) = match by_host {
        // An account that has both names keeps its prefix optional: the host has already decided.
        Some(index) => {
            let rules = accounts.clone().nth(index);
            let stripped = rules.and_then(|rules| strip(&rules.prefix, target.path));
            (index, stripped.unwrap_or(target.path))
        }
        None => by_prefix(accounts.clone(), target)?,
    };
    let allowed = accounts
        .clone()
        .nth(account)
        .is_some_and(|rules| rules.paths.iter().any(|allowed| path.starts_with(allowed.as_str())));
    if !allowed {
        return Err(Refusal::NotFound(
            "this path is not among the account's `paths`; add its beginning to `paths` in the account's [[account]] table"
                .into(),
        ));
    }
    Ok(Route { account, path, action: action(path) })
}

fn by_prefix<'a, 'r>(
    accounts: impl Iterator<Item = &'r Rules> + Clone,
    target: &Target<'_, 'a>,
) -> Result<(usize, &'a str), Refusal> {
    let longest = accounts
        .clone()
        .enumerate()
        .filter(|(_, rules)| !rules.prefix.is_empty())
        .filter_map(|(index, rules)| strip(&rules.prefix, target.path).map(|rest| (index, rest)))
        // The shorter the rest, the longer the prefix.
        .min_by_key(|(_, rest)| rest.len());
    if let Some(found) = longest {
        return Ok(found);
    }
    let plain = accounts
        .enumerate()
        .find(|(_, rules)| rules.prefix.is_empty() && rules.hosts.is_empty())
        .map(|(index, _)| (index, target.path));
    plain.ok_or_else(|| {
        Refusal::NotFound(
            "no account has this Host name or path prefix; see `hosts` and `prefix` in the [[account]] tables".into(),
        )
    })
}

/// `/shop/cgi-bin/x` without `/shop`; `/shop` alone and `/shopping` are not under it.
fn strip<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'))
}

/// Which calls take the token; source: WeChat's documentation, as noted for each.
fn action(path: &str) -> Action {
    match path {
        // Forwarded, they would end the current token.
        "/cgi-bin/token" => Action::AnswerLocally(LocalAnswer::Token),
        "/cgi-bin/stable_token" => Action::AnswerLocally(LocalAnswer::StableToken),
        // Takes appid and AppSecret in its body.
        "/cgi-bin/clear_quota/v2" => Action::PassThrough,
        // `component` calls carry a third-party platform's token, `/sns` a user's.
        _ if path.starts_with("/cgi-bin/component/") || path.starts_with("/sns/") => Action::PassThrough,
        _ => Action::Inject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], prefix: &str, paths: &[&str]) -> Rules {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Rules { hosts: owned(hosts), prefix: prefix.to_owned(), paths: owned(paths) }
    }

    fn found(accounts: &[Rules], host: &str, path: &str) -> Option<(usize, String)> {
        let target = Target { host, path, query: None };
        route(accounts.iter(), &target).ok().map(|r| (r.account, r.path.to_owned()))
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
            ("WX.Example.com", "/cgi-bin/a", Some((3, "/cgi-bin/a"))),
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
    fn kinds_of_calls() {
        for (path, right) in [
            ("/cgi-bin/user/get", Action::Inject),
            ("/cgi-bin/token", Action::AnswerLocally(LocalAnswer::Token)),
            ("/cgi-bin/stable_token", Action::AnswerLocally(LocalAnswer::StableToken)),
            ("/cgi-bin/tokens", Action::Inject),
            ("/cgi-bin/clear_quota", Action::Inject),
            ("/cgi-bin/clear_quota/v2", Action::PassThrough),
            ("/cgi-bin/component/api_component_token", Action::PassThrough),
            ("/cgi-bin/componentx", Action::Inject),
            ("/sns/jscode2session", Action::PassThrough),
            ("/wxa/getwxacode", Action::Inject),
        ] {
            assert_eq!(action(path), right, "{path}");
        }
    }
}
