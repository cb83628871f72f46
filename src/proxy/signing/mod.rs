//! WeChat's API security mode (服务端 API 签名与加密): a caller's plain JSON call is encrypted and signed, its answer
//! checked and decrypted, so that no app has to know of it.
//!
//! Here are the keys and the forms: `seal.rs` and `open.rs`, pure, and `keys.rs`. [`super::sealed_call`] is the step in
//! the life of a request. A call that its caller has signed, and one that is no POST of a JSON object, stays as it is.

pub mod keys;
pub mod open;
pub mod seal;

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, header};

use super::refusal::Refusal;
use super::route::Action;
use super::state::{is_due, now};
use keys::Keys;
use open::{Opened, Unverified};
use seal::{Stamp, Subject};

/// What all fields of a signature begin with.
pub(super) const FIELDS: &str = "wechatmp-";

/// How often it is said that a certificate is about to be replaced, in seconds.
const SAY_AGAIN: u64 = 3600;

/// An account's keys, and what was said of them.
#[derive(Debug)]
pub struct Signing {
    pub(super) keys: Keys,
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

    /// Says, once an hour, that answers will soon be signed with a certificate that is not known.
    pub(super) fn say_replaced(&self, account: &str, opened: &Opened) {
        let Some(number) = &opened.replaced_by else { return };
        if is_due(&self.said, SAY_AGAIN) {
            tracing::warn!(
                account,
                "WeChat is replacing the platform certificate that its answers are checked with by {number}; download \
                 that one in the console (小程序 → 开发管理 → API安全) and add it to `signing.certificates`: calls fail when \
                 the old one is gone"
            );
        }
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

/// The body of a call that is sent now, and the fields that go with it.
pub(super) fn sealed_now(
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
