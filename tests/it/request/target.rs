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
        "/cgi-bin/%20",
        "/cgi-bin/%E4%BD%A0",
        "/cgi-bin/%252e%252e/x",
        "/cgi-bin/%c0%ae%c0%ae/x",
        "/cgi-bin/token;x",
        "/cgi-bin/..;/cgi-bin/token",
        "/cgi-bin/x;",
        "//cgi-bin/..//x",
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
        ["/", "/cgi-bin", "/CGI-BIN/x", "/sns/x", "/wxa/x", "/x/cgi-bin/x", "/cgi-binx/", "//evil/cgi-bin/x"]
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
    let paths = ["/cgi-bin/", "/cgi-bin/a.b/..c/...", "/cgi-bin/!$&'()*+,=:@[]~", "/cgi-bin/x/"];
    for path in paths {
        assert_eq!(Raw::to(gate.addr).await.ask(get(path)).await.status, 200, "{path}");
    }
    let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    let right: Vec<_> =
        paths.iter().map(|path| format!("GET {path}?access_token={TOKEN} HTTP/1.1")).collect();
    assert_eq!(lines, right);
}

#[tokio::test]
async fn runs_of_slashes_become_one_before_anything_else_looks_at_the_path() {
    let (fake, gate) = pair().await;
    for (target, right) in [
        ("//cgi-bin/message/mass/delete", "/cgi-bin/message/mass/delete"),
        ("/cgi-bin//user///get", "/cgi-bin/user/get"),
        ("///cgi-bin/x//", "/cgi-bin/x/"),
        ("http://h//cgi-bin//x", "/cgi-bin/x"),
    ] {
        assert_eq!(Raw::to(gate.addr).await.ask(get(target)).await.status, 200, "{target}");
        let line = fake.seen().pop().unwrap().line().to_owned();
        assert_eq!(line, format!("GET {right}?access_token={TOKEN} HTTP/1.1"));
    }
    let token = Raw::to(gate.addr).await.ask(get("//cgi-bin//token")).await;
    assert_eq!(token.json()["expires_in"], 7200);
    assert_eq!(fake.calls(), 4, "the token call stays here");
}

