//! What an operator wants to know of a certificate: when it ends, and for which names it is; and the key in it.
//!
//! Reads DER of certificates that rustls has verified already, or that the operator has named as WeChat's, and decides
//! nothing by it. (The crates for X.509 bring a dozen others along; this needs three fields.)

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// The object id of subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The object id of rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Names that are kept.
const MOST_NAMES: usize = 100;

/// Of a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// After this it is not valid.
    pub ends: SystemTime,
    /// Host names and addresses that it is for.
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads it; `None` when it is not as X.509 has it.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut fields = fields_from_validity(der)?;
        let mut validity = Der(fields.take(SEQUENCE)?);
        validity.next()?;
        let (tag, text) = validity.next()?;
        Some(Self { ends: time(tag, text)?, names: names(fields).unwrap_or_default() })
    }

    /// The public key of a certificate in DER as PKCS#1 has it; `None` where it is no RSA key.
    pub fn rsa_key(der: &[u8]) -> Option<&[u8]> {
        let mut fields = fields_from_validity(der)?;
        // The validity and the subject.
        fields.take(SEQUENCE)?;
        fields.take(SEQUENCE)?;
        let mut key = Der(fields.take(SEQUENCE)?);
        let algorithm = Der(key.take(SEQUENCE)?).take(OBJECT_ID)?;
        let (unused, key) = key.take(BIT_STRING)?.split_first()?;
        (algorithm == RSA && *unused == 0).then_some(key)
    }
}

fn fields_from_validity(der: &[u8]) -> Option<Der<'_>> {
    let mut fields = Der(Der(Der(der).take(SEQUENCE)?).take(SEQUENCE)?);
    fields.skip(VERSION);
    fields.take(INTEGER)?;
    // The signature's algorithm and the issuer.
    fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    Some(fields)
}

/// Subject and key come first, then perhaps two ids, then the extensions.
fn names(mut fields: Der<'_>) -> Option<Vec<String>> {
    let extensions = std::iter::from_fn(|| fields.next()).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = extensions.next() {
        let mut extension = Der(extension);
        if extension.take(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let mut parts = std::iter::from_fn(|| extension.next());
        let (_, value) = parts.find(|(tag, _)| *tag == OCTET_STRING)?;
        let mut names = Der(Der(value).take(SEQUENCE)?);
        let names = std::iter::from_fn(|| names.next()).filter_map(|(tag, value)| name(tag, value));
        return Some(names.take(MOST_NAMES).collect());
    }
    None
}

fn name(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        DNS_NAME => {
            let text = std::str::from_utf8(value).ok()?;
            text.bytes().all(|b| b.is_ascii_graphic()).then(|| text.to_owned())
        }
        IP_ADDRESS => match value.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).to_string()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.len() == 12 => {
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let [year, month, day] = [&text[..4], &text[4..6], &text[6..8]];
    let [hour, minute, second] = [&text[8..10], &text[10..12], &text[12..]];
    humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

/// What is left to read of one value's content.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next value, which must have this tag.
    fn take(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next().and_then(|(tag, content)| (tag == wanted).then_some(content))
    }

    /// Passes the next value over if it has this tag.
    fn skip(&mut self, unwanted: u8) {
        if self.0.first() == Some(&unwanted) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[&str], year: i32) -> Vec<u8> {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 3, 14);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn its_end_and_its_names_are_read() {
        for (year, end) in [(2030, "2030-03-14T00:00:00Z"), (2061, "2061-03-14T00:00:00Z")] {
            let der = certificate(&["api.weixin.qq.com", "*.wechat.com", "127.0.0.1", "::1"], year);
            let read = Certificate::read(&der).unwrap();
            assert_eq!(humantime::format_rfc3339(read.ends).to_string(), end);
            assert_eq!(read.names, ["api.weixin.qq.com", "*.wechat.com", "127.0.0.1", "::1"]);
        }
        assert_eq!(Certificate::read(&certificate(&[], 2030)).unwrap().names, [""; 0]);
    }

    #[test]
    fn times_are_read_in_both_forms_and_no_other() {
        let read =
            |tag, text: &str| time(tag, text.as_bytes()).map(|at| humantime::format_rfc3339(at).to_string());
        for (tag, text, right) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "700102030405Z", Some("1970-01-02T03:04:05Z")),
            (GENERALIZED_TIME, "20500102030405Z", Some("2050-01-02T03:04:05Z")),
            // 1950.
            (UTC_TIME, "500102030405Z", None),
            (UTC_TIME, "491231235959", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "20500102030405Z", None),
            (UTC_TIME, "Z", None),
            (GENERALIZED_TIME, "491231235959Z", None),
            (GENERALIZED_TIME, "Z", None),
            (GENERALIZED_TIME, "20500102030405+0000", None),
            (GENERALIZED_TIME, "2050-102030405Z", None),
            (GENERALIZED_TIME, "20501302030405Z", None),
            (OCTET_STRING, "20500102030405Z", None),
        ] {
            assert_eq!(read(tag, text).as_deref(), right, "{tag} {text}");
        }
    }

    #[test]
    fn a_key_is_read_of_rsa_alone() {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let pem = include_bytes!("../../certs/signing/platform.pem");
        let mut der = CertificateDer::from_pem_slice(pem).unwrap().to_vec();
        let key = Certificate::rsa_key(&der).unwrap();
        let mut numbers = Der(Der(key).take(SEQUENCE).unwrap());
        let [modulus, exponent] = [INTEGER; 2].map(|tag| numbers.take(tag).unwrap());
        assert_eq!((modulus.len(), exponent), (257, &[1, 0, 1][..]));
        assert_eq!(Certificate::rsa_key(&certificate(&[], 2030)), None, "an elliptic curve's");
        let bits = memchr::memmem::find(&der, key).unwrap() - 1;
        for (at, byte) in [(bits, 1), (memchr::memmem::rfind(&der[..bits], RSA).unwrap() + 8, 2)] {
            let before = std::mem::replace(&mut der[at], byte);
            assert_eq!(Certificate::rsa_key(&der), None, "bits are left over, or it is for something else");
            der[at] = before;
        }
    }

    #[test]
    fn no_cut_or_changed_certificate_makes_it_panic() {
        let der = certificate(&["api.weixin.qq.com"], 2030);
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "{end}");
            assert_eq!(Certificate::rsa_key(&der[..end]), None, "{end}");
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x83, 0xff] {
                let mut der = der.clone();
                der[at] = byte;
                let _ = (Certificate::read(&der), Certificate::rsa_key(&der));
            }
        }
    }
}
