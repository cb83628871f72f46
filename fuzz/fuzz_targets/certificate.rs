//! Certificates: their end, their names and their RSA key.
//!
//! The oracles are webpki, which has read whatever certificate rustls accepts, for the names; and a reader of DER that
//! looks at a value's parts by their numbers, for the rest.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use wxgate::upstream::Certificate;

type Values<'d> = Vec<(u8, &'d [u8])>;

/// The values in a content, each with its tag; all of it, or nothing.
fn values(mut content: &[u8]) -> Option<Values<'_>> {
    let mut all = Vec::new();
    while let [tag, first, rest @ ..] = content {
        let (length, rest) = match *first {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let bytes = usize::from(long - 0x80);
                if !(1..=4).contains(&bytes) || rest.len() < bytes {
                    return None;
                }
                (
                    rest[..bytes].iter().fold(0, |length, byte| length * 256 + usize::from(*byte)),
                    &rest[bytes..],
                )
            }
        };
        all.push((*tag, rest.get(..length)?));
        content = &rest[length..];
    }
    content.is_empty().then_some(all)
}

/// Seconds since 1970 of `YYYYMMDDhhmmss`; `None` where that is no time.
fn seconds(text: &[u8]) -> Option<i64> {
    if text.len() != 14 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        |from: usize, to: usize| text[from..to].iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(8, 10), number(10, 12), number(12, 14));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = |month: i64| match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_time = (1..=12).contains(&month)
        && (1..=days_of(month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && year >= 1970;
    let days = (1970..year).map(|year| 365 + i64::from(leap(year))).sum::<i64>()
        + (1..month).map(days_of).sum::<i64>()
        + day
        - 1;
    is_time.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// When it ends.
fn end((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = text.strip_suffix(b"Z")?;
    match (tag, text.len()) {
        (0x17, 12) => seconds(&[if text[0] < b'5' { b"20" } else { b"19" }, text].concat()),
        (0x18, 14) => seconds(text),
        _ => None,
    }
}

fuzz_target!(|der: &[u8]| {
    let read = Certificate::read(der);
    let key = Certificate::rsa_key(der);
    if let Some(read) = &read {
        assert!(read.names.len() <= 100);
        assert!(read.names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
    }
    let certificate = CertificateDer::from(der);
    let Ok(webpki) = EndEntityCert::try_from(&certificate) else { return };
    let shown = der.escape_ascii();

    let outer = values(der).expect("it has been read");
    let fields = values(values(outer[0].1).expect("it has been read")[0].1).expect("it has been read");
    // The version, which is 3, comes first.
    let [_, _, _, _, (_, validity), _, (_, spki), ..] = fields.as_slice() else { panic!("{shown}") };

    let right = values(validity).filter(|times| times.len() == 2).and_then(|times| end(times[1]));
    if let Some(right) = right {
        let ends = read.as_ref().expect("nothing is wrong with it").ends;
        assert_eq!(ends, SystemTime::UNIX_EPOCH + Duration::from_secs(right as u64), "{shown}");
    }
    if let Some(read) = &read {
        let theirs: Vec<&str> = webpki.valid_dns_names().take(50).collect();
        let ours: Vec<&str> =
            read.names.iter().map(String::as_str).filter(|name| theirs.contains(name)).collect();
        assert!(ours.starts_with(&theirs), "{theirs:?} {ours:?} {shown}");
    }

    let parts = values(spki).filter(|parts| parts.len() == 2);
    let right = parts.and_then(|parts| {
        let algorithm = values(parts[0].1)?;
        let rsa = algorithm.first()? == &(6, &b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"[..]);
        let key = if parts[1].0 == 3 { parts[1].1.strip_prefix(b"\0") } else { None };
        key.filter(|_| rsa && parts[0].0 == 0x30)
    });
    if right.is_some() {
        assert_eq!(key, right, "{shown}");
    }
});
