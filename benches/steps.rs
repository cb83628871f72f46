//! What the pure steps of a request cost, each by itself: bytes in, a decision or bytes out.
//!
//! The inputs are calls of the WeChat API as real programs make them, and its answers. No socket, no TLS, no
//! runtime: what a whole request costs is measured by `end-to-end`. README.md beside this file says how to run
//! both and how to read their figures.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use tokio::time::Instant;
use wxgate::credential::{Credential, CredentialId};
use wxgate::errcodes::Product;
use wxgate::proxy::route::{PathPattern, Routes, Rules, table_of};
use wxgate::secret::Secret;

fn main() {
    // Enough calls in a sample that the clock's steps do not show, and enough samples for a steady median; what
    // the command line says goes before.
    divan::Divan::default().sample_size(200).min_time(Duration::from_millis(500)).config_with_args().main();
}

/// EasyWeChat asks for a follower, and sends the placeholder that it was given for a token.
const SDK_GET: &str = "GET /cgi-bin/user/info?access_token=wxgate-placeholder-this-opens-nothing-the-proxy-puts-the-\
    real-access-token-into-every-call&openid=o6_bmjrPTlm6_2sgVt7hMZOPfL2M&lang=zh_CN HTTP/1.1\r\n\
    Host: wxgate:8080\r\n\
    User-Agent: GuzzleHttp/7\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: close\r\n\r\n";

/// A customer message from PHP's curl extension, without any token.
const PHP_POST: &str = "POST /cgi-bin/message/custom/send HTTP/1.1\r\n\
    Host: wxgate:8080\r\n\
    Accept: */*\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 296\r\n\r\n";

/// A call that came through another proxy, from an app behind `http_proxy` with cookies and a zstd client.
const PROXIED_GET: &str = "GET http://api.weixin.qq.com/cgi-bin/menu/get HTTP/1.1\r\n\
    Host: api.weixin.qq.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: zh-CN,zh;q=0.9\r\n\
    Proxy-Authorization: Basic bGVnYWN5LWNtczprZXktb2YtYXBwLTktMDEyMzQ1Njc4OWFiY2RlZg==\r\n\
    Proxy-Connection: keep-alive\r\n\
    Connection: keep-alive, X-Session\r\n\
    X-Session: 7\r\n\
    Cookie: a=1\r\n\
    Cookie: b=2\r\n\
    Via: 1.1 squid\r\n\
    X-Forwarded-For: 10.1.2.3, 10.1.0.9\r\n\
    X-Forwarded-Proto: http\r\n\
    X-Real-IP: 10.1.2.3\r\n\r\n";

/// The fields of nearly every answer of the API.
const JSON_ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Connection: keep-alive\r\n\
    Content-Type: application/json; encoding=utf-8\r\n\
    Date: Sat, 21 Nov 2026 08:00:00 GMT\r\n\
    Content-Length: 457\r\n\r\n";

/// What user/info answers.
const FOLLOWER: &str = concat!(
    r#"{"subscribe":1,"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","nickname":"Band","sex":1,"#,
    r#""language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"China","#,
    r#""headimgurl":"http://thirdwx.example/mmopen/g3MonUZtNHkdmzicIlibx6iaFqAc56vxLSUfpb6n5WKSYVY0ChQKki"#,
    r#"aJSgQ1dZuTOgvLLrhJbERQQ4eMsv84eavHiaiceqxibJxCfHe/0","subscribe_time":1382694957,"remark":"","#,
    r#""groupid":0,"tagid_list":[128,2],"subscribe_scene":"ADD_SCENE_QR_CODE","qr_scene":98765,"#,
    r#""qr_scene_str":""}"#,
);

const DONE: &str = r#"{"errcode":0,"errmsg":"ok","msgid":200228332}"#;

const DEAD_TOKEN: &str = concat!(
    r#"{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest,"#,
    r#" could get access_token by getStableAccessToken,"#,
    r#" more details at https://mmbizurl.cn/s/JtxxFh33r rid: 6560c1f2-1d2a3b4c-5e6f7a8b"}"#,
);

/// A token as WeChat issues them: 157 letters, digits, `-` and `_`.
fn token() -> Credential {
    let value: String = (0..157).map(|n| char::from(b"aZ9-_bY8cX7"[n % 11])).collect();
    Credential::new(7, Secret::new(value), Instant::now() + Duration::from_secs(7200), Instant::now())
}

/// The fields of a head.
fn fields(head: &str) -> HeaderMap {
    let mut all = HeaderMap::new();
    for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(": ")) {
        all.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    }
    all
}

