//! What is stored of a credential: no text panics, what is read is written again and read as the same, and no error
//! repeats the token (`$T` in a text stands for it).
#![no_main]

use libfuzzer_sys::fuzz_target;
use wxgate::store::StoreKey;
use wxgate::store::format::{parse, render};

const TOKEN: &str = "mk-t0ken-7f3a";

fuzz_target!(|text: &str| {
    let text = text.replace("$T", TOKEN);
    let key = StoreKey {
        appid: "wx1".to_owned(),
        kind: "access_token",
        upstream: "https://api.weixin.qq.com:443".to_owned(),
        issued_by: "token",
    };
    match parse(text.as_bytes(), &key) {
        Ok(parsed) => {
            // The paths that something is held against are the callers', and no secrets.
            let path_has_it = parsed.state.limits.blame.iter().any(|blame| blame.path.contains(TOKEN));
            assert!(path_has_it || !format!("{parsed:?}").contains(TOKEN), "its Debug shows the token");
            let value =
                parsed.state.credential.as_ref().map(|credential| credential.value.expose().to_owned());
            let again = parse(&render(&parsed.state, &key), &key).expect("what is written can be read");
            assert_eq!(format!("{:?}", again.state), format!("{:?}", parsed.state), "{text}");
            assert_eq!(again.state.credential.map(|credential| credential.value.expose().to_owned()), value);
            assert!(again.credential_ignored.is_none());
        }
        Err(unusable) => assert!(!format!("{unusable:?}").contains(TOKEN), "{unusable:?}"),
    }
});
