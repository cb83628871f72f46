//! Calls of the API security mode: what is encrypted of a call, that it opens again to the same bytes, and that no other
//! bytes open.
//!
//! The oracles are `serde_json` and `form_urlencoded` for what is encrypted, and an encryption and a signature of this
//! target's own, by WeChat's guide, for what WeChat could answer: signatures cannot be guessed, so without these nothing
//! behind their check would be reached. The first byte chooses; see `fuzz_target!` at the end.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value};
use wxgate::json::Object;
use wxgate::proxy::signing::keys::{Keys, PlatformCertificate, PrivateKey, SymmetricKey};
use wxgate::proxy::signing::open::{Opened, Unverified, open};
use wxgate::proxy::signing::seal::{Stamp, Subject, plaintext, seal};

const PRIVATE_KEY: &[u8] = include_bytes!("../../certs/signing/platform.key");
const CERTIFICATE: &[u8] = include_bytes!("../../certs/signing/platform.pem");
const KEY: [u8; 32] = [7; 32];
const APPID: &str = "wx1";
const URL: &str = "https://api.weixin.qq.com/wxa/x";
const SUBJECT: Subject<'_> = Subject { url: URL, appid: APPID };
const SECONDS: u64 = 1_635_927_956;
const SECURITY_FIELDS: [&str; 3] = ["_n", "_appid", "_timestamp"];
const IV: [u8; 12] = [3; 12];

/// Both ends have the same private key here, so that what is sealed can be opened.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let der = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let private_key = PrivateKeyDer::from_pem_slice(PRIVATE_KEY).expect("a key");
    Keys {
        key_number: "k".to_owned(),
        key: SymmetricKey::from_base64(&BASE64.encode(KEY)).expect("a key"),
        private_key_number: None,
        private_key: PrivateKey::from_der(&private_key).expect("a key"),
        certificates: vec![PlatformCertificate::from_der("c".to_owned(), &der).expect("an RSA key")],
        url: "https://api.weixin.qq.com".to_owned(),
        paths: Vec::new(),
    }
});

static PAIR: LazyLock<RsaKeyPair> = LazyLock::new(|| {
    let key = PrivateKeyDer::from_pem_slice(PRIVATE_KEY).expect("a key");
    RsaKeyPair::from_pkcs8(key.secret_der()).expect("PKCS#8")
});

/// What of a strict object would be encrypted, by the crates.
fn slowly(query: &str, mut body: Map<String, Value>) -> Map<String, Value> {
    let mut added = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let own = name.is_empty() || name == "access_token" || SECURITY_FIELDS.contains(&&*name);
        if !own && !body.contains_key(&*name) {
            added.insert(name.into_owned(), Value::from(&*value));
        }
    }
    body.append(&mut added);
    body
}

fn without_security_fields(mut object: Map<String, Value>) -> Map<String, Value> {
    object.retain(|name, _| !SECURITY_FIELDS.contains(&name.as_str()));
    object
}

fn strict(text: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(text).ok()
}

/// What a call would have encrypted: all of it, and nothing twice.
fn plain(query: &str, body: &[u8]) -> Option<Vec<u8>> {
    let plain = plaintext(query, body).ok()?;
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let Some(before) = strict(body) else { return plain };
    let plain = plain.expect("an object can be encrypted");
    assert_eq!(strict(&plain), Some(slowly(query, before)), "{query} {}", body.escape_ascii());
    Some(plain)
}

/// An answer that WeChat could have signed.
fn signed(body: &[u8]) -> HeaderMap {
    let message = [URL.as_bytes(), APPID.as_bytes(), SECONDS.to_string().as_bytes(), body].join(&b'\n');
    let mut signature = vec![0; PAIR.public_modulus_len()];
    PAIR.sign(&RSA_PSS_SHA256, &SystemRandom::new(), &message, &mut signature).expect("it is signed");
    fields(&BASE64.encode(signature))
}

fn fields(signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("wechatmp-appid", APPID),
        ("wechatmp-timestamp", &SECONDS.to_string()),
        ("wechatmp-serial", "c"),
        ("wechatmp-signature", signature),
    ] {
        headers.insert(name, HeaderValue::from_str(value).expect("visible ASCII"));
    }
    headers
}