/// A head as hyper hands it over.
struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Request {
    fn new(head: &str) -> Self {
        let mut words = head.split(' ');
        let mut word = || words.next().expect("a request line");
        Self {
            method: word().parse().expect("a method"),
            uri: word().parse().expect("a target"),
            headers: fields(head),
        }
    }

    fn admit(&self) -> wxgate::proxy::admit::Target<'_, '_> {
        wxgate::proxy::admit::admit(&mut self.method.clone(), &self.uri, Version::HTTP_11, &self.headers)
            .expect("a request that is admitted")
    }
}

fn rules(host: Option<String>, prefix: &str) -> Rules {
    Rules {
        hosts: host.into_iter().collect(),
        prefix: prefix.to_owned(),
        paths: vec!["/cgi-bin/".to_owned(), "/wxa/".to_owned()],
        untouched: Vec::new(),
        secret_paths: Vec::new(),
        tickets: false,
        sealed: Vec::new(),
        table: table_of(Product::Weixin, true),
    }
}

/// Strict framing: where a head ends, and how its body is framed.
mod framing {
    use wxgate::http1::chunks::Chunks;
    use wxgate::http1::head::{Head, end_of_head};

    use super::*;

    fn read(head: &str) -> Head {
        let end = end_of_head(head.as_bytes(), 0).expect("line ends of one kind").end.expect("a whole head");
        wxgate::http1::head::read(&head.as_bytes()[..end]).expect("a head that is taken")
    }

    #[divan::bench]
    fn head_of_an_sdk_get() -> Head {
        read(black_box(SDK_GET))
    }

    #[divan::bench]
    fn head_of_a_php_post() -> Head {
        read(black_box(PHP_POST))
    }

    #[divan::bench]
    fn head_of_a_proxied_get() -> Head {
        read(black_box(PROXIED_GET))
    }

    /// 64 KiB of an upload in chunks of 8 KiB, as Node.js and Python send what has no length.
    #[divan::bench]
    fn chunked_upload_of_64_kib(bencher: Bencher<'_, '_>) {
        let chunk = [b"2000\r\n".as_slice(), &[0xd8; 0x2000], b"\r\n"].concat();
        let body = [chunk.repeat(8), b"0\r\n\r\n".to_vec()].concat();
        bencher.bench(|| {
            let mut chunks = Chunks::default();
            chunks.follow(black_box(&body)).expect("well-formed chunks");
            assert!(chunks.done());
        });
    }
}

/// Whether host, path and query can be read in one way only.
mod admit {
    use super::*;

    #[divan::bench]
    fn sdk_get(bencher: Bencher<'_, '_>) {
        let request = Request::new(SDK_GET);
        bencher.bench(|| black_box(&request).admit().path.len());
    }

    #[divan::bench]
    fn absolute_target(bencher: Bencher<'_, '_>) {
        let request = Request::new(PROXIED_GET);
        bencher.bench(|| black_box(&request).admit().path.len());
    }
}

/// Which account, and what kind of call.
mod route {
    use super::*;

    fn routed(bencher: Bencher<'_, '_>, accounts: &[Rules]) {
        let request = Request::new(SDK_GET);
        let target = request.admit();
        let routes = Routes::new(accounts.iter());
        bencher.bench(|| {
            let (index, path) =
                routes.find(black_box(&target.host), black_box(&target.path)).expect("an account");
            accounts[index].action(path).expect("a path that may be called")
        });
    }

    #[divan::bench]
    fn one_account(bencher: Bencher<'_, '_>) {
        routed(bencher, &[rules(None, "")]);
    }

    /// Twenty by host, twenty by prefix, and the plain one that the call belongs to.
    #[divan::bench]
    fn forty_one_accounts(bencher: Bencher<'_, '_>) {
        let by_host = (0..20).map(|n| rules(Some(format!("shop{n}.example.com")), ""));
        let by_prefix = (0..20).map(|n| rules(None, &format!("/shop{n}")));
        routed(bencher, &by_host.chain(by_prefix).chain([rules(None, "")]).collect::<Vec<_>>());
    }
}

/// Who calls, and whether that caller may.
mod callers {
    use wxgate::config::{Allow, Caller};
    use wxgate::proxy::authorize::{RequestedCall, authorize};

    use super::*;

    /// Ten apps with a network, a key and rules each; the proxied call shows the last key.
    fn ten() -> Vec<Caller> {
        let allow = |method, path| Allow { method, path: PathPattern::parse(path).expect("a pattern") };
        let caller = |n: u32| Caller {
            name: format!("app-{n}").into(),
            from: vec!["10.1.0.0/16".parse().expect("a network")],
            keys: vec![Secret::new(format!("key-of-app-{n}-0123456789abcdef"))],
            rate: None,
            concurrent: None,
            accounts: Some(vec!["main".to_owned()]),
            allow: Some(vec![
                allow(Some(Method::POST), "/cgi-bin/message/*"),
                allow(Some(Method::GET), "/cgi-bin/*"),
            ]),
            real_token: false,
        };
        (0..10).map(caller).collect()
    }

