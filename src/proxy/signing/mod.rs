//! WeChat's API security mode (服务端 API 签名与加密): a caller's plain JSON call is encrypted and signed, its answer
//! checked and decrypted, so that no app has to know of it.
//!
//! Here is the step in the life of a request; `seal.rs` and `open.rs` have the forms, pure, and `keys.rs` the keys. It
//! is made anew for each sending, and the errcode is looked for behind it, so that a dead token is found as in plain
//! calls. A call that its caller has signed, and one that is no POST of a JSON object, stays as it is.

pub mod keys;
pub mod open;
pub mod probe;
pub mod seal;

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::Proxy;
use super::answer::{AnswerBody, Hidden, headers};
use super::budget::Room;
use super::buffer::Buffered;
use super::inject::{Call, Head};
use super::inspect::coding::Coding;
use super::inspect::{self, Inspected};
use super::refusal::Refusal;
use super::route::Action;
use super::state::{Account, OwnToken, is_due, now};
use super::tally::Tally;
use crate::upstream::{ResponseBody, Upstream};
use keys::Keys;
use open::{Opened, Unverified};
use seal::{Stamp, Subject};

/// The longest body of a call that is encrypted, in bytes.
pub(super) const LONGEST_BODY: usize = 1 << 20;

/// The longest answer that is kept to be checked, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// What all fields of a signature begin with.
const FIELDS: &str = "wechatmp-";

/// How often it is said that a certificate is about to be replaced, in seconds.
const SAY_AGAIN: u64 = 3600;

/// An account's keys, and what was said of them.
#[derive(Debug)]
pub struct Signing {
    keys: Keys,
    /// When it was last said that a certificate is about to be replaced; seconds since 1970.
    said: AtomicU64,
}

impl Signing {
    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, said: AtomicU64::new(0) }
    }

    /// What answers are checked with: number and end of each certificate.
    pub fn certificates(&self) -> impl Iterator<Item = (String, SystemTime)> + '_ {
        self.keys.certificates.iter().map(|certificate| (certificate.number.clone(), certificate.ends))
    }
}

/// The action once the head is known: what its caller has signed, and what WeChat does not take encrypted, is an
/// ordinary call.
pub(super) fn settled(action: Action, method: &Method, headers: &HeaderMap) -> Action {
    let Action::InjectAndSeal { reveals } = action else { return action };
    let signed = || headers.keys().any(|name| name.as_str().starts_with(FIELDS));
    let upload = || {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
    };
    match *method == Method::POST && !signed() && !upload() {
        true => action,
        false if reveals => Action::InjectAndClean,
        false => Action::Inject,
    }
}

/// What a call is made of that is encrypted anew for each sending.
pub(super) struct SealedCall<'a> {
    signing: &'a Signing,
    account: &'a str,
    appid: &'a str,
    /// What is signed of the target.
    url: String,
    plain: Buffered,
}

impl Proxy {
    /// The call with the account's token, encrypted and signed where it can be; `reveals`: its answer shows calls.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn with_seal(
        &self,
        (account, own, signing): (&Account, &OwnToken, &Signing),
        reveals: bool,
        head: Head<'_>,
        (path, query): (&str, Option<&str>),
        body: Buffered,
        upstream: &Upstream,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let plain = seal::plaintext(query.unwrap_or_default(), &body.in_full()?);
        let mut call = match plain.map_err(|words| Refusal::BadRequest(words.into()))? {
            None => Call::new(head, (path, query), body, upstream),
            Some(plain) => {
                let sealed = SealedCall {
                    signing,
                    account: &account.name,
                    appid: &own.appid,
                    url: format!("{}{path}", signing.keys.url),
                    plain: body.replaced(plain)?,
                };
                Call::new(head, (path, None), sealed.plain.beside(Vec::new())?, upstream).with_seal(sealed)
            }
        };
        match reveals {
            true => self.with_clean_answer(own, &mut call, stats).await,
            false => self.with_token(own, &mut call, stats).await,
        }
    }
}

