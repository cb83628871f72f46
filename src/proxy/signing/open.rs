//! Checks the signature of an answer and decrypts it (服务端 API 签名加密指南, section 4).
//!
//! Pure: fields, bytes and the time in, the plain answer or the reason against it out.

use std::borrow::Cow;

use aws_lc_rs::aead::Nonce;
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use http::HeaderMap;

use super::keys::{BASE64, Keys, PlatformCertificate, is_number};
use super::seal::{SECURITY_FIELDS, Subject, aad, cipher, signed_text};
use crate::json::{self, Object};

/// How old an answer may be, in seconds: as in the guide's own example.
const OLDEST: u64 = 300;

/// Why an answer is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Without a signature, and no error that WeChat answers before it decrypts.
    #[error(
        "it is not signed; is this path among those that WeChat encrypts? Else take it out of `signing.paths`"
    )]
    NotSigned,
    /// A field of the signature is missing, twice there or malformed.
    #[error("its field {0} is missing or malformed")]
    Field(&'static str),
    /// It names another account.
    #[error("it is signed for another appid")]
    OtherAppid,
    /// It is signed with certificates that wxgate does not know; their numbers.
    #[error(
        "it is signed with the platform certificate {0}, which `signing.certificates` does not have; download it in \
         the console (小程序 → 开发管理 → API安全) and add it"
    )]
    UnknownCertificate(String),
    /// The signature does not fit; the certificate's number.
    #[error("its signature does not fit the platform certificate {0}")]
    Signature(String),
    /// It was signed long ago, in seconds.
    #[error("it was signed {0} seconds ago; is this machine's clock right?")]
    Old(u64),
    /// The signed body is not an encrypted one.
    #[error("it is signed and not encrypted as AES256_GCM has it")]
    NoCiphertext,
    /// The key does not open it.
    #[error("the symmetric key does not decrypt it; compare `signing.key_number` and `key` with the console")]
    Decryption,
    /// What was encrypted contradicts the fields.
    #[error("what is encrypted in it does not repeat {0} as the fields have it")]
    Contradiction(&'static str),
    /// Longer than wxgate keeps.
    #[error("it is larger than {0} MiB, more than wxgate keeps to check it")]
    TooLong(usize),
    /// There is no room to keep it.
    #[error("too many bodies are held at this moment to check it; raise limits.replay_total")]
    NoRoom,
}

impl Unverified {
    /// WeChat's number for the same trouble with a call.
    pub fn errcode(&self) -> i64 {
        match self {
            Self::NoCiphertext | Self::Decryption | Self::Contradiction(_) => 40235,
            _ => 40234,
        }
    }
}

/// An answer that is good.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// As WeChat would have answered a plain call.
    pub text: Vec<u8>,
    /// The certificate that it was checked with is about to be replaced by this one.
    pub replaced_by: Option<String>,
}

/// Whether an answer bears a signature.
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
}

/// Whether a text is an encrypted body.
pub fn is_ciphertext(text: &[u8]) -> bool {
    Object::find(text)
        .is_some_and(|object| ["iv", "data", "authtag"].iter().all(|name| object.get(name).is_some()))
}

const APPID: &str = "Wechatmp-Appid";
const TIMESTAMP: &str = "Wechatmp-TimeStamp";
const SERIAL: &str = "Wechatmp-Serial";
const SIGNATURE: &str = "Wechatmp-Signature";
const SERIAL_DEPRECATED: &str = "Wechatmp-Serial-Deprecated";
const SIGNATURE_DEPRECATED: &str = "Wechatmp-Signature-Deprecated";