    fn judged(bencher: Bencher<'_, '_>, callers: &[Caller], head: &str) {
        let request = Request::new(head);
        let peer = IpAddr::from([10, 1, 2, 3]);
        let asked = RequestedCall {
            account: "main",
            method: &request.method,
            path: "/cgi-bin/menu/get",
            asks_for_token: false,
        };
        bencher.bench(|| {
            authorize(black_box(callers), black_box(peer), black_box(&request.headers), Some(asked))
                .expect("a call that is allowed")
                .is_some()
        });
    }

    #[divan::bench]
    fn none_configured(bencher: Bencher<'_, '_>) {
        judged(bencher, &[], SDK_GET);
    }

    #[divan::bench]
    fn key_of_the_last_of_ten(bencher: Bencher<'_, '_>) {
        judged(bencher, &ten(), PROXIED_GET);
    }
}

/// The token of the account, and where it goes.
mod inject {
    use wxgate::credential::policy::TOKEN;
    use wxgate::credential::{FetchAnswer, FetchMode, Issuer, TaskSpec, spawn};
    use wxgate::proxy::inject::query::with_token;
    use wxgate::store::{
        Lease, Pending, PublishError, Published, Store, StoreEvent, StoredCredential, StoredState,
    };

    use super::*;

    /// The only state is a token that lasts; nothing is ever fetched or stored.
    #[derive(Debug)]
    struct Kept;

    impl Store for Kept {
        fn load(&self) -> Pending<'_, Option<StoredState>> {
            let (now, life) = (SystemTime::now(), Duration::from_secs(7200));
            let credential = StoredCredential {
                value: token().value,
                issued_at: now,
                expires_at: now + life,
                expires_in: life,
                began_at: now,
            };
            let state = StoredState { generation: 7, credential: Some(credential), ..StoredState::default() };
            Box::pin(async { Some(state) })
        }

        fn publish(&self, _: StoredState, _: u64) -> Pending<'_, Result<Published, PublishError>> {
            Box::pin(async { Ok(Published::Stored) })
        }

        fn lease(&self, _: u64) -> Pending<'_, Lease> {
            Box::pin(async { Lease::alone() })
        }

        fn watch(&self) -> Pending<'_, StoreEvent> {
            Box::pin(std::future::pending())
        }
    }

    impl Issuer for Kept {
        fn fetch(&self, _: FetchMode) -> Pending<'_, FetchAnswer> {
            Box::pin(async { FetchAnswer::Unsent { what: "there is no upstream here".to_owned() } })
        }
    }

    /// What each request does first: a look into the cell that the account's task writes.
    #[divan::bench]
    fn read_of_the_cell(bencher: Bencher<'_, '_>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (reader, _task) = runtime.block_on(async {
            let spec = TaskSpec {
                id: CredentialId::access_token("main"),
                appid: "wx0123456789abcdef".to_owned(),
                policy: &TOKEN,
                limit: TOKEN.limit,
                turn: 0.0,
                store_counts: Arc::default(),
            };
            let (reader, task) = spawn(spec, Arc::new(Kept), Arc::new(Kept), None);
            reader.first(Duration::from_secs(5)).await.expect("the stored token");
            (reader, task)
        });
        bencher.bench(|| black_box(&reader).current().expect("a token").generation);
    }

    fn injected(bencher: Bencher<'_, '_>, path: &str, query: Option<&str>) {
        let token = token();
        bencher.bench(|| with_token(black_box(path), black_box(query), token.encoded.expose().as_bytes()));
    }

    #[divan::bench]
    fn no_query(bencher: Bencher<'_, '_>) {
        injected(bencher, "/cgi-bin/message/custom/send", None);
    }

    #[divan::bench]
    fn short_query(bencher: Bencher<'_, '_>) {
        let query = "openid=o6_bmjrPTlm6_2sgVt7hMZOPfL2M&lang=zh_CN";
        injected(bencher, "/cgi-bin/user/info", Some(query));
    }

    #[divan::bench]
    fn short_query_with_a_stale_token(bencher: Bencher<'_, '_>) {
        let request = Request::new(SDK_GET);
        injected(bencher, "/cgi-bin/user/info", request.uri.query());
    }

    /// 2 KiB in sixty parameters, a third of them with names that begin as the token's could.
    #[divan::bench]
    fn long_query_with_a_stale_token(bencher: Bencher<'_, '_>) {
        let three = |n| format!("action_{n}=long2short&scene=%E5%BE%AE%E4%BF%A1{n}&%E5%90%8D={n}-0123456789");
        let query = (0..20).map(three).collect::<Vec<_>>().join("&") + "&access_token=stale";
        injected(bencher, "/cgi-bin/shorturl", Some(&query));
    }
}

