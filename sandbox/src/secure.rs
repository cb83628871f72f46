//! The API security mode (`--api-security`): which calls must be encrypted and signed, whether they are, and answers in
//! the same form.
//!
//! After WeChat's guide (服务端 API 签名加密指南). What the guide leaves open is strict here: a text `_n` works once, and a
//! call may be five minutes old.

use std::collections::HashSet;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use crate::answer::Answer;
use crate::call::{Body, Call, text};
use crate::errors::{Refusal, refuse};
use crate::world::World;

/// What signed URLs begin with, whatever host was called.
const API: &str = "https://api.weixin.qq.com";
/// How old a call may be, in seconds.
const OLDEST: u64 = 300;
/// Texts `_n` that are remembered.
const MOST_NONCES: usize = 100_000;

/// The interfaces of the sandbox that WeChat encrypts.
const INTERFACES: &[&str] = &[
    "/cgi-bin/message/custom/send",
    "/cgi-bin/clear_quota",
    "/cgi-bin/openapi/quota/get",
    "/wxa/getuserriskrank",
];

const APP_PUBLIC: &str = include_str!("../certs/signing/app.pub");
const PLATFORM_KEY: &str = include_str!("../certs/signing/platform.key");

/// What an app of the sandbox signs and encrypts with, and checks with. Everybody has these keys: app's and symmetric key
/// are the examples of WeChat's guide.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ApiKeys {
    /// Number of the symmetric key.
    pub key_number: &'static str,
    /// The symmetric key, base64.
    pub key: &'static str,
    /// Number of the private key.
    pub private_key_number: &'static str,
    /// The app's private key, PEM.
    pub private_key: &'static str,
    /// Number of the platform certificate.
    pub certificate_number: &'static str,
    /// The platform certificate, PEM.
    pub certificate: &'static str,
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self {
            key_number: "fa05fe1e5bcc79b81ad5ad4b58acf787",
            key: "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=",
            private_key_number: "97845f6ed842ea860df6fdf65941ff56",
            private_key: include_str!("../certs/signing/app.key"),
            certificate_number: "5a6db0c0de5a6db0c0de5a6db0c0de01",
            certificate: include_str!("../certs/signing/platform.pem"),
        }
    }
}

/// What is odd about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedAnswers {
    /// Its signature is missing.
    Unsigned,
    /// Its body was changed behind the signature.
    Tampered,
    /// It is signed with somebody else's key.
    ForeignKey,
    /// Its certificate is not the app's.
    ForeignNumber,
    /// It was signed an hour ago.
    Stale,
    /// A new certificate signs it, and the app's own for the last time.
    Changing,
    /// It is good, and says this error.
    Errcode(i64),
}

/// Keys, orders, and what was seen.
pub(crate) struct Secure {
    cipher: LessSafeKey,
    app: Vec<u8>,
    platform: KeyPair,
    /// A key that is not WeChat's; the app's own does as well as any.
    foreign: KeyPair,
    nonces: HashSet<String>,
    ordered: Option<(SealedAnswers, u32)>,
}

