//! Whatever the target checks let pass is kept byte for byte by the `http` crate but for runs of `/`, and has
//! none of the forbidden forms.
#![no_main]

use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use wxgate::http1::target::{check_query, clean_path};

fn looks_inside(path: &str) {
    assert!(path.starts_with('/'));
    assert!(path.bytes().all(|b| b.is_ascii_graphic()), "bytes outside visible ASCII");
    assert!(!path.contains("//"), "an empty segment");
    assert!(!path.contains(['%', ';', '\\', '?', '#']), "a byte that programs read in two ways");
    for segment in path.split('/') {
        assert!(segment != "." && segment != "..", "a dot segment");
    }
}

fuzz_target!(|target: &str| {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let query_passes = query.is_none_or(|query| check_query(query.as_bytes()).is_ok());
    if let (Some(query), true) = (query, query_passes) {
        assert!(!query.bytes().any(|b| b <= b' ' || b"\"<>#\x7f".contains(&b)));
    }
    if let Ok(path) = clean_path(path) {
        looks_inside(&path);
        if query_passes {
            let target = [&*path, query.map_or("", |_| "?"), query.unwrap_or_default()].concat();
            let parsed = PathAndQuery::try_from(target.as_str()).expect("a target that passed is a URI's");
            assert_eq!(parsed.path(), path);
            assert_eq!(parsed.query(), query);
            assert_eq!(parsed.as_str(), target);
        }
    }
});