/// The edits of header fields, both ways.
mod headers {
    use wxgate::proxy::{answer::headers::to_caller, inject::headers::to_upstream};

    use super::*;

    fn upstream(bencher: Bencher<'_, '_>, head: &str) {
        let (headers, host) = (fields(head), HeaderValue::from_static("api.weixin.qq.com"));
        bencher
            .with_inputs(|| headers.clone())
            .bench_refs(|headers| to_upstream(headers, Version::HTTP_11, &host));
    }

    fn caller(bencher: Bencher<'_, '_>, head: &str) {
        let (headers, token) = (fields(head), token());
        bencher.with_inputs(|| headers.clone()).bench_refs(|headers| {
            to_caller(headers, wxgate::proxy::answer::Hidden { token: Some(&token), secret: None })
        });
    }

    #[divan::bench]
    fn of_an_sdk_get(bencher: Bencher<'_, '_>) {
        upstream(bencher, SDK_GET);
    }

    #[divan::bench]
    fn of_a_php_post(bencher: Bencher<'_, '_>) {
        upstream(bencher, PHP_POST);
    }

    #[divan::bench]
    fn of_a_proxied_get(bencher: Bencher<'_, '_>) {
        upstream(bencher, PROXIED_GET);
    }

    #[divan::bench]
    fn of_an_answer(bencher: Bencher<'_, '_>) {
        caller(bencher, JSON_ANSWER);
    }

    /// A redirect that repeats the request's query: the token in it has to be masked.
    #[divan::bench]
    fn of_an_answer_that_repeats_the_token(bencher: Bencher<'_, '_>) {
        let redirect = format!(
            "HTTP/1.1 302 Found\r\n\
             Location: https://mp.weixin.qq.com/cgi-bin/showqrcode?access_token={}&ticket=gQH47joAAAAAAAAAASxo\r\n\
             Content-Length: 0\r\n\r\n",
            token().encoded.expose()
        );
        caller(bencher, &redirect);
    }
}

/// Whether an answer can be an error, and its errcode.
mod inspect {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use wxgate::proxy::inspect::errcode::{can_be_error, errcode};

    use super::*;

    fn inspected(bencher: Bencher<'_, '_>, headers: &HeaderMap, body: &[u8], right: Option<i64>) {
        let look = || {
            let coding = can_be_error(black_box(headers), Some(body.len() as u64))?;
            errcode(&coding.decode(black_box(body))?)
        };
        assert_eq!(look(), right);
        bencher.bench(look);
    }

    #[divan::bench]
    fn data_without_errcode(bencher: Bencher<'_, '_>) {
        inspected(bencher, &fields(JSON_ANSWER), FOLLOWER.as_bytes(), None);
    }

    #[divan::bench]
    fn done_with_errcode_0(bencher: Bencher<'_, '_>) {
        inspected(bencher, &fields(JSON_ANSWER), DONE.as_bytes(), Some(0));
    }

    #[divan::bench]
    fn dead_token(bencher: Bencher<'_, '_>) {
        inspected(bencher, &fields(JSON_ANSWER), DEAD_TOKEN.as_bytes(), Some(40001));
    }

    #[divan::bench]
    fn gzipped_data(bencher: Bencher<'_, '_>) {
        let mut headers = fields(JSON_ANSWER);
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let body = encoder.write_all(FOLLOWER.as_bytes()).and_then(|()| encoder.finish());
        inspected(bencher, &headers, &body.expect("writing to memory"), None);
    }

    /// The worst case: as long as an error can be, and with an errcode at its very end.
    #[divan::bench]
    fn data_of_4_kib_with_errcode_at_its_end(bencher: Bencher<'_, '_>) {
        let openids = (0..125).map(|n| format!(r#""o6_bmjrPTlm6_2sgVt7hMZOP{n:04}""#)).collect::<Vec<_>>();
        let body = format!(r#"{{"total":125,"data":{{"openid":[{}]}},"errcode":0}}"#, openids.join(","));
        inspected(bencher, &fields(JSON_ANSWER), body.as_bytes(), Some(0));
    }

    /// Too long to be an error: settled by its fields.
    #[divan::bench]
    fn data_of_64_kib(bencher: Bencher<'_, '_>) {
        inspected(bencher, &fields(JSON_ANSWER), FOLLOWER.repeat(140).as_bytes(), None);
    }

    #[divan::bench]
    fn picture(bencher: Bencher<'_, '_>) {
        let headers =
            fields("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1048576\r\n\r\n");
        inspected(bencher, &headers, &[0xff; 1 << 20], None);
    }
}
