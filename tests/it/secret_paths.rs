//! Calls that take the AppSecret, by callers that have none.

use crate::request::assert_refused;
use crate::support::child::{Child, run, wxgate};
use crate::support::fake::{Fake, Reply, Seen, TOKEN};
use crate::support::gate::{APPID, Gate, SECRET, Settings, note_credential};
use crate::support::https::request;
use crate::support::raw::Raw;
use crate::support::wechat::WeChat;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn settings() -> Settings {
    note_credential(SECRET);
    Settings {
        account: "paths = [\"/cgi-bin/\", \"/sns/\", \"/donut/\"]\n\
            secret_paths = [\"/sns/jscode2session\", \"/sns/oauth2/access_token\", \"/cgi-bin/clear_quota/v2\", \
            { path = \"/donut/code2verifyinfo\", appid = \"appid\", secret = \"appsecret\", token = true }]"
            .to_owned(),
        ..Settings::default()
    }
}

async fn before(fake: &Fake) -> Gate {
    Gate::with(&fake.url(), settings()).await
}

/// What the upstream saw last: its query and its body.
fn last(fake: &Fake) -> (String, String) {
    let seen = fake.seen().pop().unwrap();
    let query = seen.line().split(' ').nth(1).unwrap().split_once('?').unwrap().1.to_owned();
    (query, String::from_utf8(seen.body).unwrap())
}

