//! Encryption and signatures against the examples of WeChat's guide, and every way in which an answer can be wrong.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use proptest::prelude::*;

use super::keys::{BASE64, KeyError, Keys, PlatformCertificate, PrivateKey, SymmetricKey};
use super::open::{Opened, Unverified, is_ciphertext, is_signed, open};
use super::seal::{Sealed, Stamp, Subject, plaintext, seal};

/// Those of the guide: they open nothing.
const APP_KEY: &str = include_str!("../../../certs/signing/app.key");
const GUIDE_PLATFORM: &str = include_str!("../../../certs/signing/guide-platform.pem");
const KEY: &str = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=";
const KEY_NUMBER: &str = "fa05fe1e5bcc79b81ad5ad4b58acf787";
const PLATFORM_NUMBER: &str = "79ba700ea147819f640941bceb38b1d1";
const SUBJECT: Subject<'_> =
    Subject { url: "https://api.weixin.qq.com/wxa/getuserriskrank", appid: "wxba6223c06417af7b" };

const PLAIN: &str = r#"{"_n":"o89QaPVsRu1yppIZzvSZc4","_appid":"wxba6223c06417af7b","_timestamp":1635927954,"appid":"wxba6223c06417af7b","openid":"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM","scene":0,"client_ip":"127.0.0.1"}"#;
const SEALED: &str = r#"{"iv":"fmW/zNxXlytUZBgj","data":"0IDVdrPtSPF/Oe2CTXCV2vVNPbVJdJlP2WaTMQnoYLh5iCrrSNfQFh25EnStDMf0hLlVNBCZQtf9NaV0m4aRA4AAYIO7oR/Ge+4yY4EmZp5EVPB42xjScgMx5X3D4VdLCfynXIUKUtZHZvk1zmLVE3RauzJgiM1BB1CPmwcENo3MTJ0z8Vfkf5tMv54kOXobDLlV5rfqKdAX7gM/rP82DgZdt9vvZX44ipdbHIjJvw83ZXAFtvftdVw2Qd8=","authtag":"5qeM/2vZv+6KtScN94IpMg=="}"#;
const ANSWER: &str = r#"{"iv":"r2WDQt56rEAmMuoR","data":"HExs66Ik3el+iM4IpeQ7SMEN934FRLFYOd3EmeaIrpP4EPTHckoco6O+PaoRZRa3lqaPRZT7r52f7LUok6gLxc6cdR8C4vpIIfh4xfLC4L7FNy9GbuMK1hcoi8b7gkWJcwZMkuCFNEDmqn3T49oWzAQOrY4LZnnnykv6oUJotdAsnKvmoJkLK7hRh7M2B1d2UnTnRuoIyarXc5Iojwoghx4BOvnV","authtag":"z2BFD8QctKXTuBlhICGOjQ=="}"#;
const SIGNATURE: &str = "Ht0VfQkkEweJ4hU266C14Aj64H9AXfkwNi5zxUZETCvR2svU1ZYdosDhFX/voLj1TyszqKsVxAlENGt7PPZZ8RQX7jnA4SKhiPUhW4LTbyTenisHJ+ohSfDjYnXavjQsBHspFS+BlPHuSSJ2xyQzw1+HuC6nid09ZL4FnGSYo4OI5MJrSb9xLzIVZMIDuUQchGKi/KaB1KzxECLEZcfjqbAgmxC7qOmuBLyO1WkHYDM95NJrHJWba5xv4wrwPru9yYTJSNRnlM+zrW5w9pOubC4Jtj3szTAEuOz9AcqUmgaAvMLNAIa8hfODLRe3n/cu4SgYlN/ZkNRU4QXVNbPGMg==";
const ANSWERED: &str = r#"{"errcode":0,"errmsg":"getuserriskrank succ","risk_rank":0,"unoin_id":2258658297}"#;
const ANSWERED_AT: u64 = 1_635_927_956;

fn certificate(number: &str, pem: &str) -> PlatformCertificate {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    PlatformCertificate::from_der(number.to_owned(), &der).unwrap()
}

fn private_key(pem: &str) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_der(&PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap())
}

fn keys() -> Keys {
    Keys {
        key_number: KEY_NUMBER.to_owned(),
        key: SymmetricKey::from_base64(KEY).unwrap(),
        private_key_number: None,
        private_key: private_key(APP_KEY).unwrap(),
        certificates: vec![certificate(PLATFORM_NUMBER, GUIDE_PLATFORM)],
        url: "https://api.weixin.qq.com".to_owned(),
        paths: Vec::new(),
    }
}

