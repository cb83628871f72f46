//! Calls that the account's tickets answer: for the ticket itself, and for signatures made with it.
//!
//! The ticket's own task asks for it (`credential/issuer/ticket.rs`); a request waits for it a few seconds at most.

mod signature;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use serde_json::Value;
use tokio::time::Instant;

use super::Proxy;
use super::answer::{AnswerBody, own};
use super::inject::{Call, query};
use super::refusal::Refusal;
use super::route::Signature;
use super::state::{Account, OwnToken, now};
use super::tally::Tally;
use crate::credential::{Absent, Credential, CredentialKind};
use crate::errcodes::Product;
use crate::http1::percent;
use crate::stats::RequestStats;

/// How long a request waits for a ticket.
const TICKET_WAIT: Duration = Duration::from_secs(5);

/// WeChat says 7200 s whatever is left of a ticket, and what is really left is not known: callers ask again after so many
/// seconds at most.
const LONGEST: u64 = 600;

/// Random bytes of a nonce, which has two digits for each.
const NONCE: usize = 16;

impl Proxy {
    /// A call for a ticket, by this entry of the product's table; one for a kind that wxgate does not keep is forwarded.
    pub(super) async fn with_ticket(
        &self,
        (account, own): (&Account, &OwnToken),
        entry: usize,
        call: &mut Call<'_>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let kinds = account.rules.table.tickets[entry].kinds;
        let asked = query::values(call.query.unwrap_or_default(), "type").next().unwrap_or_default();
        match kinds.iter().find(|(kind, _)| kind.is_empty() || *kind == asked) {
            Some((_, kind)) if matches!(*call.method, Method::GET | Method::POST) => {
                let ticket = match ticket(own, *kind).await {
                    Ok(ticket) => ticket,
                    Err(none) => return none.answer(account.product, stats),
                };
                let left = ticket.end.saturating_duration_since(Instant::now()).as_secs();
                Ok(own::ticket(account.product, &ticket, left.clamp(1, LONGEST)))
            }
            _ => self.with_token(own, call, stats).await,
        }
    }
}

/// The answer to a page that wants a signature.
pub(super) async fn sign(
    what: Signature,
    method: &Method,
    query: Option<&str>,
    (product, own): (Product, &OwnToken),
    stats: &mut RequestStats,
) -> Result<Response<AnswerBody>, Refusal> {
    if *method != Method::GET {
        return Err(Refusal::Method("a signature is asked for with GET"));
    }
    let query = query.unwrap_or_default();
    let signed = match what {
        Signature::JsSdk => js_sdk(query, own).await,
        Signature::CardExt => card_ext(query, own).await,
    };
    signed.or_else(|none| none.answer(product, stats))
}

/// What `wx.config` or `wx.agentConfig` takes.
async fn js_sdk(query: &str, own: &OwnToken) -> Result<Response<AnswerBody>, NoTicket> {
    let kind = match parameter(query, "type").as_deref() {
        None | Some(b"jsapi") => CredentialKind::JsapiTicket,
        Some(b"agent_config") if own.ticket(CredentialKind::AgentTicket).is_some() => {
            CredentialKind::AgentTicket
        }
        Some(_) => return Err(missing(NO_SUCH_TYPE).into()),
    };
    let url = parameter(query, "url").ok_or_else(|| missing(NO_URL))?;
    let url = url.split(|byte| *byte == b'#').next().filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| missing(NO_URL))?;
    let (nonce, timestamp) = (nonce()?, now());
    let ticket = ticket(own, kind).await?;
    let signature = signature::jssdk(ticket.value.expose(), &nonce, timestamp, url);
    Ok(own::signature(&[
        ("appId", own.appid.as_str().into()),
        ("timestamp", timestamp.into()),
        ("nonceStr", nonce.into()),
        ("signature", signature.into()),
    ]))
}

