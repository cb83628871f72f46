//! Answers to calls for tokens and tickets, WeCom's too: what is issued, what a refusal, and that no refusal repeats what
//! was asked with.
//!
//! The oracle is `serde_json`, for what it takes for an object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use wxgate::credential::FetchAnswer;
use wxgate::credential::issuer::answer::parse;
use wxgate::secret::Secret;

const TOKEN: &str = "T0KEN/with+signs";

fuzz_target!(|body: &[u8]| {
    for name in ["ticket", "access_token"] {
        check(body, name);
    }
});

fn check(body: &[u8], name: &str) {
    let answer = parse(body, name, &Secret::new(TOKEN.to_owned()));
    if let FetchAnswer::Refused { errmsg, errcode } = &answer {
        assert!(!errmsg.contains(TOKEN) && !errmsg.contains("T0KEN%2Fwith%2Bsigns"), "{errmsg}");
        assert!(*errcode != 0 && *errcode != -1);
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else { return };
    let errcode = object.get("errcode").and_then(Value::as_i64);
    let ticket = object.get(name).and_then(Value::as_str).filter(|ticket| !ticket.is_empty());
    match (errcode, ticket, &answer) {
        (Some(errcode), ..) if errcode != 0 && errcode != -1 => {
            assert!(matches!(&answer, FetchAnswer::Refused { errcode: read, .. } if *read == errcode));
        }
        (Some(0), Some(ticket), FetchAnswer::Issued { value, .. }) => assert_eq!(value.expose(), ticket),
        (Some(0), Some(ticket), _) => assert!(ticket.len() > 2048, "{}", String::from_utf8_lossy(body)),
        _ => {}
    }
}
