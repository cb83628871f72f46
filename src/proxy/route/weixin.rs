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
    // The POST calls whose pages say so, and those of same-city delivery, which always want it. Not among them are the
    // three that answer with a picture (getwxacode, getwxacodeunlimit, createwxaqrcode): nobody documents what an
    // encrypted picture looks like, and without the console's switch they come in plain.
    sealed: &[
        "/cgi-bin/clear_quota",
        "/cgi-bin/openapi/quota/get",
        "/cgi-bin/openapi/rid/get",
        "/cgi-bin/message/custom/send",
        "/cgi-bin/message/subscribe/send",
        "/cgi-bin/message/wxopen/updatablemsg/send",
        "/cgi-bin/express/intracity/*",
        "/cgi-bin/soter/verify_signature",
        "/wxa/business/checkencryptedmsg",
        "/wxa/business/getuserphonenumber",
        "/wxa/business/performance/boot",
        "/wxa/devplugin",
        "/wxa/getpluginopenpid",
        "/wxa/getuserriskrank",
        "/wxa/media_check_async",
        "/wxa/msg_sec_check",
        "/wxa/plugin",
        "/wxa/servicemarket",
        "/wxaapi/log/get_performance",
        "/wxaapi/log/jserr_detail",
        "/wxaapi/log/jserr_list",
        "/wxaapi/newtmpl/addtemplate",
        "/wxaapi/newtmpl/deltemplate",
        "/datacube/getweanalysisappid*",
    ],
};
