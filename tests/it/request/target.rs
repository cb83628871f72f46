//! Paths and queries: what the rules allowed is what the upstream receives, byte for byte.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::assert_refused;
use crate::support::fake::{Fake, Reply, TOKEN};
use crate::support::gate::Gate;
use crate::support::raw::Raw;

async fn pair() -> (Fake, Gate) {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    (fake, gate)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[tokio::test]
async fn paths_that_two_programs_could_read_differently_are_refused() {
    let (fake, gate) = pair().await;
    for path in [
        "/cgi-bin/../sns/x",
        "/cgi-bin/..",
        "/cgi-bin/./x",
        "/cgi-bin/.",
        "/cgi-bin//x",
        "//cgi-bin/x",
        "/cgi-bin/x//",
        "/cgi-bin\\x",
        "/cgi-bin/%2e%2e/x",
        "/cgi-bin/%2E/x",
        "/cgi-bin/.%2e/x",
        "/cgi-bin/%2fx",
        "/cgi-bin/%2Fx",
        "/cgi-bin/%5cx",
        "/cgi-bin/%5Cx",
        "/cgi-bin/%00",
        "/cgi-bin/%74oken",
        "/cgi-bin/toke%6E",
        "/cgi-bin/%7e",
        "/cgi-bin/%2D",
        "/cgi-bin/%5f",
        "/cgi-bin/%30",
        "/cgi-bin/%",
        "/cgi-bin/%4",
        "/cgi-bin/%4g",
        "/cgi-bin/\u{540d}",
        "/cgi-bin/a\"b",
        "/cgi-bin/<a>",
        "/cgi-bin/a|b",
        "/cgi-bin/{a}",
        "/cgi-bin/a^b",
        "/cgi-bin/a`b",
        "/cgi-bin/\0",
        "/cgi-bin/\x7f",
        "/cgi-bin/\x01",
    ] {
        let response = Raw::to(gate.addr).await.ask(get(path)).await;
        assert_refused(&response, 400, 40066, "bad-request", path);
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn paths_outside_the_accounts_paths_are_not_found_and_the_key_is_named() {
    let (fake, gate) = pair().await;
    for path in
        ["/", "/cgi-bin", "/CGI-BIN/x", "/sns/x", "/wxa/x", "/x/cgi-bin/x", "/cgi-binx/", "/cgi%20bin/x"]
    {
        let response = Raw::to(gate.addr).await.ask(get(path)).await;
        assert_refused(&response, 404, 40066, "not-found", path);
        assert!(response.text().contains("`paths`"), "{response:?}");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn paths_pass_unchanged() {
    let (fake, gate) = pair().await;
    let paths = [
        "/cgi-bin/",
        "/cgi-bin/a.b/..c/...",
        "/cgi-bin/%E4%bd%A0%20%25",
        "/cgi-bin/!$&'()*+,;=:@",
        "/cgi-bin/x/",
    ];
    for path in paths {
        assert_eq!(Raw::to(gate.addr).await.ask(get(path)).await.status, 200, "{path}");
    }
    let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    let right: Vec<_> =
        paths.iter().map(|path| format!("GET {path}?access_token={TOKEN} HTTP/1.1")).collect();
    assert_eq!(lines, right);
}

#[tokio::test]
async fn queries_that_must_be_encoded_are_refused() {
    let (fake, gate) = pair().await;
    for query in ["a\"b", "<", "a>", "\x7f", "\x01", "a\tb"] {
        let response = Raw::to(gate.addr).await.ask(get(&format!("/cgi-bin/x?{query}"))).await;
        assert_refused(&response, 400, 40066, "bad-request", query);
    }
    // A space ends the target, so that the line is malformed; bytes that are no UTF-8 cannot stand in a &str.
    for bytes in [
        &b"GET /cgi-bin/x?a b HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"GET /cgi-bin/x?\xff HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert_refused(&Raw::to(gate.addr).await.ask(bytes).await, 400, 40066, "bad-request", "raw");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn the_token_replaces_every_spelling_of_it_and_nothing_else() {
    let (fake, gate) = pair().await;
    let cases = [
        ("", ""),
        ("?", ""),
        ("?access_token=", ""),
        ("?access_token", ""),
        ("?access_token=stale&a=1", "&a=1"),
        ("?a=1&access_token=x&b=2&access_token=y", "&a=1&b=2"),
        ("?%61ccess_token=x", ""),
        ("?access%5Ftoken=x&access%5ftoken=y", ""),
        ("?%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x&z", "&z"),
        (
            "?Access_Token=x&access_tokens=y&access_token%20=z",
            "&Access_Token=x&access_tokens=y&access_token%20=z",
        ),
        ("?a=access_token=1", "&a=access_token=1"),
        ("?a=1&&b=%zz&=&%", "&a=1&&b=%zz&=&%"),
        ("?\u{540d}=\u{503c}", "&\u{540d}=\u{503c}"),
        ("?a='|^`{}\\[]", "&a='|^`{}\\[]"),
        ("?a?b=c?d", "&a?b=c?d"),
        ("?a=1+2%2B3%20", "&a=1+2%2B3%20"),
    ];
    for (query, right) in cases {
        let response = Raw::to(gate.addr).await.ask(get(&format!("/cgi-bin/x{query}"))).await;
        assert_eq!(response.status, 200, "{query}");
        let line = fake.seen().pop().unwrap().line().to_owned();
        assert_eq!(line, format!("GET /cgi-bin/x?access_token={TOKEN}{right} HTTP/1.1"), "{query}");
    }
}

/// Decodes a parameter's name in the slowest and plainest way; shares nothing with the proxy.
fn is_the_tokens_name(parameter: &str) -> bool {
    let mut name = parameter.split('=').next().unwrap().to_owned();
    for byte in "access_token".bytes() {
        for spelling in [format!("%{byte:02x}"), format!("%{byte:02X}")] {
            // A hexadecimal digit of mixed case is no other spelling: one of the two has a letter.
            name = name.replace(&spelling, &char::from(byte).to_string());
        }
    }
    name == "access_token"
}

#[tokio::test]
async fn random_targets_reach_the_upstream_byte_for_byte() {
    let (fake, gate) = pair().await;
    let parameter = prop_oneof![
        4 => "[a-zA-Z0-9_.~=%+:@/?!$'()*,;|{}^`\\\\\\[\\]\u{540d}\u{1f600}-]{0,12}",
        1 => Just("access_token=stale".to_owned()),
        1 => "access(_|%5f|%5F)token(=[a-z]{0,3})?",
        1 => "(a|%61)(c|%63)cess_token=x",
    ];
    let strategy = (
        proptest::collection::vec("[a-z!$&'()*+,;=:@_-]{1,8}|%E4%BD%A0|%20", 1..5),
        proptest::option::of(proptest::collection::vec(parameter, 0..8)),
    );
    let mut runner = TestRunner::default();
    let mut raw = Raw::to(gate.addr).await;
    for round in 0..400 {
        let (segments, parameters) = strategy.new_tree(&mut runner).unwrap().current();
        let path = format!("/cgi-bin/{}", segments.join("/"));
        let query = parameters.map(|parameters| parameters.join("&"));
        let target = query.iter().fold(path.clone(), |path, query| format!("{path}?{query}"));
        if path == "/cgi-bin/token" || path == "/cgi-bin/stable_token" {
            continue;
        }
        assert_eq!(raw.ask(get(&target)).await.status, 200, "{target}");
        let mut right = format!("{path}?access_token={TOKEN}");
        for parameter in query.iter().filter(|query| !query.is_empty()).flat_map(|query| query.split('&')) {
            if !is_the_tokens_name(parameter) {
                right += "&";
                right += parameter;
            }
        }
        let line = fake.seen().pop().unwrap().line().to_owned();
        assert_eq!(line, format!("GET {right} HTTP/1.1"), "round {round}: {target}");
    }
}

#[tokio::test]
async fn foreign_calls_keep_their_query_and_get_no_token() {
    let fake = Fake::answering(|_| Reply::errcode(40001)).await;
    let account = r#"paths = ["/cgi-bin/", "/sns/"]"#.to_owned();
    let settings = crate::support::gate::Settings { account, ..Default::default() };
    let gate = Gate::with(&fake.url(), settings).await;
    let targets = [
        "/sns/userinfo?access_token=users&openid=o",
        "/sns/jscode2session?appid=a&secret=s",
        "/sns/x",
        "/sns/x?",
        "/cgi-bin/component/api_query_auth?component_access_token=c&access_token=d",
        "/cgi-bin/clear_quota/v2",
    ];
    for target in targets {
        let response = Raw::to(gate.addr).await.ask(get(target)).await;
        assert_eq!((response.status, response.errcode()), (200, 40001), "{target}");
        assert_eq!(response.header("X-Wxgate-Retry"), None);
    }
    let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    let right: Vec<_> = targets.iter().map(|target| format!("GET {target} HTTP/1.1")).collect();
    assert_eq!(lines, right, "once each");
    assert_eq!(fake.fetches(), 1, "no refresh");
}
