//! The paths of WeChat's own API (official accounts, mini programs) that take no token of the account.
//!
//! Source: WeChat's documentation. Everything else under an account's `paths` takes the token.

use super::action::{KnownSecretPath, LocalAnswer, PathTable, Signature, TicketPath};
use crate::credential::CredentialKind;

/// What stands out among WeChat's paths.
pub(super) static WEIXIN: PathTable = PathTable {
    // Forwarded, they would end the current token.
    local: &[("/cgi-bin/token", LocalAnswer::Token), ("/cgi-bin/stable_token", LocalAnswer::StableToken)],
    pass_through: &[
        // Takes appid and AppSecret in its body.
        "/cgi-bin/clear_quota/v2",
        // A third-party platform's own token.
        "/cgi-bin/component/*",
        // A user's token, or appid and AppSecret.
        "/sns/*",
    ],
    // A platform manages templates with its component_access_token.
    either_token: &[
        "/wxa/gettemplatedraftlist",
        "/wxa/addtotemplate",
        "/wxa/gettemplatelist",
        "/wxa/deletetemplate",
    ],
    reveals: &["/cgi-bin/openapi/rid/get"],
    tickets: &[TicketPath {
        path: "/cgi-bin/ticket/getticket",
        kinds: &[("jsapi", CredentialKind::JsapiTicket), ("wx_card", CredentialKind::CardTicket)],
    }],
    signatures: &[("/wxgate/jssdk", Signature::JsSdk), ("/wxgate/cardext", Signature::CardExt)],
    secret_paths: &[
        KnownSecretPath { path: "/sns/jscode2session", secret: "secret", token: false },
        KnownSecretPath { path: "/sns/oauth2/access_token", secret: "secret", token: false },
        // SDKs send it in the query or in JSON.
        KnownSecretPath { path: "/cgi-bin/clear_quota/v2", secret: "appsecret", token: false },
        KnownSecretPath { path: "/donut/code2verifyinfo", secret: "appsecret", token: true },
    ],
};