fn opened(headers: &HeaderMap, body: &[u8]) -> Result<Opened, Unverified> {
    open(&KEYS, SUBJECT, headers, body, SECONDS)
}

/// Seals it and opens it again; then with one byte of it changed.
fn there_and_back(plain: &[u8], at: usize) {
    let stamp = Stamp { seconds: SECONDS, nonce: "n", iv: IV };
    let sealed = seal(&KEYS, SUBJECT, plain, stamp).expect("an object is sealed");
    let headers = fields(&sealed.signature);
    let text = opened(&headers, &sealed.body).expect("it opens again").text;
    let object = Object::find(plain).expect("an object");
    assert_eq!(text, object.without(&SECURITY_FIELDS), "{}", plain.escape_ascii());
    if let Some(before) = strict(plain) {
        assert_eq!(strict(&text), Some(without_security_fields(before)), "{}", plain.escape_ascii());
    }
    let mut changed = sealed.body;
    let at = at % changed.len();
    changed[at] ^= 1;
    assert!(matches!(opened(&headers, &changed), Err(Unverified::Signature(_))));
}

/// Whatever was encrypted, it opens only when it names the account and the time.
fn encrypted_by_wechat(plain: &[u8]) {
    let mut data = plain.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("32 bytes"));
    let aad = Aad::from(format!("{URL}|{APPID}|{SECONDS}|k"));
    let nonce = Nonce::assume_unique_for_key(IV);
    let tag = key.seal_in_place_separate_tag(nonce, aad, &mut data).expect("it is encrypted");
    let [iv, data, tag] = [&IV[..], &data, tag.as_ref()].map(|bytes| BASE64.encode(bytes));
    let body = format!(r#"{{"iv":"{iv}","data":"{data}","authtag":"{tag}"}}"#);
    let opened = opened(&signed(body.as_bytes()), body.as_bytes());
    let Some(object) = strict(plain) else { return };
    let shown = plain.escape_ascii();
    if object.get("_appid").and_then(Value::as_str) != Some(APPID) {
        assert_eq!(opened, Err(Unverified::Contradiction("_appid")), "{shown}");
        return;
    }
    match object.get("_timestamp") {
        // A text of digits and a number with a fraction of zero are taken, too.
        Some(Value::String(_)) => {}
        Some(Value::Number(number)) if number.as_u64().is_none() => {}
        other if other.and_then(Value::as_u64) == Some(SECONDS) => {
            let text = opened.expect("nothing contradicts").text;
            assert_eq!(strict(&text), Some(without_security_fields(object)), "{shown}");
        }
        _ => assert_eq!(opened, Err(Unverified::Contradiction("_timestamp")), "{shown}"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, input)) = input.split_first() else { return };
    match choice {
        // A call: its query, a line feed, its body.
        b'?' => {
            let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
            let (query, body) = input.split_at(split);
            let Ok(query) = std::str::from_utf8(query) else { return };
            if let Some(plain) = plain(query, body.get(1..).unwrap_or_default()) {
                there_and_back(&plain, input.len().wrapping_mul(31));
            }
        }
        // What WeChat encrypted.
        b'=' => encrypted_by_wechat(input),
        // A body that WeChat signed, whatever it is. Only who has the key can make one that opens.
        b'+' => {
            assert!(opened(&signed(input), input).is_err(), "{}", input.escape_ascii());
        }
        // The fields of an answer, one a line, behind the names' common beginning; and nobody has signed it.
        _ => {
            let mut headers = HeaderMap::new();
            let mut lines = input.split(|byte| *byte == b'\n');
            let names =
                ["appid", "timestamp", "serial", "signature", "serial-deprecated", "signature-deprecated"];
            for (name, line) in names.into_iter().zip(&mut lines) {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(
                        format!("wechatmp-{name}").parse::<http::HeaderName>().expect("a name"),
                        value,
                    );
                }
            }
            assert!(opened(&headers, lines.next().unwrap_or_default()).is_err());
        }
    }
});