/// Checks and decrypts the answer to a call; `now` in seconds since 1970.
///
/// # Errors
/// The reason not to believe it.
pub fn open(
    keys: &Keys,
    subject: Subject<'_>,
    headers: &HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<Opened, Unverified> {
    let (appid, seconds) = (field(headers, APPID)?, field(headers, TIMESTAMP)?);
    if appid != subject.appid {
        return Err(Unverified::OtherAppid);
    }
    let signed_at = seconds.parse::<u64>().ok().filter(|_| seconds.bytes().all(|b| b.is_ascii_digit()));
    let signed_at = signed_at.ok_or(Unverified::Field(TIMESTAMP))?;
    let message = signed_text(subject.url, appid, seconds, body);
    let replaced_by = verify(keys, headers, &message)?;
    // Not the other way round: a clock that is slow is no reason to refuse an answer.
    let age = now.saturating_sub(signed_at);
    if age > OLDEST {
        return Err(Unverified::Old(age));
    }
    let text = decrypt(keys, subject, seconds, body)?;
    let object = Object::find(&text).filter(|object| object.is_whole()).ok_or(Unverified::NoCiphertext)?;
    let same = object.get("_appid").and_then(json::text).is_some_and(|text| text == *appid);
    if !same {
        return Err(Unverified::Contradiction("_appid"));
    }
    if object.get("_timestamp").and_then(json::integer) != i64::try_from(signed_at).ok() {
        return Err(Unverified::Contradiction("_timestamp"));
    }
    Ok(Opened { text: object.without(&SECURITY_FIELDS), replaced_by })
}

/// Checks the signature of the newest certificate that is known; which one replaces it.
fn verify(keys: &Keys, headers: &HeaderMap, message: &[u8]) -> Result<Option<String>, Unverified> {
    let known = |number: &str| keys.certificates.iter().find(|certificate| certificate.number == number);
    let serial = field(headers, SERIAL)?;
    if let Some(certificate) = known(serial) {
        return fits(certificate, field(headers, SIGNATURE)?, message).map(|()| None);
    }
    // While certificates change, an answer is signed with the old one, too.
    if !headers.contains_key(SERIAL_DEPRECATED) {
        return Err(Unverified::UnknownCertificate(shown(serial).into_owned()));
    }
    let deprecated = field(headers, SERIAL_DEPRECATED)?;
    let Some(certificate) = known(deprecated) else {
        return Err(Unverified::UnknownCertificate(format!("{} (or {})", shown(serial), shown(deprecated))));
    };
    let signature = field(headers, SIGNATURE_DEPRECATED)?;
    fits(certificate, signature, message).map(|()| Some(shown(serial).into_owned()))
}

fn fits(certificate: &PlatformCertificate, signature: &str, message: &[u8]) -> Result<(), Unverified> {
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &certificate.key);
    let signature = BASE64.decode(signature).ok();
    let fits = signature.is_some_and(|signature| key.verify(message, &signature).is_ok());
    if fits { Ok(()) } else { Err(Unverified::Signature(certificate.number.clone())) }
}

fn decrypt(keys: &Keys, subject: Subject<'_>, seconds: &str, body: &[u8]) -> Result<Vec<u8>, Unverified> {
    let object = Object::find(body).filter(|object| object.is_whole()).ok_or(Unverified::NoCiphertext)?;
    let bytes = |name| {
        let text = object.get(name).and_then(json::text)?;
        BASE64.decode(text.as_bytes()).ok()
    };
    let parts = bytes("iv").zip(bytes("data")).zip(bytes("authtag"));
    let ((iv, mut data), tag) = parts.ok_or(Unverified::NoCiphertext)?;
    let nonce = Nonce::try_assume_unique_for_key(&iv).map_err(|_| Unverified::NoCiphertext)?;
    let cipher = cipher(&keys.key).map_err(|_| Unverified::Decryption)?;
    data.extend_from_slice(&tag);
    let aad = aad(subject, seconds, &keys.key_number);
    let length = cipher.open_in_place(nonce, aad, &mut data).map_err(|_| Unverified::Decryption)?.len();
    data.truncate(length);
    Ok(data)
}

/// The value of a field that is there once.
fn field<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Unverified> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none());
    let text = line.and_then(|line| line.to_str().ok()).filter(|text| !text.is_empty());
    text.ok_or(Unverified::Field(name))
}

/// A number as a message may repeat it.
fn shown(number: &str) -> Cow<'_, str> {
    if is_number(number) { number.into() } else { "with a number that is none".into() }
}