impl SealedCall<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject { url: &self.url, appid: self.appid }
    }

    /// The body for one sending, and the fields that go with it.
    pub(super) fn seal(&self, headers: &mut HeaderMap) -> Result<Buffered, Refusal> {
        let body = sealed_now(&self.signing.keys, self.subject(), &self.plain.concat(), headers);
        self.plain.beside(body.map_err(|_| Refusal::Unsigned)?)
    }

    /// Looks into the answer: checked and decrypted, or an error that WeChat answers before it decrypts.
    pub(super) async fn inspect(
        &self,
        response: Response<ResponseBody>,
        hidden: Hidden<'_>,
    ) -> Result<Inspected, Refusal> {
        let (mut parts, mut body) = response.into_parts();
        let mut whole = BytesMut::new();
        let mut room = self.plain.room();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            if whole.len() + chunk.len() > LONGEST_ANSWER {
                return Err(Unverified::TooLong(LONGEST_ANSWER >> 20).into());
            }
            room.grow(chunk.len()).map_err(|_| Unverified::NoRoom)?;
            whole.extend_from_slice(&chunk);
            if body.is_end_stream() {
                break;
            }
        }
        // Nobody asked for a coding.
        let coding = Coding::of(&parts.headers);
        let decoded = coding.and_then(|coding| coding.decode_within(&whole, LONGEST_ANSWER));
        let body = decoded.as_deref().unwrap_or(&whole);
        let text = match open::is_signed(&parts.headers) {
            true => {
                let opened = open::open(&self.signing.keys, self.subject(), &parts.headers, body, now())?;
                self.say_replaced(&opened);
                headers::describe_decoded(&mut parts.headers, opened.text.len());
                Kept { text: opened.text, _room: room }
            }
            false => {
                let errcode = Some(body).filter(|text| text.len() <= inspect::LIMIT);
                let errcode = errcode.and_then(inspect::errcode::errcode);
                let is_error = !parts.status.is_success() || errcode.is_some_and(|errcode| errcode != 0);
                if !is_error || open::is_ciphertext(body) {
                    return Err(Unverified::NotSigned.into());
                }
                drop(decoded);
                Kept { text: whole.into(), _room: room }
            }
        };
        // They speak of what came, which the caller does not get.
        while let Some(name) = parts.headers.keys().find(|name| name.as_str().starts_with(FIELDS)).cloned() {
            parts.headers.remove(name);
        }
        inspect::whole(parts, Bytes::from_owner(text), hidden)
    }

    /// Says, once an hour, that answers will soon be signed with a certificate that is not known.
    fn say_replaced(&self, opened: &Opened) {
        let Some(number) = &opened.replaced_by else { return };
        if is_due(&self.signing.said, SAY_AGAIN) {
            tracing::warn!(
                account = self.account,
                "WeChat is replacing the platform certificate that its answers are checked with by {number}; download \
                 that one in the console (小程序 → 开发管理 → API安全) and add it to `signing.certificates`: calls fail when \
                 the old one is gone"
            );
        }
    }
}

/// An answer that counts among the bodies that are held until its caller has it.
struct Kept {
    text: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// The body of a call that is sent now, and the fields that go with it.
fn sealed_now(
    keys: &Keys,
    subject: Subject<'_>,
    plain: &[u8],
    headers: &mut HeaderMap,
) -> Result<Vec<u8>, Unspecified> {
    let (mut iv, mut nonce) = ([0; 12], [0; 16]);
    rand::fill(&mut iv)?;
    rand::fill(&mut nonce)?;
    let nonce = STANDARD_NO_PAD.encode(nonce);
    let stamp = Stamp { seconds: now(), nonce: &nonce, iv };
    let sealed = seal::seal(keys, subject, plain, stamp)?;
    for (name, value) in [
        ("wechatmp-appid", Some(subject.appid)),
        ("wechatmp-timestamp", Some(&*stamp.seconds.to_string())),
        ("wechatmp-signature", Some(&*sealed.signature)),
        ("wechatmp-serial", keys.private_key_number.as_deref()),
    ] {
        let value = value.and_then(|value| HeaderValue::from_str(value).ok());
        value.map(|value| headers.insert(name, value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sealed.body.len()));
    Ok(sealed.body)
}

impl From<Unverified> for Refusal {
    fn from(why: Unverified) -> Self {
        Self::Unverified { errcode: why.errcode(), why: why.to_string() }
    }
}
