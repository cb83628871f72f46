//! Tokens that are not the account's, and calls whose answers repeat those that are: third-party platforms' own calls,
//! `untouched`, and `openapi/rid/get`.

use crate::request::gzip;
use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{Gate, Settings};

const PLACEHOLDER: &str = wxgate::proxy::answer::PLACEHOLDER;
const RID: &str = "/cgi-bin/openapi/rid/get";

fn settings() -> Settings {
    Settings {
        account: "paths = [\"/cgi-bin/\", \"/wxa/\", \"/mine/\"]\nuntouched = [\"/mine/*\"]".to_owned(),
        ..Settings::default()
    }
}

fn sent(fake: &Fake) -> String {
    fake.seen().pop().unwrap().line().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_platforms_own_token_is_left_in_its_calls_about_templates() {
    let fake = Fake::renewing(|seen| match seen.line().contains("PLATFORMS") {
        true => Reply::errcode(40001),
        false => Reply::json("{}"),
    })
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    for path in [
        "/wxa/gettemplatedraftlist",
        "/wxa/addtotemplate",
        "/wxa/gettemplatelist",
        "/wxa/deletetemplate",
        "/wxa/GetTemplateList/",
    ] {
        let own = format!("{path}?access_token={}", token(0));
        for (query, right) in [
            ("?access_token=PLATFORMS&a=1".to_owned(), format!("{path}?access_token=PLATFORMS&a=1")),
            ("?a=1&%61ccess_token=PLATFORMS".to_owned(), format!("{path}?a=1&%61ccess_token=PLATFORMS")),
            (String::new(), own.clone()),
            ("?access_token=".to_owned(), own.clone()),
            (format!("?access_token={PLACEHOLDER}"), own.clone()),
            (format!("?access_token={}", token(0)), own.clone()),
        ] {
            let before = fake.calls();
            gate.get(&format!("{path}{query}")).await;
            assert_eq!((sent(&fake), fake.calls() - before), (right, 1), "{path}{query}");
        }
    }
    // Elsewhere a stale token of whoever is replaced.
    gate.get("/wxa/getwxacode?access_token=PLATFORM-OR-STALE").await;
    assert_eq!(sent(&fake), format!("/wxa/getwxacode?access_token={}", token(0)));
    gate.get("/mine/x?access_token=MINE").await;
    assert_eq!(sent(&fake), "/mine/x?access_token=MINE");
    assert_eq!(fake.fetches(), 1);
}

#[tokio::test]
async fn an_earlier_token_of_the_account_is_not_foreign() {
    let fake = Fake::renewing(|seen| match seen.line().contains(&token(0)) {
        true => Reply::errcode(42001),
        false => Reply::json("{}"),
    })
    .await;
    let gate = Gate::with(&fake.url(), settings()).await;
    gate.get("/cgi-bin/user/get").await;
    gate.get(&format!("/wxa/gettemplatelist?access_token={}", token(0))).await;
    assert_eq!(sent(&fake), format!("/wxa/gettemplatelist?access_token={}", token(1)));
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn what_an_earlier_call_was_made_with_is_in_no_answer() {
    // The call after the first refresh: both tokens are known, and both may be in it, whatever its size.
    for filler in [10, 5_000, 60_000] {
        for compressed in [false, true] {
            let body = move || {
                let (old, new) = (token(0), token(1));
                let url = format!(
                    "a={old}&b={new}&c={}&d={}&e={}",
                    percent(&old),
                    percent(&percent(&new)),
                    escaped(&old)
                );
                format!(
                    r#"{{"errcode":0,"request":{{"request_url":"{url}","request_body":"{}"}}}}"#,
                    "x".repeat(filler)
                )
            };
            let fake = Fake::renewing(move |seen| match seen.line() {
                line if line.contains(&token(0)) => Reply::errcode(42001),
                line if line.contains(RID) => {
                    let text = body();
                    assert!(seen.fields("Accept-Encoding").is_empty(), "{}", seen.head);
                    match compressed {
                        false => Reply::json(&text),
                        true => Reply::ok(
                            &["Content-Type: application/json", "Content-Encoding: gzip"],
                            [gzip(b""), gzip(&text.as_bytes()[..9]), gzip(&text.as_bytes()[9..])].concat(),
                        ),
                    }
                }
                _ => Reply::json("{}"),
            })
            .await;
            let gate = Gate::with(&fake.url(), settings()).await;
            assert_eq!(gate.get("/cgi-bin/user/get").await.status, 200);
            let ask = ["Accept-Encoding: gzip", "Content-Type: application/json"];
            let request = crate::support::https::request("POST", RID, &ask, br#"{"rid":"1-2-3"}"#);
            let answer = gate.send(&request).await;
            assert_eq!((answer.status, answer.header("Content-Encoding")), (200, None), "{filler}");
            let right = format!(
                r#"{{"errcode":0,"request":{{"request_url":"a={0}&b={0}&c={0}&d={0}&e={0}","request_body":"{1}"}}}}"#,
                PLACEHOLDER,
                "x".repeat(filler)
            );
            assert_eq!(answer.text(), right, "{filler} {compressed}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_may_hold_a_token_and_cannot_be_read_whole_is_refused() {
    let answers = [
        Reply::json(&format!(r#"{{"a":"{}"}}"#, "x".repeat(64 << 10))),
        Reply::ok(&["Content-Type: application/json", "Content-Encoding: zstd"], "whatever"),
        Reply::ok(&["Content-Type: application/json", "Content-Encoding: gzip"], "broken"),
        Reply::ok(
            &["Content-Type: application/json", "Content-Encoding: gzip"],
            [&gzip(b"{}")[..], b"plain behind it"].concat(),
        ),
        Reply::ok(&["Content-Type: application/json", "Content-Encoding: gzip"], gzip(&vec![b'x'; 1 << 20])),
    ];
    for (n, reply) in answers.into_iter().enumerate() {
        let fake = Fake::answering(move |_| reply.clone()).await;
        let gate = Gate::before(&fake.url()).await;
        let answer = gate.post(RID, r#"{"rid":"1-2-3"}"#).await;
        assert_eq!((answer.status, answer.errcode()), (502, -1), "{n}: {}", answer.text());
        assert_eq!(answer.header("X-Wxgate-Error"), Some("upstream-unreachable"), "{n}");
    }
    let fake =
        Fake::answering(|_| Reply::json(&format!(r#"{{"a":"{}"}}"#, "x".repeat((64 << 10) - 8)))).await;
    let gate = Gate::before(&fake.url()).await;
    for path in [RID, "/cgi-bin/OpenApi/rid/get/"] {
        assert_eq!(gate.post(path, "{}").await.body.len(), 64 << 10, "just as much is passed on");
    }
}