/// The `cardExt` of `wx.addCard`.
async fn card_ext(query: &str, own: &OwnToken) -> Result<Response<AnswerBody>, NoTicket> {
    let card = parameter(query, "card_id").ok_or_else(|| missing(NO_CARD))?;
    let [code, openid] = ["code", "openid"].map(|name| parameter(query, name));
    // `wx.addCard` takes a text here.
    let (nonce, timestamp) = (nonce()?, now().to_string());
    let ticket = ticket(own, CredentialKind::CardTicket).await?;
    let signature = signature::card(&mut [
        ticket.value.expose().as_bytes(),
        timestamp.as_bytes(),
        &card,
        nonce.as_bytes(),
        code.as_deref().unwrap_or_default(),
        openid.as_deref().unwrap_or_default(),
    ]);
    let mut members: Vec<(&str, Value)> =
        vec![("timestamp", timestamp.into()), ("nonce_str", nonce.into()), ("signature", signature.into())];
    for (name, given) in [("code", code), ("openid", openid)] {
        members.extend(given.map(|given| (name, String::from_utf8_lossy(&given).into())));
    }
    Ok(own::signature(&members))
}

const NO_URL: &str = "the parameter `url` is missing: the address of the page that is to be signed, percent-encoded, for \
    example /wxgate/jssdk?url=https%3A%2F%2Fexample.com%2F";
const NO_SUCH_TYPE: &str = "there is no such `type`: leave it out for wx.config; `agent_config` is for wx.agentConfig, of WeCom \
    accounts alone";
const NO_CARD: &str = "the parameter `card_id` is missing: the card that is to be signed";

fn missing(what: &'static str) -> Refusal {
    Refusal::BadRequest(what.into())
}

/// The first non-empty value of a parameter, each `%XX` decoded. A `+` stays one: addresses hold no spaces, and an address
/// that was not encoded may hold a `+`.
fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    query
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(found, value)| !value.is_empty() && percent::decode(found.as_bytes()).eq(name.bytes()))
        .map(|(_, value)| percent::decode(value.as_bytes()).collect())
}

fn nonce() -> Result<String, Refusal> {
    let mut random = [0; NONCE];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Refusal::Busy("the system gives no random numbers at this moment; try again"))?;
    Ok(signature::hex(&random))
}

/// Why there is no ticket.
enum NoTicket {
    /// WeChat refuses to issue one; the caller gets WeChat's words.
    Refused { errcode: i64, errmsg: String },
    /// Another reason, or none to ask for one.
    Refusal(Refusal),
}

impl From<Refusal> for NoTicket {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl NoTicket {
    fn answer(self, product: Product, stats: &mut RequestStats) -> Result<Response<AnswerBody>, Refusal> {
        match self {
            Self::Refused { errcode, errmsg } => {
                stats.errcode = Some(errcode);
                Ok(own::wechat_error(product, errcode, &errmsg))
            }
            Self::Refusal(refusal) => Err(refusal),
        }
    }
}

/// The account's ticket of this kind.
async fn ticket(own: &OwnToken, kind: CredentialKind) -> Result<Arc<Credential>, NoTicket> {
    let reader = own
        .ticket(kind)
        .ok_or_else(|| Refusal::BadRequest("this account has no tickets of that kind".into()))?;
    let cause = match reader.wanted(TICKET_WAIT).await {
        Ok(ticket) => return Ok(ticket),
        Err(Absent::Refused { errcode, errmsg }) => return Err(NoTicket::Refused { errcode, errmsg }),
        Err(Absent::Passing { what }) => what,
        Err(Absent::Waiting) => "the upstream has not answered in time".to_owned(),
    };
    // Without a token there can be no ticket, and that is then what has to be said.
    if let Err(absent) = own.reader.current() {
        return Err(Refusal::from(absent).into());
    }
    let what = "there is no ticket at this moment: the WeChat API issued none; try again";
    Err(Refusal::NoToken { what, cause }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once_and_a_plus_stays() {
        for (query, right) in [
            ("url=http%3A%2F%2Fa%2F%3Fx%3D1%26y%3D%252B%23z", Some("http://a/?x=1&y=%2B#z")),
            ("url=http://a/?b+c", Some("http://a/?b+c")),
            ("url=http://a/?x=1&y=2", Some("http://a/?x=1")),
            ("a=1&%75rl=x&url=y", Some("x")),
            ("url=&url=y", Some("y")),
            ("url=%zz%4", Some("%zz%4")),
            ("url", None),
            ("url=", None),
            ("curl=x", None),
            ("", None),
        ] {
            let found = parameter(query, "url").map(|value| String::from_utf8(value).unwrap());
            assert_eq!(found.as_deref(), right, "{query}");
        }
    }

    #[test]
    fn nonces_differ_and_are_32_digits() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert!(one != other && one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    }
}
