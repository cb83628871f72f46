//! Appid and AppSecret in queries, forms and JSON: both are there, nothing else has moved.
//!
//! The oracles are `form_urlencoded` and `serde_json`, which share no code with what puts them in. The first byte
//! chooses: parameters, or a body.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use wxgate::proxy::inject::secret::Credentials;
use wxgate::proxy::route::SecretPath;
use wxgate::secret::Secret;

const APPID: &str = "wx1";
const SECRET: &str = "s+\"/\\%";

fn named(piece: &str) -> bool {
    let name = form_urlencoded::parse(piece.as_bytes()).next().map(|(name, _)| name.into_owned());
    matches!(name.as_deref(), Some("appid" | "secret"))
}

fn parameters(credentials: &Credentials<'_>, text: &str) {
    let filled = credentials.in_parameters(text);
    for (name, right) in [("appid", APPID), ("secret", SECRET)] {
        let values: Vec<_> = form_urlencoded::parse(filled.as_bytes())
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
            .collect();
        assert_eq!(values, [right], "{text:?}");
    }
    let others = |text: &str| -> Vec<String> {
        text.split('&').filter(|piece| !piece.is_empty() && !named(piece)).map(str::to_owned).collect()
    };
    assert_eq!(others(&filled), others(text), "{text:?}");
}

fn json(credentials: &Credentials<'_>, body: &[u8]) {
    let filled = credentials.in_body(&HeaderMap::new(), body);
    let Ok(mut before) = serde_json::from_slice::<Map<String, Value>>(body) else { return };
    let filled = filled.expect("an object is filled");
    let after: Map<String, Value> = serde_json::from_slice(&filled).expect("an object again");
    before.insert("appid".to_owned(), APPID.into());
    before.insert("secret".to_owned(), SECRET.into());
    assert_eq!(after, before, "{}", String::from_utf8_lossy(body));
}

fuzz_target!(|input: &[u8]| {
    let entry = SecretPath {
        path: "/p".to_owned(),
        appid: "appid".to_owned(),
        secret: "secret".to_owned(),
        token: false,
    };
    let secret = Secret::new(SECRET.to_owned());
    let credentials = Credentials::new(&entry, APPID, &secret);
    match input.split_first() {
        Some((b'?', text)) => {
            if let Ok(text) = std::str::from_utf8(text) {
                parameters(&credentials, text);
            }
        }
        _ => json(&credentials, input),
    }
});