#[test]
fn the_guides_call_is_encrypted_as_in_the_guide() {
    let keys = keys();
    let iv = BASE64.decode("fmW/zNxXlytUZBgj").unwrap().try_into().unwrap();
    let stamp = Stamp { seconds: 1_635_927_954, nonce: "o89QaPVsRu1yppIZzvSZc4", iv };
    let body = br#"{"appid":"wxba6223c06417af7b","openid":"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM","scene":0,"client_ip":"127.0.0.1"}"#;
    let plain = plaintext("", body).unwrap().unwrap();
    // What a caller has under the names of the security fields is replaced, too.
    for plain in [plain.as_slice(), PLAIN.as_bytes()] {
        let Sealed { body, signature } = seal(&keys, SUBJECT, plain, stamp).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), SEALED);
        let signed = format!("{}\n{}\n1635927954\n{SEALED}", SUBJECT.url, SUBJECT.appid);
        let public =
            UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, keys.private_key.pair().public_key().as_ref());
        public.verify(signed.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
    }
}

#[test]
fn what_is_encrypted_is_the_query_and_the_body_without_the_token() {
    for (query, body, right) in [
        ("", "", Some("{}")),
        ("", " {} ", Some(" {} ")),
        ("access_token=T&a=1", "", Some(r#"{"a":"1"}"#)),
        ("a=1&a=2&b=x%2By+z&access%5Ftoken=T", r#"{"c":[1]}"#, Some(r#"{"a":"2","b":"x+y z","c":[1]}"#)),
        ("a=1", r#"{"a":2}"#, Some(r#"{"a":2}"#)),
        (
            "%22%5C=%E5%90%8D&&=x",
            r#"{"n":12345678901234567890}"#,
            Some(r#"{"\"\\":"名","n":12345678901234567890}"#),
        ),
        ("_n=x&_appid=y", "{}", Some("{}")),
        ("", "a=1", None),
        ("", "[1]", None),
        ("", r#"{"cut":"#, None),
    ] {
        let plain = plaintext(query, body.as_bytes()).unwrap();
        assert_eq!(plain.map(|p| String::from_utf8(p).unwrap()).as_deref(), right, "{query} {body}");
    }
    assert!(plaintext("a=%ff", b"{}").is_err());
    // The body is searched for each of them.
    let many = |count: usize| (0..count).map(|at| format!("&a{at}=b")).collect::<String>();
    assert!(plaintext(&many(32)[1..], b"{}").unwrap().is_some());
    assert!(plaintext(&many(33)[1..], b"{}").unwrap_err().contains("32 parameters"));
}

/// The fields of the guide's answer, some of them changed; without a value a field is missing.
fn fields(changed: &[(&'static str, Option<&str>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("wechatmp-appid", SUBJECT.appid),
        ("wechatmp-timestamp", "1635927956"),
        ("wechatmp-serial", PLATFORM_NUMBER),
        ("wechatmp-signature", SIGNATURE),
    ] {
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    for (name, value) in changed {
        headers.remove(*name);
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
    }
    headers
}

#[test]
fn the_guides_answer_is_opened_as_in_the_guide() {
    let right = Opened { text: ANSWERED.as_bytes().to_vec(), replaced_by: None };
    for late in [0, 300] {
        assert_eq!(
            open(&keys(), SUBJECT, &fields(&[]), ANSWER.as_bytes(), ANSWERED_AT + late).as_ref(),
            Ok(&right)
        );
    }
    // This machine's clock is slow.
    assert_eq!(open(&keys(), SUBJECT, &fields(&[]), ANSWER.as_bytes(), 1).as_ref(), Ok(&right));
    // While certificates change, the old one is good, too.
    let changing = fields(&[
        ("wechatmp-serial", Some("new-1")),
        ("wechatmp-serial-deprecated", Some(PLATFORM_NUMBER)),
        ("wechatmp-signature-deprecated", Some(SIGNATURE)),
    ]);
    let opened = open(&keys(), SUBJECT, &changing, ANSWER.as_bytes(), ANSWERED_AT).unwrap();
    assert_eq!(opened, Opened { replaced_by: Some("new-1".to_owned()), ..right });
}

#[test]
fn an_answer_that_is_wrong_in_any_way_is_not_opened() {
    use Unverified::{Field, OtherAppid, Signature, UnknownCertificate};
    let unknown = |text: &str| UnknownCertificate(text.to_owned());
    let unfit = || Signature(PLATFORM_NUMBER.to_owned());
    for (changed, why) in [
        (&[("wechatmp-appid", None)][..], Field("Wechatmp-Appid")),
        (&[("wechatmp-appid", Some("wx1"))], OtherAppid),
        (&[("wechatmp-timestamp", None)], Field("Wechatmp-TimeStamp")),
        (&[("wechatmp-timestamp", Some("+1635927956"))], Field("Wechatmp-TimeStamp")),
        (&[("wechatmp-timestamp", Some("soon"))], Field("Wechatmp-TimeStamp")),
        (&[("wechatmp-timestamp", Some("1635927957"))], unfit()),
        (&[("wechatmp-serial", None)], Field("Wechatmp-Serial")),
        (&[("wechatmp-serial", Some("other"))], unknown("other")),
        (&[("wechatmp-serial", Some("a_b"))], unknown("a_b")),
        (&[("wechatmp-serial", Some("a b"))], unknown("with a number that is none")),
        (
            &[("wechatmp-serial", Some("new")), ("wechatmp-serial-deprecated", Some("old"))],
            unknown("new (or old)"),
        ),
        (
            &[("wechatmp-serial", Some("new")), ("wechatmp-serial-deprecated", Some(PLATFORM_NUMBER))],
            Field("Wechatmp-Signature-Deprecated"),
        ),
        (&[("wechatmp-signature", None)], Field("Wechatmp-Signature")),
        (&[("wechatmp-signature", Some("AAAA"))], unfit()),
        (&[("wechatmp-signature", Some("no base64!"))], unfit()),
    ] {
        let headers = fields(changed);
        assert_eq!(open(&keys(), SUBJECT, &headers, ANSWER.as_bytes(), ANSWERED_AT), Err(why), "{changed:?}");
    }
    let good = fields(&[]);
    let tampered = ANSWER.replace("HExs", "HExt");
    assert_eq!(open(&keys(), SUBJECT, &good, tampered.as_bytes(), ANSWERED_AT), Err(unfit()));
    let late = open(&keys(), SUBJECT, &good, ANSWER.as_bytes(), ANSWERED_AT + 301);
    assert_eq!(late, Err(Unverified::Old(301)));
    let elsewhere = Subject { url: "https://api.weixin.qq.com/wxa/other", ..SUBJECT };
    assert_eq!(open(&keys(), elsewhere, &good, ANSWER.as_bytes(), ANSWERED_AT), Err(unfit()));
    let other_key = SymmetricKey::from_base64(&BASE64.encode([7; 32])).unwrap();
    for keys in [Keys { key: other_key, ..keys() }, Keys { key_number: "1".to_owned(), ..keys() }] {
        let opened = open(&keys, SUBJECT, &good, ANSWER.as_bytes(), ANSWERED_AT);
        assert_eq!(opened, Err(Unverified::Decryption));
    }
}

#[test]
fn what_speaks_against_an_answer_has_wechats_number_for_it() {
    use Unverified::{Contradiction, Decryption, Field, NoCiphertext, NoRoom, NotSigned, Old, TooLong};
    let text = || "1".to_owned();
    let unsigned = [NotSigned, Field("x"), Unverified::OtherAppid, Old(301), TooLong(4), NoRoom];
    let untrusted = [Unverified::UnknownCertificate(text()), Unverified::Signature(text())];
    for why in unsigned.into_iter().chain(untrusted) {
        assert_eq!(why.errcode(), 40234, "{why}");
    }
    for why in [NoCiphertext, Decryption, Contradiction("_appid")] {
        assert_eq!(why.errcode(), 40235, "{why}");
    }
}

#[test]
fn an_answer_is_signed_by_a_field_and_encrypted_by_three_members() {
    assert!(is_signed(&fields(&[])) && !is_signed(&fields(&[("wechatmp-signature", None)])));
    for (text, right) in [
        (ANSWER, true),
        (r#"{"authtag":1,"data":2,"iv":3}"#, true),
        (r#"{"data":"","authtag":""}"#, false),
        (r#"{"iv":"","authtag":""}"#, false),
        (r#"{"iv":"","data":""}"#, false),
        ("{}", false),
        ("iv data authtag", false),
    ] {
        assert_eq!(is_ciphertext(text.as_bytes()), right, "{text}");
    }
}

/// An answer as WeChat would sign it, with a key that the test has.
fn signed(plain: &str, key: &str) -> (HeaderMap, Vec<u8>, Keys) {
    let mut keys = keys();
    keys.private_key = private_key(key).unwrap();
    let public = keys.private_key.pair().public_key().as_ref().to_vec();
    keys.certificates = vec![PlatformCertificate {
        number: "own".to_owned(),
        ends: SystemTime::UNIX_EPOCH + Duration::from_secs(9),
        key: public,
    }];
    let stamp = Stamp { seconds: ANSWERED_AT, nonce: "n", iv: [3; 12] };
    let Sealed { body, signature } = seal(&keys, SUBJECT, plain.as_bytes(), stamp).unwrap();
    let fields = fields(&[("wechatmp-serial", Some("own")), ("wechatmp-signature", Some(&signature))]);
    (fields, body, keys)
}

#[test]
fn whatever_stands_in_an_answer_is_kept_but_for_the_security_fields() {
    let (headers, body, keys) =
        signed(r#"{"errcode":40001,"名":"\u540d\/","big":12345678901234567890}"#, APP_KEY);
    let opened = open(&keys, SUBJECT, &headers, &body, ANSWERED_AT).unwrap();
    let right = r#"{"errcode":40001,"名":"\u540d\/","big":12345678901234567890}"#;
    assert_eq!(String::from_utf8(opened.text).unwrap(), right);
    assert_eq!(keys.last_end(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
}

#[test]
fn a_signed_answer_that_is_not_encrypted_is_not_passed_on() {
    let (headers, _, keys) = signed("{}", APP_KEY);
    let seconds = ANSWERED_AT.to_string();
    for body in ["", "{}", r#"{"errcode":0}"#, r#"{"iv":"AAAA","data":"AAAA","authtag":"AAAA"}"#, "hello"] {
        let message = super::seal::signed_text(SUBJECT.url, SUBJECT.appid, &seconds, body.as_bytes());
        let mut signature = vec![0; 256];
        let pair = keys.private_key.pair();
        let random = aws_lc_rs::rand::SystemRandom::new();
        pair.sign(&aws_lc_rs::signature::RSA_PSS_SHA256, &random, &message, &mut signature).unwrap();
        let mut headers = headers.clone();
        headers.insert("wechatmp-signature", BASE64.encode(signature).parse().unwrap());
        let opened = open(&keys, SUBJECT, &headers, body.as_bytes(), ANSWERED_AT);
        assert_eq!(opened, Err(Unverified::NoCiphertext), "{body}");
    }
}

#[test]
fn keys_of_other_algorithms_are_refused_in_words() {
    let of = |bytes: usize| SymmetricKey::from_base64(&BASE64.encode(vec![1; bytes])).err();
    assert_eq!(SymmetricKey::from_base64("not base64").err(), Some(KeyError::NotBase64));
    assert_eq!(
        (of(16), of(31), of(33)),
        (Some(KeyError::Sm4Length), Some(KeyError::Length(31)), Some(KeyError::Length(33)))
    );
    assert!(SymmetricKey::from_base64(KEY.trim_end_matches('=')).is_ok());
    let elliptic = rcgen::KeyPair::generate().unwrap();
    assert_eq!(private_key(&elliptic.serialize_pem()).err(), Some(KeyError::NotRsa));
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&elliptic).unwrap();
    for der in [certificate.der().to_vec(), Vec::new(), b"nonsense".to_vec()] {
        assert_eq!(PlatformCertificate::from_der("1".to_owned(), &der).err(), Some(KeyError::Certificate));
    }
    let short = "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(private_key(short).err(), Some(KeyError::BadRsa));
    let ends = humantime::format_rfc3339(keys().certificates[0].ends).to_string();
    assert_eq!(ends, "2027-09-04T08:39:22Z");
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", keys());
    assert!(shown.contains(KEY_NUMBER) && shown.contains(PLATFORM_NUMBER), "{shown}");
    assert!(!shown.contains("otUp") && !shown.contains("Rsa"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        body in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~]{0,40}", query in "[a-c=&%+0-9]{0,20}",
    ) {
        let headers = fields(&[("wechatmp-serial", Some(&text)), ("wechatmp-signature", Some(&text))]);
        prop_assert!(open(&keys(), SUBJECT, &headers, &body, ANSWERED_AT).is_err());
        let _ = plaintext(&query, &body);
    }

    #[test]
    fn what_was_sealed_is_opened(members in proptest::collection::btree_map("[a-z\"\\\\é]{0,3}", "[ -~é]{0,9}", 0..5)) {
        let plain = serde_json::to_string(&members).unwrap();
        let (headers, body, keys) = signed(&plain, APP_KEY);
        let opened = open(&keys, SUBJECT, &headers, &body, ANSWERED_AT).unwrap();
        prop_assert_eq!(String::from_utf8(opened.text).unwrap(), plain);
    }
}