impl Secure {
    /// With the keys of [`ApiKeys`].
    ///
    /// # Errors
    /// In words, when the library does not take them.
    pub(crate) fn new() -> Result<Self, String> {
        let wrong = |what: &str| format!("the built-in {what} of --api-security cannot be used");
        let key = STANDARD.decode(ApiKeys::default().key).map_err(|_| wrong("symmetric key"))?;
        let cipher = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| wrong("symmetric key"))?;
        let app = SubjectPublicKeyInfoDer::from_pem_slice(APP_PUBLIC.as_bytes());
        let platform = PrivatePkcs8KeyDer::from_pem_slice(PLATFORM_KEY.as_bytes());
        let platform = platform.map_err(|_| wrong("platform key"))?;
        let foreign = PrivatePkcs1KeyDer::from_pem_slice(ApiKeys::default().private_key.as_bytes());
        let foreign = foreign.map_err(|_| wrong("private key"))?;
        Ok(Self {
            cipher: LessSafeKey::new(cipher),
            app: app.map_err(|_| wrong("public key"))?.to_vec(),
            platform: KeyPair::from_pkcs8(platform.secret_pkcs8_der()).map_err(|_| wrong("platform key"))?,
            foreign: KeyPair::from_der(foreign.secret_pkcs1_der()).map_err(|_| wrong("private key"))?,
            nonces: HashSet::new(),
            ordered: None,
        })
    }

    pub(crate) fn order(&mut self, how: SealedAnswers, count: u32) {
        self.ordered = Some((how, count)).filter(|_| count > 0);
    }

    fn strike(&mut self) -> Option<SealedAnswers> {
        let (how, count) = self.ordered.take()?;
        self.ordered = Some((how, count - 1)).filter(|_| count > 1);
        Some(how)
    }
}

/// The plain call behind an encrypted one; `None` for a call that need not be one.
pub(crate) fn open(world: &mut World, account: usize, call: &Call) -> Result<Option<Call>, Refusal> {
    let now = world.now.as_secs();
    let appid = world.accounts[account].appid.clone();
    let is_known = |appid: &str| world.accounts.iter().any(|account| account.appid == appid);
    let Some(secure) = &mut world.secure else { return Ok(None) };
    if !INTERFACES.contains(&call.path()) || call.parts.method != Method::POST {
        return Ok(None);
    }
    let field = |name: &str, missing| {
        let value = call.parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| !value.is_empty()).ok_or_else(|| refuse(missing))
    };
    let signature = field("Wechatmp-Signature", 40232)?;
    let seconds = field("Wechatmp-TimeStamp", 40231)?;
    match field("Wechatmp-Appid", 40233)? {
        named if named == appid => {}
        named if is_known(named) => return Err(refuse(40237)),
        _ => return Err(refuse(40236)),
    }
    let signed_at: u64 = seconds.parse().map_err(|_| refuse(40240))?;
    if now.abs_diff(signed_at) > OLDEST {
        return Err(refuse(40240));
    }
    let Body::Whole(body) = &call.body else { return Err(refuse(45002)) };
    let message = message(call.path(), &appid, seconds, body);
    let signature = STANDARD.decode(signature).map_err(|_| refuse(40234))?;
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &secure.app);
    key.verify(&message, &signature).map_err(|_| refuse(40234))?;
    let plain = decrypt(secure, call.path(), &appid, seconds, body).ok_or_else(|| refuse(40235))?;
    let mut plain: Value = serde_json::from_slice(&plain).map_err(|_| refuse(40235))?;
    let same = text(&plain, "_appid") == Some(&appid) && plain["_timestamp"] == json!(signed_at);
    let nonce = text(&plain, "_n").map(str::to_owned).filter(|_| same).ok_or_else(|| refuse(40235))?;
    if secure.nonces.len() >= MOST_NONCES {
        secure.nonces.clear();
    }
    if !secure.nonces.insert(nonce) || plain.get("access_token").is_some() {
        return Err(refuse(40235));
    }
    if let Some(members) = plain.as_object_mut() {
        members.retain(|name, _| !matches!(name.as_str(), "_n" | "_appid" | "_timestamp"));
    }
    Ok(Some(call.with_body(plain.to_string().into_bytes())))
}

