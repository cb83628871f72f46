//! What is done with a call, by its path: a table for each product, and the account's own `untouched`.
//!
//! A product is one table in a file of its own ([`super::weixin`]).

use super::pattern::PathPattern;
use crate::credential::CredentialKind;
use crate::errcodes::Product;

/// What wxgate does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Put the account's token in, look into the answer, retry when the token was refused.
    Inject,
    /// As [`Action::Inject`], unless the query has a token that is none of the account's: then it is forwarded as it is.
    InjectUnlessForeign,
    /// As [`Action::Inject`], and the answer is cleaned of every token that wxgate remembers.
    InjectAndClean,
    /// As [`Action::Inject`], or where it `reveals` as [`Action::InjectAndClean`], encrypted and signed.
    InjectAndSeal {
        /// Whether its answer can repeat the token of an earlier call.
        reveals: bool,
    },
    /// Forward it as it is: it carries credentials of its own.
    PassThrough,
    /// Put appid and AppSecret in, by this entry of the account's `secret_paths`, and send it once.
    PutSecret(usize),
    /// Answer it with the account's ticket, by this entry of the product's table.
    Ticket(usize),
    /// Sign for a page with the account's ticket.
    Sign(Signature),
    /// Answer it here.
    AnswerLocally(LocalAnswer),
}

/// What is signed for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `/wxgate/jssdk`: for `wx.config`.
    JsSdk,
    /// `/wxgate/cardext`: for `wx.addCard`.
    CardExt,
}

/// A call for a ticket.
#[derive(Debug)]
pub struct TicketPath {
    /// The whole path.
    pub path: &'static str,
    /// By the value of its parameter `type`, `""` for a call without one. Others are forwarded.
    pub kinds: &'static [(&'static str, CredentialKind)],
}

/// Which call wxgate answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalAnswer {
    /// `GET|POST /cgi-bin/token`
    Token,
    /// `POST /cgi-bin/stable_token`
    StableToken,
    /// `GET|POST /cgi-bin/gettoken` of WeCom
    GetToken,
}

impl LocalAnswer {
    /// Whose call it is.
    pub fn product(self) -> Product {
        match self {
            Self::Token | Self::StableToken => Product::Weixin,
            Self::GetToken => Product::Wecom,
        }
    }
}

/// The paths of a product that do not take the account's token.
///
/// They are known in any spelling of case and with a slash at the end: which of those the API takes is for the
/// API to say, and a call that must not leave must not leave in any of them.
#[derive(Debug)]
pub struct PathTable {
    /// Whole paths that wxgate answers by itself.
    pub local: &'static [(&'static str, LocalAnswer)],
    /// Paths, or with a `*` at the end beginnings of paths, that are forwarded as they are.
    pub pass_through: &'static [&'static str],
    /// Whole paths that platforms call with a token of their own, and accounts with theirs.
    pub either_token: &'static [&'static str],
    /// Whole paths whose answers can repeat the token of an earlier call.
    pub reveals: &'static [&'static str],
    /// Calls for tickets.
    pub tickets: &'static [TicketPath],
    /// What is signed with them, by path.
    pub signatures: &'static [(&'static str, Signature)],
    /// Calls that take appid and AppSecret in known places.
    pub secret_paths: &'static [KnownSecretPath],
    /// Calls that are encrypted and signed where the account has keys for it and does not say which: patterns.
    pub sealed: &'static [&'static str],
}

/// A call of which WeChat's documentation says that it takes appid and AppSecret.
#[derive(Debug)]
pub struct KnownSecretPath {
    /// The whole path.
    pub path: &'static str,
    /// What it calls the AppSecret.
    pub secret: &'static str,
    /// Whether it takes the account's token, too.
    pub token: bool,
}

/// A call that takes appid and AppSecret, which wxgate puts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPath {
    /// The whole path, compared byte for byte.
    pub path: String,
    /// What it calls the appid.
    pub appid: String,
    /// What it calls the AppSecret.
    pub secret: String,
    /// Whether it takes the account's token, too.
    pub token: bool,
}

impl From<&KnownSecretPath> for SecretPath {
    fn from(known: &KnownSecretPath) -> Self {
        let (path, secret) = (known.path.to_owned(), known.secret.to_owned());
        Self { path, appid: "appid".to_owned(), secret, token: known.token }
    }
}