#[tokio::test]
async fn a_mini_program_logs_in_without_a_secret() {
    let wechat = WeChat::start().await;
    let gate = Gate::with(&wechat.url, settings()).await;
    let login = "/sns/jscode2session?js_code=0a1b&grant_type=authorization_code";
    let answer = gate.get(login).await;
    assert_eq!((answer.status, answer.json()["session_key"].is_string()), (200, true), "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("text/plain"), "as WeChat answers it");
    assert_eq!(gate.get(login).await.errcode(), 40163, "a code works once");
    let wrong = "/sns/oauth2/access_token?appid=wx-of-old&secret=of-old&code=c&grant_type=authorization_code";
    assert!(gate.get(wrong).await.json()["access_token"].is_string());
    for body in ["", "{}", r#"{"appid":"wx-of-old","appsecret":"of-old"}"#] {
        assert_eq!(gate.post("/cgi-bin/clear_quota/v2", body).await.json()["errmsg"], "ok", "{body}");
    }
}

#[tokio::test]
async fn both_stand_wherever_a_caller_has_or_could_have_put_them() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = before(&fake).await;
    let right = format!("appid={APPID}&secret={SECRET}");
    for (target, head, body, query, sent) in [
        ("/sns/jscode2session?js_code=a%2fb&x", "", "", format!("js_code=a%2fb&x&{right}"), String::new()),
        ("/sns/jscode2session", "", "", right.clone(), String::new()),
        (
            "/sns/jscode2session?secret=a&%73ecret=b&appid=c",
            "",
            "",
            format!("secret={SECRET}&appid={APPID}"),
            String::new(),
        ),
        (
            "/sns/oauth2/access_token",
            FORM,
            "secret=x&code=c",
            right.clone(),
            format!("secret={SECRET}&code=c&appid={APPID}"),
        ),
        (
            "/cgi-bin/clear_quota/v2",
            "Content-Type: application/json",
            r#"{ "appsecret": "x", "b": [1] }"#,
            format!("appid={APPID}&appsecret={SECRET}"),
            format!(r#"{{"appid":"{APPID}", "appsecret": "{SECRET}", "b": [1] }}"#),
        ),
        (
            "/cgi-bin/clear_quota/v2?secret=kept",
            "",
            "neither",
            format!("secret=kept&appid={APPID}&appsecret={SECRET}"),
            "neither".to_owned(),
        ),
        (
            "/donut/code2verifyinfo?code=c&access_token=stale",
            "",
            "",
            format!("access_token={TOKEN}&code=c&appid={APPID}&appsecret={SECRET}"),
            String::new(),
        ),
    ] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let headers: &[&str] = if head.is_empty() { &[] } else { &[head] };
        let answer = gate.send(&request(method, target, headers, body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(last(&fake), (query, sent), "{target}");
        let seen = fake.seen().pop().unwrap();
        assert_eq!(seen.fields("Content-Length").first().map_or(0, |n| n.parse().unwrap()), seen.body.len());
    }
}

#[tokio::test]
async fn whatever_is_not_named_is_forwarded_as_it_is() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = before(&fake).await;
    for target in ["/sns/jscode2session/", "/sns/JSCODE2SESSION", "/sns/userinfo", "/sns/jscode2session.json"]
    {
        gate.get(&format!("{target}?secret=mine")).await;
        assert_eq!(last(&fake).0, "secret=mine", "{target}");
    }
    for target in
        ["/sns/jscode2sessio%6e", "/sns/./jscode2session", "/sns/jscode2session;x", "/sns\\jscode2session"]
    {
        assert_refused(&gate.get(target).await, 400, 40066, "bad-request", target);
    }
}

#[tokio::test]
async fn no_errcode_is_a_reason_to_send_it_again_or_to_fetch_a_token() {
    let fake = Fake::answering(|_| Reply::errcode(40001)).await;
    let gate = before(&fake).await;
    for target in
        ["/sns/jscode2session?js_code=c", "/donut/code2verifyinfo?code=c", "/cgi-bin/clear_quota/v2"]
    {
        for _ in 0..3 {
            let answer = gate.post(target, "{}").await;
            assert_eq!((answer.errcode(), answer.header("x-wxgate-retry")), (40001, None), "{target}");
        }
    }
    assert_eq!((fake.calls(), fake.fetches()), (9, 1));
}

#[tokio::test]
async fn a_get_is_not_sent_again_when_the_connection_breaks() {
    let fake = Fake::answering(|seen: &Seen| match seen.line().contains("jscode2session") {
        true => Reply::Close(Vec::new()),
        false => Reply::json("{}"),
    })
    .await;
    let gate = before(&fake).await;
    for n in 1..=3 {
        let answer = gate.get("/sns/jscode2session?js_code=c").await;
        assert_refused(&answer, 502, -1, "upstream-unreachable", "the code may have been used");
        assert_eq!(fake.calls(), n, "sent once");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_secret_is_masked() {
    let fake = Fake::answering(|seen: &Seen| {
        let target = seen.line().split(' ').nth(1).unwrap().to_owned();
        let fields =
            [format!("Location: https://elsewhere.example{target}"), "Content-Type: text/plain".to_owned()];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        Reply::ok(
            &fields,
            format!(
                r#"{{"errcode":40125,"errmsg":"bad {target}","b":{:?}}}"#,
                String::from_utf8_lossy(&seen.body)
            ),
        )
    })
    .await;
    let gate = before(&fake).await;
    for (target, body) in [
        ("/sns/jscode2session?js_code=c", ""),
        ("/donut/code2verifyinfo?code=c", ""),
        ("/cgi-bin/clear_quota/v2", "{}"),
    ] {
        let answer = match body {
            "" => gate.get(target).await,
            body => gate.post(target, body).await,
        };
        let said = format!("{:?} {}", answer.headers, answer.text());
        assert!(!said.contains(SECRET) && !said.contains(TOKEN), "{said}");
        assert!(said.matches("***").count() >= 2 && said.contains(APPID), "{said}");
        assert_eq!(answer.errcode(), 40125);
    }
}

/// `rid/get` shows the query of an earlier call.
#[tokio::test]
async fn what_wechat_tells_of_an_earlier_call_holds_no_secret() {
    let fake = Fake::answering(|_| {
        let query = format!("appid={APPID}&secret={SECRET}&js_code=c&access_token={TOKEN}");
        Reply::json(&serde_json::json!({"errcode": 0, "request": {"request_url": query}}).to_string())
    })
    .await;
    let gate = before(&fake).await;
    let answer = gate.post("/cgi-bin/openapi/rid/get", r#"{"rid":"6aac0063-7ed08fb9-1250f724"}"#).await;
    let url = answer.json()["request"]["request_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("appid={APPID}&secret=***&js_code=c&access_token=wxgate-")), "{url}");
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused_and_one_of_64_kib_is_not() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = before(&fake).await;
    let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    assert_eq!(gate.post("/cgi-bin/clear_quota/v2", body(64 << 10)).await.status, 200);
    assert!(last(&fake).1.contains(SECRET));
    let answer = gate.post("/cgi-bin/clear_quota/v2", body((64 << 10) + 1)).await;
    assert_refused(&answer, 413, 45001, "too-large", "64 KiB");
    assert!(answer.json()["errmsg"].as_str().unwrap().contains("secret_paths"));
    // A chunked one gets a length.
    let chunked = "POST /cgi-bin/clear_quota/v2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(Raw::to(gate.addr).await.ask(chunked).await.status, 200);
    let seen = fake.seen().pop().unwrap();
    assert_eq!(
        seen.fields("Content-Length").concat() + seen.fields("content-length").concat().as_str(),
        seen.body.len().to_string()
    );
}

#[tokio::test]
async fn rules_and_paths_hold_as_for_any_call() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let tables =
        "[[caller]]\nname = \"a\"\nfrom = [\"127.0.0.1\"]\nallow = [\"GET /sns/oauth2/access_token\"]\n"
            .to_owned();
    let gate = Gate::with(&fake.url(), Settings { tables, ..settings() }).await;
    assert_eq!(gate.get("/sns/oauth2/access_token?code=c").await.status, 200);
    assert_refused(&gate.get("/sns/jscode2session?js_code=c").await, 403, 48001, "denied", "allow");
    let only = "secret_paths = [\"/sns/jscode2session\"]".to_owned();
    let gate = Gate::with(&fake.url(), Settings { account: only, ..Settings::default() }).await;
    assert_refused(&gate.get("/sns/jscode2session?js_code=c").await, 404, 40066, "not-found", "paths");
}

#[tokio::test]
async fn the_secret_is_in_no_log_whatever_goes_wrong() {
    note_credential(SECRET);
    let fake = Fake::answering(|seen: &Seen| {
        let target = seen.line().split(' ').nth(1).unwrap().to_owned();
        match target.contains("breaks") {
            true => Reply::Close(Vec::new()),
            false => Reply::json(&format!(r#"{{"errcode":40125,"errmsg":"invalid {target}"}}"#)),
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nstate_dir = \"state\"\n[upstream]\nurl = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\npaths = [\"/sns/\"]\nsecret_paths = [\"/sns/jscode2session\"]\n",
        fake.url()
    );
    std::fs::write(dir.path().join("wxgate.toml"), text).unwrap();
    let child = Child::start(wxgate(dir.path(), &["serve"]).env("WXGATE_LOG", "trace"));
    let addr = child.addr().await;
    let admin = child.admin_addr().await;
    for target in ["/sns/jscode2session?js_code=c", "/sns/jscode2session?js_code=breaks"] {
        Raw::to(addr).await.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    }
    for page in ["/calls", "/status", "/config", "/metrics", "/"] {
        let answer = Raw::to(admin).await.ask(format!("GET {page} HTTP/1.1\r\nHost: {admin}\r\n\r\n")).await;
        assert!(answer.status == 200 && !answer.text().contains(SECRET), "{page}");
    }
    child.line("upstream-unreachable").await;
    let said = child.stderr();
    assert!(said.contains("/sns/jscode2session") && !said.contains(SECRET), "{said}");
}

#[tokio::test]
async fn check_names_the_paths_that_get_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "state_dir = \"state\"\n[[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\nsecret_paths = [\"/cgi-bin/clear_quota/v2\", \"/sns/jscode2session\"]\n"
    );
    std::fs::write(dir.path().join("wxgate.toml"), text).unwrap();
    let said = run(&mut wxgate(dir.path(), &["check", "--offline"])).await;
    assert!(
        said.stdout.contains("puts the secret into /cgi-bin/clear_quota/v2 /sns/jscode2session"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("none of the account's `paths` admits it"), "{}", said.stdout);
    assert!(!said.stdout.contains(SECRET));
}
