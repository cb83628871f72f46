//! Which interface answers which path, and the checks that stand before all of them.
//!
//! The order of the checks is token sent, caller's address, token alive, interface known, quota, and only
//! then the interface's own parameters. The interfaces themselves are in the files beside this one.

mod content;
mod media;
mod quota;
mod token;
mod users;
pub(crate) mod wecom;

use http::StatusCode;

use crate::answer::{Answer, JSON};
use crate::call::Call;
use crate::errors::{Refusal, refuse, refuse_ip};
use crate::secure;
use crate::world::World;

/// What an interface returns.
pub(super) type Outcome = Result<Answer, Refusal>;

type Handler = fn(&mut World, usize, &Call) -> Outcome;

/// The interfaces that take the account's token.
const INTERFACES: &[(&str, Handler)] = &[
    ("/cgi-bin/user/get", users::list),
    ("/cgi-bin/user/info", users::info),
    ("/cgi-bin/message/custom/send", content::custom_send),
    ("/cgi-bin/message/template/send", content::template_send),
    ("/cgi-bin/menu/create", content::menu_create),
    ("/cgi-bin/menu/get", content::menu_get),
    ("/cgi-bin/menu/delete", content::menu_delete),
    ("/cgi-bin/media/upload", media::upload),
    ("/cgi-bin/media/uploadimg", media::upload_image),
    ("/cgi-bin/media/get", media::get),
    ("/cgi-bin/material/add_material", media::add_material),
    ("/cgi-bin/ticket/getticket", content::ticket),
    ("/cgi-bin/getcallbackip", content::callback_ips),
    ("/cgi-bin/get_api_domain_ip", content::api_ips),
    ("/cgi-bin/qrcode/create", content::qrcode),
    ("/cgi-bin/clear_quota", quota::clear),
    ("/cgi-bin/openapi/quota/get", quota::get),
    ("/wxa/getuserriskrank", content::risk_rank),
    ("/wxa/getwxacodeunlimit", content::wxa_code),
    ("/datacube/getusersummary", content::user_summary),
];

/// The families of paths that take the account's token (WeChat's documentation of its products).
const FAMILIES: &[&str] = &[
    "cgi-bin",
    "wxa",
    "wxaapi",
    "datacube",
    "card",
    "customservice",
    "cv",
    "channels",
    "product",
    "shop",
    "merchant",
    "tcb",
    "xpay",
    "semantic",
    "shakearound",
    "bizwifi",
    "scan",
    "device",
    "marketing",
    "nontax",
    "intp",
    "wxopen",
    "promoter",
    "user-order",
    "cityservice",
];

/// Whether a path is one of the calls that hand out tokens.
pub(super) fn is_token_call(path: &str) -> bool {
    matches!(path, "/cgi-bin/token" | "/cgi-bin/stable_token") || wecom::is_token_call(path)
}

/// Whether errors of this path come as `text/plain`.
pub(super) fn answers_as_text(path: &str) -> bool {
    ["/cgi-bin/media/", "/cgi-bin/material/", "/sns/"].iter().any(|family| path.starts_with(family))
}

/// The answer to any request for the API.
pub(super) fn answer(world: &mut World, call: &Call) -> Outcome {
    match call.path() {
        _ if world.wecom => wecom::answer(world, call),
        "/cgi-bin/token" => token::token(world, call),
        "/cgi-bin/stable_token" => token::stable_token(world, call),
        "/cgi-bin/clear_quota/v2" => quota::clear_with_secret(world, call),
        path if path.starts_with("/cgi-bin/component/") => users::component(call),
        path if path.starts_with("/sns/") => users::sns(world, call),
        path => {
            let family = path.split('/').nth(1).unwrap_or_default();
            if !FAMILIES.contains(&family) {
                return Ok(Answer::of(
                    StatusCode::NOT_FOUND,
                    "text/html",
                    "<html><body>404 Not Found</body></html>\n",
                ));
            }
            let account = authorise(world, call)?;
            // An unknown interface is told from a dead token: the token is looked at first.
            let (name, handler) =
                INTERFACES.iter().find(|(name, _)| *name == path).ok_or_else(|| refuse(40066))?;
            if *name != "/cgi-bin/clear_quota" {
                world.spend(account, name)?;
            }
            match secure::open(world, account, call)? {
                None => handler(world, account, call),
                Some(opened) => {
                    let outcome = handler(world, account, &opened);
                    let answer = outcome
                        .unwrap_or_else(|refusal| Answer::of(StatusCode::OK, JSON, refusal.body(world.now)));
                    secure::seal(world, account, path, &answer)
                }
            }
        }
    }
}

/// The account whose token the query holds. A token in a header or a body does not count.
///
/// # Errors
/// What is wrong with the token or the caller's address.
pub(super) fn authorise(world: &mut World, call: &Call) -> Result<usize, Refusal> {
    if world.wecom {
        return wecom::authorise(world, call);
    }
    let token =
        call.parameter("access_token").filter(|token| !token.is_empty()).ok_or_else(|| refuse(41001))?;
    if !world.is_allowed(call.peer) {
        return Err(refuse_ip(call.peer));
    }
    world.tokens.look_up(token, world.now).map_err(refuse)
}

fn ok() -> Outcome {
    Ok(Answer::json(&serde_json::json!({ "errcode": 0, "errmsg": "ok" })))
}
