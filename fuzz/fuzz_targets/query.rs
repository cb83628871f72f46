//! The query's surgery: exactly one token, and every other piece byte for byte and in order.
//!
//! The oracle reads names with the `form_urlencoded` crate, which shares no code with the surgery.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wxgate::proxy::inject::query::with_token;

fn names_the_token(piece: &str) -> bool {
    form_urlencoded::parse(piece.as_bytes()).next().is_some_and(|(name, _)| name == "access_token")
}

fuzz_target!(|query: &str| {
    let target = with_token("/cgi-bin/x", Some(query), b"access_token=T-1_x");
    let target = String::from_utf8(target).expect("text in, text out");
    let rest = target.strip_prefix("/cgi-bin/x?access_token=T-1_x").expect("path and token come first");
    let kept: Vec<&str> = match rest.strip_prefix('&') {
        Some(rest) => rest.split('&').collect(),
        None => {
            assert!(rest.is_empty(), "no separator after the token: {target}");
            Vec::new()
        }
    };
    let right: Vec<&str> = match query {
        "" => Vec::new(),
        query => query.split('&').filter(|piece| !names_the_token(piece)).collect(),
    };
    assert_eq!(kept, right, "{query:?}");
    let tokens = target.split_once('?').map_or(0, |(_, query)| {
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "access_token").count()
    });
    assert_eq!(tokens, 1, "{query:?}");
});