/// An answer in the form of an encrypted one.
pub(crate) fn seal(
    world: &mut World,
    account: usize,
    path: &str,
    answer: &Answer,
) -> Result<Answer, Refusal> {
    let broken = || refuse(-1);
    let now = world.now;
    let appid = world.accounts[account].appid.clone();
    let secure = world.secure.as_mut().ok_or_else(broken)?;
    let how = secure.strike();
    let seconds = if how == Some(SealedAnswers::Stale) { now.as_secs() - 3600 } else { now.as_secs() };
    let mut nonce = [0; 16];
    let mut iv = [0; 12];
    rand::fill(&mut nonce).and_then(|()| rand::fill(&mut iv)).map_err(|_| broken())?;
    let (body, mime) = answer.content();
    let refusal = match how {
        Some(SealedAnswers::Errcode(errcode)) => Some(refuse(errcode).body(now)),
        _ => None,
    };
    let body = refusal.as_ref().map_or(body, String::as_bytes);
    let mut plain: Value = serde_json::from_slice(body).map_err(|_| broken())?;
    plain["_n"] = STANDARD.encode(nonce).into();
    plain["_appid"] = appid.as_str().into();
    plain["_timestamp"] = seconds.into();
    let seconds = seconds.to_string();
    let mut data = plain.to_string().into_bytes();
    let aad = Aad::from(aad(path, &appid, &seconds));
    let tag = secure
        .cipher
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), aad, &mut data)
        .map_err(|_| broken())?;
    let sealed = json!({
        "iv": STANDARD.encode(iv), "data": STANDARD.encode(&data), "authtag": STANDARD.encode(tag),
    });
    let mut sealed = sealed.to_string();
    let message = message(path, &appid, &seconds, sealed.as_bytes());
    let sign = |key: &KeyPair| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut signature).map_err(|_| broken())?;
        Ok::<_, Refusal>(STANDARD.encode(signature))
    };
    let own = ApiKeys::default().certificate_number.to_owned();
    let other = "0123456789abcdef0123456789abcdef".to_owned();
    let mut fields = vec![("wechatmp-appid", appid), ("wechatmp-timestamp", seconds)];
    match how {
        Some(SealedAnswers::Unsigned) => fields.clear(),
        Some(SealedAnswers::Tampered) => sealed = sealed.replacen("\"data\":\"", "\"data\":\"AAAA", 1),
        _ => {}
    }
    let signatures = match how {
        Some(SealedAnswers::Unsigned) => Vec::new(),
        Some(SealedAnswers::ForeignKey) => {
            vec![("wechatmp-serial", own), ("wechatmp-signature", sign(&secure.foreign)?)]
        }
        Some(SealedAnswers::ForeignNumber) => {
            vec![("wechatmp-serial", other), ("wechatmp-signature", sign(&secure.foreign)?)]
        }
        Some(SealedAnswers::Changing) => vec![
            ("wechatmp-serial", other),
            ("wechatmp-signature", sign(&secure.foreign)?),
            ("wechatmp-serial-deprecated", own),
            ("wechatmp-signature-deprecated", sign(&secure.platform)?),
        ],
        _ => vec![("wechatmp-serial", own), ("wechatmp-signature", sign(&secure.platform)?)],
    };
    let answer = Answer::of(answer.status(), mime, sealed);
    Ok(fields
        .into_iter()
        .chain(signatures)
        .fold(answer, |answer, (name, value)| answer.with_header(name, value)))
}

fn decrypt(secure: &Secure, path: &str, appid: &str, seconds: &str, body: &[u8]) -> Option<Vec<u8>> {
    let envelope: Value = serde_json::from_slice(body).ok()?;
    let part = |name| STANDARD.decode(text(&envelope, name)?).ok();
    let nonce = Nonce::try_assume_unique_for_key(&part("iv")?).ok()?;
    let mut data = part("data")?;
    data.extend(part("authtag")?);
    let aad = Aad::from(aad(path, appid, seconds));
    Some(secure.cipher.open_in_place(nonce, aad, &mut data).ok()?.to_vec())
}

fn aad(path: &str, appid: &str, seconds: &str) -> String {
    [&format!("{API}{path}"), appid, seconds, ApiKeys::default().key_number].join("|")
}

fn message(path: &str, appid: &str, seconds: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{API}{path}\n{appid}\n{seconds}\n").into_bytes();
    message.extend_from_slice(body);
    message
}