/// The path that a call looks like, although nobody documents it in this spelling: `/cgi-bin/token.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookAlike(pub &'static str);

impl PathTable {
    /// Whether wxgate answers this path by itself, or refuses it since it looks like one that it answers.
    pub fn is_local(&self, path: &str) -> bool {
        self.local.iter().any(|(documented, _)| Likeness::of(path, documented) != Likeness::Other)
    }

    /// What is done with a call, and the documented spelling of its path if wxgate answers it.
    ///
    /// # Errors
    /// [`LookAlike`] for what some program may take for a call that must not leave.
    pub(super) fn action(
        &self,
        path: &str,
        untouched: &[PathPattern],
    ) -> Result<(Action, Option<&'static str>), LookAlike> {
        for &(documented, answer) in self.local {
            match Likeness::of(path, documented) {
                Likeness::Same => return Ok((Action::AnswerLocally(answer), Some(documented))),
                Likeness::LookAlike => return Err(LookAlike(documented)),
                Likeness::Other => {}
            }
        }
        let listed = |entry: &&str| match entry.strip_suffix('*') {
            Some(beginning) => path.get(..beginning.len()).is_some_and(|path| is_same(path, beginning)),
            None => Likeness::of(path, entry) == Likeness::Same,
        };
        let pass = self.pass_through.iter().any(listed) || untouched.iter().any(|entry| entry.covers(path));
        let is = |documented: &&str| Likeness::of(path, documented) == Likeness::Same;
        let action = match pass {
            true => Action::PassThrough,
            // Whatever the API makes of such a path: nothing is lost by it.
            false if self.reveals.iter().any(|entry| Likeness::of(path, entry) != Likeness::Other) => {
                Action::InjectAndClean
            }
            false if self.either_token.iter().any(is) => Action::InjectUnlessForeign,
            false => Action::Inject,
        };
        Ok((action, None))
    }
}

/// How a path compares with a documented one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// But for case, and a slash at the end.
    Same,
    /// Something follows that programs have been seen to cut off: `.json`, `/x`, `,x`.
    LookAlike,
    /// Another word, `/cgi-bin/tokens` say, or nothing like it.
    Other,
}

