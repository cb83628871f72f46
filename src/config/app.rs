//! Reads what an account's token is issued for (`appid`, `secret`, `token_api`) and where, by the account's `kind`.
//!
//! Whether an appid and its secret belong together is known to WeChat alone; `wxgate check` asks.

use super::account::At;
use super::parse::address;
use super::table::Table;
use super::{App, Product, TokenApi, parse, secret, upstream};
use crate::upstream::BaseUrl;

/// Where WeCom's API is.
pub(super) const WECOM_URL: &str = "https://qyapi.weixin.qq.com";

/// What means a dead token at WeCom, where 40001 is a wrong secret.
pub(super) const WECOM_REFRESH_ON: &[i64] = &[40014, 42001];

/// What the token of an account is issued for: `None` where that could not be read, `Some(None)` where wxgate keeps no
/// token. With the appid, where that could be read.
pub(super) fn read(table: &mut Table<'_>, kind: Product) -> (Option<At<String>>, Option<Option<App>>) {
    let api = |api: TokenApi| (api.as_str(), Some(api));
    let none = ("none", None);
    let token_api = match kind {
        Product::Weixin => {
            table.key("token_api", |v| v.one_of(&[api(TokenApi::Token), api(TokenApi::StableToken), none]))
        }
        Product::Wecom => table.key("token_api", |v| v.one_of(&[api(TokenApi::Token), none])),
    };
    let Some(token_api) = token_api else {
        for name in ["appid", "secret"] {
            table.unwanted(name, "of no use with token_api = \"none\": callers keep their own token, and wxgate asks for none; remove it");
        }
        return (None, Some(None));
    };
    let appid = table.required("appid", |v| {
        v.parsed(parse::APPID_WANTED, parse::appid).map(|value| At { line: v.line(), value })
    });
    let secret = table.required("secret", |v| secret::read(v, secret::APP_SECRET));
    let app = appid.as_ref().zip(secret).map(|(appid, secret)| App {
        appid: appid.value.clone(),
        secret,
        token_api,
    });
    (appid, app.map(Some))
}

pub(super) fn upstream_of(table: &mut Table<'_>, kind: Product, default_url: &BaseUrl) -> BaseUrl {
    table.optional("upstream", upstream::url).unwrap_or_else(|| match kind {
        Product::Weixin => default_url.clone(),
        Product::Wecom => address::upstream_url(WECOM_URL).unwrap_or_else(|_| default_url.clone()),
    })
}