#[tokio::test]
async fn each_cause_of_a_refused_target_has_a_text_of_its_own() {
    let (fake, gate) = pair().await;
    let mut texts = std::collections::HashSet::new();
    for (target, word) in [
        ("/cgi-bin/%20x", "`%`"),
        ("/cgi-bin/x;y", "`;`"),
        ("/cgi-bin/../x", "`..`"),
        ("/cgi-bin\\x", "`\\`"),
        ("/cgi-bin/\u{540d}", "outside ASCII"),
        ("/cgi-bin/x#y", "`#`"),
        ("/cgi-bin/{x}", "`{`"),
        ("/cgi-bin/x?a#b", "%23"),
        ("/cgi-bin/x?a\"b", "%22"),
        ("/cgi-bin/x?a<b", "%3C"),
        ("/cgi-bin/x?a>b", "%3E"),
        ("http://u:p@h/cgi-bin/x", "user information"),
        ("ftp://h/cgi-bin/x", "neither http nor https"),
        ("http://other/cgi-bin/x", "different hosts"),
    ] {
        let response = Raw::to(gate.addr).await.ask(get(target)).await;
        assert_refused(&response, 400, 40066, "bad-request", target);
        let text = response.json()["errmsg"].as_str().unwrap().to_owned();
        assert!(text.contains(word), "{target}: {text}");
        assert!(texts.insert(text), "{target}: the text of another cause");
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn a_url_in_the_request_line_replaces_no_host_field_in_http_1_1() {
    let (fake, gate) = pair().await;
    let alone = "GET http://api.weixin.qq.com/cgi-bin/x HTTP/1.1\r\n\r\n";
    let response = Raw::to(gate.addr).await.ask(alone).await;
    assert_refused(&response, 400, 40066, "bad-request", alone);
    assert!(response.text().contains("no Host header"), "{response:?}");
    assert_eq!(fake.began(), 0);
    for served in [
        "GET http://api.weixin.qq.com/cgi-bin/x HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n",
        "GET http://api.weixin.qq.com/cgi-bin/x HTTP/1.0\r\n\r\n",
        "GET /cgi-bin/x HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(Raw::to(gate.addr).await.ask(served).await.status, 200, "{served}");
    }
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
        proptest::collection::vec("[a-z!$&'()*+,=:@_-]{1,8}", 1..5),
        proptest::option::of(proptest::collection::vec(parameter, 0..8)),
    );
    let mut runner = TestRunner::default();
    let mut raw = Raw::to(gate.addr).await;
    for round in 0..400 {
        let (segments, parameters) = strategy.new_tree(&mut runner).unwrap().current();
        let path = format!("/cgi-bin/{}", segments.join("/"));
        let query = parameters.map(|parameters| parameters.join("&"));
        let target = query.iter().fold(path.clone(), |path, query| format!("{path}?{query}"));
        if path.starts_with("/cgi-bin/token") || path.starts_with("/cgi-bin/stable_token") {
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
async fn what_looks_like_a_token_call_never_leaves() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    // Even where everything may be called, and `untouched` covers it.
    let account = "paths = [\"/\"]\nuntouched = [\"/*\"]".to_owned();
    let gate =
        Gate::with(&fake.url(), crate::support::gate::Settings { account, ..Default::default() }).await;
    for (path, status) in [
        ("/cgi-bin/token", 200),
        ("/cgi-bin/token/", 200),
        ("/cgi-bin/token//", 200),
        ("/cgi-bin/Token", 200),
        ("/CGI-BIN/TOKEN/", 200),
        ("//cgi-bin//token", 200),
        ("/cgi-bin/token.json", 404),
        ("/cgi-bin/token.", 404),
        ("/cgi-bin/token/x", 404),
        ("/cgi-bin/token/.json", 404),
        ("/cgi-bin/Stable_Token.php", 404),
        ("/cgi-bin/token,x", 404),
        ("/cgi-bin/token:80", 404),
        ("/cgi-bin/token=x", 404),
        ("/cgi-bin/token&appid=x&secret=y", 404),
        ("/cgi-bin/token;x", 400),
        ("/cgi-bin/token%20", 400),
        ("/cgi-bin/%74oken", 400),
        ("/cgi-bin/..;/cgi-bin/token", 400),
        ("/cgi-bin/token\\", 400),
    ] {
        let response = Raw::to(gate.addr).await.ask(get(&format!("{path}?appid=&secret=s"))).await;
        assert_eq!(response.status, status, "{path}: {response:?}");
        match status {
            200 => assert_eq!(response.json()["expires_in"], 7200, "{path}"),
            404 => assert_refused(&response, 404, 40066, "not-found", path),
            _ => assert_refused(&response, 400, 40066, "bad-request", path),
        }
    }
    let post = "POST /cgi-bin/STABLE_TOKEN/ HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(Raw::to(gate.addr).await.ask(post).await.json()["expires_in"], 7200);
    assert_eq!(fake.began(), 0);
    assert_eq!(Raw::to(gate.addr).await.ask(get("/cgi-bin/tokens")).await.status, 200);
    assert_eq!(fake.began(), 1, "another word is another call");
}

#[tokio::test]
async fn foreign_calls_keep_their_query_and_get_no_token() {
    let fake = Fake::answering(|_| Reply::errcode(40001)).await;
    let account = r#"paths = ["/cgi-bin/", "/sns/", "/wxa/"]
        untouched = ["/wxa/gettemplatelist", "/wxa/third/*"]"#
        .to_owned();
    let settings = crate::support::gate::Settings { account, ..Default::default() };
    let gate = Gate::with(&fake.url(), settings).await;
    let targets = [
        "/sns/userinfo?access_token=users&openid=o",
        "/sns/jscode2session?appid=a&secret=s",
        "/sns/x",
        "/sns/x?",
        "/cgi-bin/component/api_query_auth?component_access_token=c&access_token=d",
        "/cgi-bin/clear_quota/v2",
        "/wxa/gettemplatelist?access_token=platforms",
        "/wxa/third/a/b?access_token",
    ];
    for target in targets {
        let response = Raw::to(gate.addr).await.ask(get(target)).await;
        assert_eq!((response.status, response.errcode()), (200, 40001), "{target}");
        assert_eq!(response.header("X-Wxgate-Retry"), None);
    }
    let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line().to_owned()).collect();
    let right: Vec<_> = targets.iter().map(|target| format!("GET {target} HTTP/1.1")).collect();
    assert_eq!(lines, right, "once each");
    // The first fetch may still be on its way: these calls wait for no token.
    assert!(fake.fetches() <= 1, "no refresh");
}