impl Likeness {
    fn of(path: &str, documented: &str) -> Self {
        let Some((beginning, rest)) = path.split_at_checked(documented.len()) else { return Self::Other };
        if !is_same(beginning, documented) {
            return Self::Other;
        }
        match rest.as_bytes() {
            [] | [b'/'] => Self::Same,
            [b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-', ..] => Self::Other,
            _ => Self::LookAlike,
        }
    }
}

/// Whether two texts of one length are the same but for case. Nearly all paths begin alike, so their ends are compared
/// first.
fn is_same(path: &str, documented: &str) -> bool {
    let last = |text: &str| text.as_bytes().last().map(u8::to_ascii_lowercase);
    last(path) == last(documented) && path.eq_ignore_ascii_case(documented)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::{EGRESS_ONLY, WECOM, WEIXIN};

    #[test]
    fn actions_of_weixins_paths() {
        let untouched = ["/wxa/gettemplatelist", "/wxa/third/*", "/cgi-bin/*"]
            .map(|text| PathPattern::parse(text).unwrap());
        for (path, right) in [
            ("/cgi-bin/user/get", Action::Inject),
            ("/cgi-bin/token", Action::AnswerLocally(LocalAnswer::Token)),
            ("/cgi-bin/Token/", Action::AnswerLocally(LocalAnswer::Token)),
            ("/CGI-BIN/TOKEN", Action::AnswerLocally(LocalAnswer::Token)),
            ("/cgi-bin/stable_token", Action::AnswerLocally(LocalAnswer::StableToken)),
            ("/cgi-bin/Stable_Token/", Action::AnswerLocally(LocalAnswer::StableToken)),
            ("/cgi-bin/tokens", Action::Inject),
            ("/cgi-bin/token_x", Action::Inject),
            ("/cgi-bin/token-x", Action::Inject),
            ("/cgi-bin/clear_quota", Action::Inject),
            ("/cgi-bin/clear_quota/v2", Action::PassThrough),
            ("/cgi-bin/clear_quota/V2/", Action::PassThrough),
            ("/cgi-bin/clear_quota/v3", Action::Inject),
            ("/cgi-bin/component/api_component_token", Action::PassThrough),
            ("/cgi-bin/Component/x", Action::PassThrough),
            ("/cgi-bin/componentx", Action::Inject),
            ("/sns/jscode2session", Action::PassThrough),
            ("/sns", Action::Inject),
            ("/wxa/getwxacode", Action::Inject),
            ("/wxa/gettemplatelist", Action::InjectUnlessForeign),
            ("/wxa/GetTemplateDraftList/", Action::InjectUnlessForeign),
            ("/wxa/addtotemplate", Action::InjectUnlessForeign),
            ("/wxa/deletetemplate", Action::InjectUnlessForeign),
            ("/wxa/deletetemplatex", Action::Inject),
            ("/cgi-bin/openapi/rid/get", Action::InjectAndClean),
            ("/cgi-bin/OpenAPI/rid/get/", Action::InjectAndClean),
            ("/cgi-bin/openapi/rid/get.json", Action::InjectAndClean),
            ("/cgi-bin/openapi/quota/get", Action::Inject),
        ] {
            assert_eq!(WEIXIN.action(path, &[]).map(|(action, _)| action), Ok(right), "{path}");
        }
        for (path, right) in [
            ("/wxa/gettemplatelist", Action::PassThrough),
            ("/wxa/gettemplatelist/", Action::InjectUnlessForeign),
            ("/wxa/third/a/b", Action::PassThrough),
            ("/wxa/getwxacode", Action::Inject),
            ("/cgi-bin/user/get", Action::PassThrough),
            // Whatever `untouched` says, what must not leave does not.
            ("/cgi-bin/token", Action::AnswerLocally(LocalAnswer::Token)),
        ] {
            assert_eq!(WEIXIN.action(path, &untouched).map(|(action, _)| action), Ok(right), "{path}");
        }
    }

    #[test]
    fn actions_of_wecoms_paths() {
        for (path, right) in [
            ("/cgi-bin/message/send", Action::Inject),
            ("/cgi-bin/gettoken", Action::AnswerLocally(LocalAnswer::GetToken)),
            ("/CGI-BIN/GetToken/", Action::AnswerLocally(LocalAnswer::GetToken)),
            ("/cgi-bin/corpgroup/corp/gettoken", Action::Inject),
            ("/cgi-bin/service/get_suite_token", Action::PassThrough),
            ("/cgi-bin/service/get_login_info", Action::PassThrough),
            ("/cgi-bin/servicex", Action::Inject),
            ("/cgi-bin/component/x", Action::Inject),
        ] {
            assert_eq!(WECOM.action(path, &[]).map(|(action, _)| action), Ok(right), "{path}");
        }
        assert_eq!(WECOM.action("/cgi-bin/gettoken.json", &[]), Err(LookAlike("/cgi-bin/gettoken")));
    }

    #[test]
    fn nothing_stands_out_where_callers_keep_their_own_token() {
        for path in ["/cgi-bin/token", "/cgi-bin/token.json", "/cgi-bin/gettoken", "/cgi-bin/user/get", "/x"]
        {
            assert_eq!(EGRESS_ONLY.action(path, &[]), Ok((Action::PassThrough, None)), "{path}");
        }
    }

    #[test]
    fn what_looks_like_a_token_call_is_no_call_at_all() {
        for (path, documented) in [
            ("/cgi-bin/token.json", "/cgi-bin/token"),
            ("/cgi-bin/token.", "/cgi-bin/token"),
            ("/cgi-bin/Token/x", "/cgi-bin/token"),
            ("/cgi-bin/token,x", "/cgi-bin/token"),
            ("/cgi-bin/token:8", "/cgi-bin/token"),
            ("/cgi-bin/token~", "/cgi-bin/token"),
            ("/cgi-bin/token*", "/cgi-bin/token"),
            ("/cgi-bin/token&appid=x", "/cgi-bin/token"),
            ("/cgi-bin/stable_token.php", "/cgi-bin/stable_token"),
            ("/cgi-bin/stable_token/v2/", "/cgi-bin/stable_token"),
        ] {
            assert_eq!(WEIXIN.action(path, &[]), Err(LookAlike(documented)), "{path}");
        }
    }
}
