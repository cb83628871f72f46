//! Whatever the target checks let pass is kept byte for byte by the `http` crate, and holds none of the
//! forbidden forms under a decoder that shares no code with the checks.
#![no_main]

use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use wxgate::http1::target::{check_path, check_query};

fn looks_inside(path: &str) {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let count = |bytes: &[u8], byte: u8| bytes.iter().filter(|b| **b == byte).count();
    assert!(path.starts_with('/'));
    assert_eq!(count(&decoded, b'/'), count(path.as_bytes(), b'/'), "an encoded slash");
    assert_eq!(count(&decoded, b'\\') + count(&decoded, 0), 0, "a backslash or NUL");
    assert!(path.bytes().all(|b| b.is_ascii_graphic()), "bytes outside visible ASCII");
    assert!(!path.contains("//"), "an empty segment");
    for segment in decoded.split(|b| *b == b'/') {
        assert!(segment != b"." && segment != b"..", "a dot segment");
    }
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).expect("two digits follow");
        assert!(digits.chars().all(|c| c.is_ascii_hexdigit()), "a broken escape");
        let byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
        assert!(!byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte), "encoded without need");
    }
}

fuzz_target!(|target: &[u8]| {
    let cut = target.iter().position(|b| *b == b'?');
    let (path, query) = match cut {
        Some(cut) => (&target[..cut], Some(&target[cut + 1..])),
        None => (target, None),
    };
    let path_passes = check_path(path).is_ok();
    let query_passes = query.is_none_or(|query| check_query(query).is_ok());
    if let (Some(query), true) = (query, query_passes) {
        assert!(std::str::from_utf8(query).is_ok());
        assert!(!query.iter().any(|b| *b <= b' ' || b"\"<>#\x7f".contains(b)));
    }
    if path_passes {
        looks_inside(std::str::from_utf8(path).expect("visible ASCII"));
        if query_passes {
            let parsed = PathAndQuery::try_from(target).expect("a target that passed is a URI's");
            assert_eq!(parsed.path().as_bytes(), path);
            assert_eq!(parsed.query().map(str::as_bytes), query);
            assert_eq!(parsed.as_str().as_bytes(), target);
        }
    }
});
