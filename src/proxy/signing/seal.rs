//! Makes the encrypted, signed form of a call: what WeChat's guide calls encrypting and signing a request (服务端 API
//! 签名加密指南, section 3).
//!
//! Pure but for the salt of the signature: time, nonce and iv come from outside.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::keys::{Keys, SymmetricKey};
use crate::json::{self, Object};

/// Members that WeChat wants in what is encrypted, and puts there itself.
pub(super) const SECURITY_FIELDS: [&str; 3] = ["_n", "_appid", "_timestamp"];

/// So many parameters of the query are put into what is encrypted: the body is searched for the name of each.
pub(super) const MOST_PARAMETERS: usize = 32;

/// Whose call of which path.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Scheme, host and path, without query.
    pub url: &'a str,
    /// Of the account.
    pub appid: &'a str,
}

/// What is new with each sending.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Seconds since 1970.
    pub seconds: u64,
    /// A random text of base64.
    pub nonce: &'a str,
    /// Random; never used twice.
    pub iv: [u8; NONCE_LEN],
}

/// One sending.
#[derive(Debug)]
pub struct Sealed {
    /// The body: `{"iv":…,"data":…,"authtag":…}`.
    pub body: Vec<u8>,
    /// For `Wechatmp-Signature`.
    pub signature: String,
}

/// What is encrypted of a call, but for the fields that are new with each sending: the body's members, and those of the
/// query that the body has not; the token stays outside. `None` for a body that is no JSON object.
///
/// # Errors
/// In words, when a parameter of the query is no UTF-8, or there are more than [`MOST_PARAMETERS`].
pub fn plaintext(query: &str, body: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let Some(object) = Object::find(body).filter(|object| object.is_whole()) else { return Ok(None) };
    let mut members: Vec<(String, String)> = Vec::new();
    for (count, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
        if count == MOST_PARAMETERS {
            return Err("the query has more than 32 parameters to encrypt; put them into the body");
        }
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(
                "a parameter of the query is no UTF-8, and what is encrypted for WeChat must be; encode it so",
            );
        }
        let is_own = name == "access_token" || SECURITY_FIELDS.contains(&&*name) || name.is_empty();
        if is_own || object.get(&name).is_some() {
            continue;
        }
        let quoted = serde_json::Value::from(&*name).to_string();
        let name = quoted[1..quoted.len() - 1].to_owned();
        let value = serde_json::Value::from(&*value).to_string();
        // As in most readers of queries, the last of several counts.
        members.retain(|(known, _)| *known != name);
        members.push((name, value));
    }
    let members: Vec<(&str, &str)> = members.iter().map(|(name, value)| (&**name, &**value)).collect();
    Ok(json::with_members(body, &members))
}

/// Encrypts and signs what [`plaintext`] made.
///
/// # Errors
/// When the library has no randomness or no memory.
pub fn seal(
    keys: &Keys,
    subject: Subject<'_>,
    plain: &[u8],
    stamp: Stamp<'_>,
) -> Result<Sealed, Unspecified> {
    let (Subject { url, appid }, seconds) = (subject, stamp.seconds.to_string());
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let fields = [quoted(stamp.nonce), quoted(appid), seconds.clone()];
    let fields: Vec<(&str, &str)> =
        SECURITY_FIELDS.into_iter().zip(fields.iter().map(String::as_str)).collect();
    let mut data = json::with_members(plain, &fields).ok_or(Unspecified)?;
    let aad = aad(subject, &seconds, &keys.key_number);
    let nonce = Nonce::assume_unique_for_key(stamp.iv);
    let tag = cipher(&keys.key)?.seal_in_place_separate_tag(nonce, aad, &mut data)?;
    let body = format!(
        r#"{{"iv":"{}","data":"{}","authtag":"{}"}}"#,
        BASE64.encode(stamp.iv),
        BASE64.encode(&data),
        BASE64.encode(tag)
    );
    let mut signature = vec![0; keys.private_key.pair().public_modulus_len()];
    let message = signed_text(url, appid, &seconds, body.as_bytes());
    keys.private_key.pair().sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut signature)?;
    Ok(Sealed { body: body.into_bytes(), signature: BASE64.encode(signature) })
}

pub(super) fn cipher(key: &SymmetricKey) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.bytes())?))
}

/// What is authenticated beside the ciphertext.
pub(super) fn aad(Subject { url, appid }: Subject<'_>, seconds: &str, key_number: &str) -> Aad<String> {
    Aad::from(format!("{url}|{appid}|{seconds}|{key_number}"))
}

/// What is signed, of a call and of an answer.
pub(super) fn signed_text(url: &str, appid: &str, seconds: &str, body: &[u8]) -> Vec<u8> {
    [url.as_bytes(), appid.as_bytes(), seconds.as_bytes(), body].join(&b'\n')
}
