//! The token plane over real sockets and real files. Each fake upstream is named by its fault.

#![allow(clippy::unwrap_used, reason = "clippy does not see that the helpers of a test are tests too")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wxgate::config::Upstream;
use wxgate::credential::policy::{STABLE_TOKEN, TOKEN};
use wxgate::credential::{
    Absent, CredentialId, FetchAnswer, FetchMode, Issuer, IssuerClient, Policy, Renewal, TaskSpec, spawn,
};
use wxgate::secret::Secret;
use wxgate::store::file::FileStore;
use wxgate::store::{Store, StoredCredential, StoredState};
use wxgate::upstream::tls::Trust;
use wxgate::upstream::{ApiHost, BaseUrl, Endpoint};

use crate::support::nobody::nobody;

const LIMIT: Duration = Duration::from_secs(5);
const SECRET: &str = "s3cr3t/with+signs&more";

/// What a fake upstream saw.
#[derive(Debug, Clone)]
struct Seen {
    line: String,
    headers: http::HeaderMap,
    body: String,
    peer: std::net::IpAddr,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// Serves `answer` on loopback until the test's runtime ends.
async fn upstream(
    answer: impl Fn(usize, &Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> (Upstream, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (log, answer) = (Log::default(), Arc::new(answer));
    let seen = log.clone();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (seen, answer) = (seen.clone(), answer.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let (seen, answer) = (seen.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let one = Seen {
                            line: format!("{} {}", head.method, head.uri),
                            headers: head.headers,
                            body: String::from_utf8_lossy(&body).into_owned(),
                            peer: peer.ip(),
                        };
                        let n = {
                            let mut all = seen.lock().unwrap();
                            all.push(one.clone());
                            all.len()
                        };
                        Ok::<_, std::convert::Infallible>(answer(n, &one))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (settings(port), log)
}

fn settings(port: u16) -> Upstream {
    Upstream {
        url: BaseUrl::new(false, "127.0.0.1", port).unwrap(),
        egress_ip: None,
        ca: None,
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(5),
        max_connections: 1024,
        fallbacks: Vec::new(),
        proxy: None,
        strip: Vec::new(),
        warm_connections: 0,
    }
}

fn issuer(upstream: &Upstream, policy: &Policy) -> Arc<dyn Issuer> {
    let (base, egress) = (upstream.url.clone(), upstream.egress_ip);
    let endpoint = Endpoint { base, egress, proxy: None, trust: Trust::load(None).unwrap() };
    let host = ApiHost::new(endpoint, Vec::new(), upstream.settings(1));
    Arc::from((policy.issuer)(IssuerClient::new(&host, "wx1", Secret::new(SECRET.to_owned()))))
}

fn text(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

fn passing(answer: FetchAnswer) -> String {
    match answer {
        FetchAnswer::Passing { what } => harmless(what),
        other => panic!("{other:?}"),
    }
}

fn unsent(answer: FetchAnswer) -> String {
    match answer {
        FetchAnswer::Unsent { what } => harmless(what),
        other => panic!("{other:?}"),
    }
}

fn harmless(what: String) -> String {
    assert!(!what.contains("s3cr3t") && !what.contains("secret="), "{what}");
    what
}

#[tokio::test]
async fn the_token_call_is_a_get_with_everything_encoded() {
    let (settings, log) = upstream(|_, _| text(200, r#"{"access_token":"T","expires_in":7200}"#)).await;
    let answer = issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await;
    assert!(
        matches!(&answer, FetchAnswer::Issued { value, expires_in: Some(7200) } if value.expose() == "T")
    );
    let seen = log.lock().unwrap()[0].clone();
    assert_eq!(
        seen.line,
        "GET /cgi-bin/token?grant_type=client_credential&appid=wx1&secret=s3cr3t%2Fwith%2Bsigns%26more"
    );
}

#[tokio::test]
async fn the_stable_call_is_a_post_of_json_with_a_length() {
    let (settings, log) = upstream(|_, _| text(200, r#"{"access_token":"T","expires_in":345}"#)).await;
    let issuer = issuer(&settings, &STABLE_TOKEN);
    for (how, force) in [(FetchMode::Normal, false), (FetchMode::Forced, true)] {
        assert!(matches!(issuer.fetch(how).await, FetchAnswer::Issued { expires_in: Some(345), .. }));
        let seen = log.lock().unwrap().pop().unwrap();
        assert_eq!(seen.line, "POST /cgi-bin/stable_token");
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
        assert!(!seen.headers.contains_key("transfer-encoding"));
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        let wanted = serde_json::json!({
            "grant_type": "client_credential", "appid": "wx1", "secret": SECRET, "force_refresh": force,
        });
        assert_eq!(body, wanted);
    }
}

#[tokio::test]
async fn an_upstream_that_redirects_gets_no_second_call() {
    let (settings, log) = upstream(|_, _| {
        let mut answer = text(302, "");
        answer.headers_mut().insert("location", "/elsewhere".parse().unwrap());
        answer
    })
    .await;
    assert!(passing(issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await).contains("redirect"));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_of_the_wrong_kind_are_passing_failures() {
    for (status, body, word) in [
        (500, "oops".to_owned(), "500"),
        (503, String::new(), "503"),
        (404, "<html>".to_owned(), "upstream.url"),
        (412, String::new(), "412"),
        (200, String::new(), "empty"),
        (200, "<html>".to_owned(), "JSON"),
        (200, "x".repeat(70_000), "64 KiB"),
    ] {
        let (settings, _) = upstream(move |_, _| text(status, body.clone())).await;
        let what = passing(issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await);
        assert!(what.contains(word), "{status}: {what}");
    }
}

#[tokio::test]
async fn an_upstream_that_repeats_the_secret_does_not_get_it_into_our_words() {
    let (settings, _) = upstream(|_, seen| {
        let said = format!("{} and {SECRET}", seen.line);
        text(200, serde_json::json!({"errcode": 40125, "errmsg": said}).to_string())
    })
    .await;
    match issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await {
        FetchAnswer::Refused { errcode: 40125, errmsg } => assert!(!errmsg.contains("s3cr3t"), "{errmsg}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_upstream_that_hangs_or_closes_or_is_not_there_is_a_passing_failure() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hanging = settings(silent.local_addr().unwrap().port());
    hanging.response_timeout = Duration::from_millis(200);
    let what = passing(issuer(&hanging, &TOKEN).fetch(FetchMode::Normal).await);
    assert!(what.contains("did not answer in time"), "{what}");

    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closing.local_addr().unwrap().port();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    let what = passing(issuer(&settings(port), &STABLE_TOKEN).fetch(FetchMode::Normal).await);
    assert!(what.contains("broke"), "{what}");

    let (_held, address) = nobody();
    let what = unsent(issuer(&settings(address.port()), &TOKEN).fetch(FetchMode::Normal).await);
    assert!(what.contains("cannot connect") && what.contains("refused"), "{what}");
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_named_without_the_secret() {
    let (mut settings, _) = upstream(|_, _| text(200, "")).await;
    settings.url = BaseUrl::new(true, "127.0.0.1", settings.url.port()).unwrap();
    let what = unsent(issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await);
    assert!(what.contains("cannot connect to https://127.0.0.1") && what.contains("TLS"), "{what}");
}

#[tokio::test]
async fn token_calls_leave_from_the_egress_ip_and_only_to_its_address_family() {
    let (mut settings, log) = upstream(|_, _| text(200, r#"{"access_token":"T","expires_in":7200}"#)).await;
    settings.egress_ip = Some("127.0.0.2".parse().unwrap());
    issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await;
    // `localhost` may resolve to ::1 first; that is not tried with an IPv4 egress address.
    settings.url = BaseUrl::new(false, "localhost", settings.url.port()).unwrap();
    issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await;
    let peers: Vec<_> = log.lock().unwrap().iter().map(|seen| seen.peer.to_string()).collect();
    assert_eq!(peers, ["127.0.0.2", "127.0.0.2"]);
    settings.url = BaseUrl::new(false, "::1", settings.url.port()).unwrap();
    assert!(unsent(issuer(&settings, &TOKEN).fetch(FetchMode::Normal).await).contains("[::1]"));
}

/// Readers on a runtime of their own threads, the task on another one's single thread, a real file.
#[test]
fn readers_on_other_threads_share_one_fetch_and_a_restart_fetches_nothing() {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let data = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (settings, log) =
        data.block_on(upstream(|n, _| text(200, format!(r#"{{"access_token":"T/{n}","expires_in":7200}}"#))));
    let spec = TaskSpec {
        id: CredentialId::access_token("main"),
        appid: "wx1".to_owned(),
        policy: &TOKEN,
        limit: TOKEN.limit,
        turn: 0.0,
        store_counts: Arc::default(),
    };
    let open = async || {
        Arc::new(FileStore::open(dir.path(), TOKEN.store_key("main", "wx1", &settings.url)).await.unwrap())
    };
    let (ask, asked) = tokio::sync::oneshot::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (first_spec, store, first_issuer) = (spec.clone(), data.block_on(open()), issuer(&settings, &TOKEN));
    let control_thread = std::thread::spawn(move || {
        control.block_on(async {
            let (reader, task) = spawn(first_spec, first_issuer, store, None);
            ask.send(reader).unwrap();
            stopped.await.unwrap();
            task.shutdown().await;
        });
        control
    });
    data.block_on(async {
        let reader = asked.await.unwrap();
        let token = reader.first(LIMIT).await.unwrap();
        assert_eq!(token.encoded.expose(), "T%2F1");
        let all: Vec<_> = (0..500)
            .map(|_| {
                let (reader, token) = (reader.clone(), token.clone());
                tokio::spawn(async move { reader.renew(&token, "/cgi-bin/user/get", LIMIT).await })
            })
            .collect();
        for one in all {
            assert!(matches!(one.await.unwrap(), Renewal::Newer(token) if token.generation == 2));
        }
        assert_eq!(log.lock().unwrap().len(), 2);
    });
    stop.send(()).unwrap();
    let control = control_thread.join().unwrap();
    control.block_on(async {
        let (reader, task) = spawn(spec, issuer(&settings, &TOKEN), open().await, None);
        let token = reader.first(LIMIT).await.unwrap();
        assert_eq!((token.generation, token.value.expose()), (2, "T/2"));
        task.shutdown().await;
    });
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refusal_reaches_the_reader_with_number_and_text() {
    let (settings, _) =
        upstream(|_, _| text(200, r#"{"errcode":40164,"errmsg":"invalid ip 127.0.0.1, not in whitelist"}"#))
            .await;
    let dir = tempfile::tempdir().unwrap();
    let key = STABLE_TOKEN.store_key("main", "wx1", &settings.url);
    let store = Arc::new(FileStore::open(dir.path(), key).await.unwrap());
    let spec = TaskSpec {
        id: CredentialId::access_token("main"),
        appid: "wx1".to_owned(),
        policy: &STABLE_TOKEN,
        limit: STABLE_TOKEN.limit,
        turn: 0.0,
        store_counts: Arc::default(),
    };
    let (reader, task) = spawn(spec, issuer(&settings, &STABLE_TOKEN), store, None);
    let absent = reader.first(LIMIT).await.unwrap_err();
    assert!(matches!(absent, Absent::Refused { errcode: 40164, errmsg } if errmsg.contains("whitelist")));
    task.shutdown().await;
}

const CHILD_DIR: &str = "WXGATE_TEST_STORE_DIR";

async fn open_for_child(dir: &Path) -> FileStore {
    let upstream = BaseUrl::new(true, "api.weixin.qq.com", 443).unwrap();
    FileStore::open(dir, TOKEN.store_key("main", "wx1", &upstream)).await.unwrap()
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
#[ignore = "run by `a_writer_killed_at_any_moment_leaves_a_whole_file`"]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = open_for_child(Path::new(&dir)).await;
    for generation in store.load().await.map_or(1, |state| state.generation + 1).. {
        // Lengths differ, so that a torn file would not parse by luck.
        let value = format!("{generation}-").repeat(1 + usize::try_from(generation % 200).unwrap());
        let credential = StoredCredential {
            value: Secret::new(value),
            issued_at: SystemTime::now(),
            expires_at: SystemTime::now() + Duration::from_secs(7200),
            expires_in: Duration::from_secs(7200),
            began_at: SystemTime::now(),
        };
        let state = StoredState { generation, credential: Some(credential), ..StoredState::default() };
        store.publish(state, generation - 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_killed_at_any_moment_leaves_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..40_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["token::child_that_writes_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // However busy the machine is, the first child gets to write.
        let written = dir.path().join("wx1.json");
        let until = Instant::now() + Duration::from_secs(60);
        while round == 0 && !written.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Only the moment of the kill depends on this, and any moment has to do.
        std::thread::sleep(Duration::from_micros(5_000 + spread(round) % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open_for_child(dir.path()).await;
        let state = store.load().await;
        let generation = state.as_ref().map_or(0, |state| state.generation);
        assert!(generation >= last, "round {round}: {generation} after {last}");
        if let Some(state) = state {
            let value = state.credential.unwrap().value;
            assert!(value.expose().starts_with(&format!("{generation}-")), "round {round}");
        }
        last = generation;
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(
            names.iter().all(|name| name == "wx1.json" || name == ".wx1.lock"),
            "round {round}: {names:?}"
        );
    }
    assert!(last > 0, "no child ever wrote anything");
}

/// A fixed spread of delays: the same run twice kills at about the same moments.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33
}
