//! Answers the requests of the admin listener: gate, route, answer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::gate::{self, Decision};
use super::json as shapes;
use super::page;
use super::routes::{self, Found, Route};
use super::sources::{Sources, lock};
use crate::credential::Renewal;
use crate::errcodes::{self, Facts, Lang};
use crate::listener::{CallerBody, Handler, Limits, Rejection};
use crate::metrics::text;
use crate::proxy::{ConsoleAnswer, ConsoleCall};

/// Connections at one moment.
const MAX_CONNECTIONS: usize = 64;
/// The largest body of a request: a console call.
const MAX_BODY: usize = 2 << 20;
/// The largest answer of a console call that is shown.
const MAX_ANSWER: usize = 4 << 20;
/// How long a refresh by hand is waited for.
const REFRESH_WAIT: Duration = Duration::from_secs(15);
/// How long a console call may take in all.
const CALL_WAIT: Duration = Duration::from_secs(120);
/// How long a reload is waited for.
const RELOAD_WAIT: Duration = Duration::from_secs(60);

/// What has changed with a reload, or what is wrong with the new configuration.
pub type Reloaded = Result<Vec<String>, Vec<String>>;

/// Whoever reads the configuration again is asked with one of these, to be answered when that is over.
pub type ReloadRequest = oneshot::Sender<Reloaded>;

/// Makes console calls: on this thread, by the configuration in force.
pub type Console = Rc<dyn Fn(String, ConsoleCall) -> Pin<Box<dyn Future<Output = Option<ConsoleAnswer>>>>>;

/// The admin listener's handler.
#[derive(Clone)]
pub struct Server {
    /// What it shows.
    pub sources: Arc<Sources>,
    /// Makes console calls.
    pub console: Console,
    /// Whom a reload is asked of.
    pub reload: mpsc::Sender<ReloadRequest>,
}

type Answer = Response<Full<Bytes>>;

impl<P: 'static> Handler<P> for Server {
    type Body = Full<Bytes>;

    fn limits(&self) -> Limits {
        Limits {
            max_connections: MAX_CONNECTIONS,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_header_bytes: 32 << 10,
        }
    }

    fn handle(&self, request: Request<CallerBody>, _: P) -> impl Future<Output = Answer> + use<P> {
        let server = self.clone();
        let (parts, body) = request.into_parts();
        async move {
            let mut answer = server.answer(&parts, body).await;
            if parts.method == Method::HEAD {
                let length = http_body::Body::size_hint(answer.body()).exact().unwrap_or(0);
                answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                *answer.body_mut() = Full::default();
            }
            answer
        }
    }

    fn reject(&self, rejection: Rejection, _: P) -> Answer {
        let status = match rejection {
            Rejection::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            Rejection::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Rejection::Head(_) => StatusCode::BAD_REQUEST,
        };
        let mut answer = refusal(status, "bad-request", rejection.text());
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

impl Server {
    async fn answer(&self, parts: &Parts, body: CallerBody) -> Answer {
        let rules = self.sources.rules.load_full();
        let trusted = match gate::decide(&rules, &parts.method, &parts.uri, &parts.headers) {
            Decision::Admit { trusted } => trusted,
            Decision::Unauthorized => {
                let words =
                    "show the key of [admin]: as the password of Basic, as Bearer, or in X-Wxgate-Key";
                let mut answer = refusal(StatusCode::UNAUTHORIZED, "unauthorized", words);
                let challenge = HeaderValue::from_static("Basic realm=\"wxgate\", charset=\"UTF-8\"");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                return answer;
            }
            Decision::Forbidden(why) => return refusal(StatusCode::FORBIDDEN, "forbidden", why),
        };
        let (route, account) = match routes::find(&parts.method, parts.uri.path()) {
            Found::Route(route, account) => (route, account),
            Found::Method(method) => {
                let words = format!("this path takes {method}");
                let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "method", &words);
                let allow = if *method == Method::GET { "GET, HEAD" } else { "POST" };
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                return answer;
            }
            Found::Nothing => {
                return refusal(StatusCode::NOT_FOUND, "not-found", "the admin listener has no such path");
            }
        };
        match route {
            Route::Live => plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            Route::Ready => self.ready(parts, trusted),
            Route::Metrics => plain(StatusCode::OK, text::CONTENT_TYPE, text::encode(self.sources.look())),
            Route::Status => json_answer(StatusCode::OK, &shapes::status(&self.sources.view())),
            Route::Calls => self.calls(parts),
            Route::Config => {
                json_answer(StatusCode::OK, &json!({ "values": self.sources.in_force.load().settings }))
            }
            Route::Page => self.page(parts),
            Route::Refresh => self.refresh(parts, account).await,
            Route::Call => self.call(parts, account, body).await,
            Route::Reload => self.read_again().await,
        }
    }

    fn ready(&self, parts: &Parts, trusted: bool) -> Answer {
        let view = self.sources.view();
        let serving = view.phase == super::view::Phase::Serving;
        let asked = parameter(parts, "account");
        let accounts: Vec<_> = match &asked {
            Some(name) => view.account(name).into_iter().collect(),
            None => view.accounts.iter().collect(),
        };
        let all = || !accounts.is_empty() && accounts.iter().all(|account| account.state.can_serve());
        let ready = match parameter(parts, "strict").is_some() || asked.is_some() {
            true => serving && all(),
            false => view.ready(),
        };
        let status = match (ready, trusted && asked.is_some() && accounts.is_empty()) {
            (_, true) => StatusCode::NOT_FOUND,
            (true, _) => StatusCode::OK,
            (false, _) => StatusCode::SERVICE_UNAVAILABLE,
        };
        match trusted {
            true => json_answer(status, &shapes::ready(ready, &accounts)),
            // A stranger learns the status alone.
            false => json_answer(status, &json!({ "ready": ready })),
        }
    }

    fn calls(&self, parts: &Parts) -> Answer {
        let in_force = self.sources.in_force.load();
        let appid = |name: &str| in_force.account(name)?.appid.as_deref();
        let calls = self.sources.calls.last();
        json_answer(StatusCode::OK, &shapes::calls(&calls, language(parts), appid))
    }

    fn page(&self, parts: &Parts) -> Answer {
        let Some(nonce) = nonce() else {
            return refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the system has no random numbers",
            );
        };
        let (view, calls) = (self.sources.view(), self.sources.calls.last());
        let minutes = lock(&self.sources.history).minutes(&self.sources.metrics.totals());
        let data = page::Data { view: &view, minutes: &minutes, calls: &calls };
        let html = page::render(&data, language(parts), &nonce);
        let mut answer = plain(StatusCode::OK, "text/html; charset=utf-8", html);
        if let Ok(policy) = HeaderValue::from_str(&page::policy(&nonce)) {
            answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-language"));
        answer
    }

    async fn refresh(&self, parts: &Parts, name: &str) -> Answer {
        let generation = match parameter(parts, "generation").map(|text| text.parse::<u64>()) {
            None => None,
            Some(Ok(generation)) => Some(generation),
            Some(Err(_)) => {
                return refusal(StatusCode::BAD_REQUEST, "bad-request", "`generation` is a whole number");
            }
        };
        let reader = self.sources.in_force.load().account(name).map(|account| account.token.clone());
        let Some(reader) = reader else { return no_account() };
        let Some(reader) = reader else {
            let words =
                "this account has no token to refresh: with token_api = \"none\" callers keep their own";
            return refusal(StatusCode::BAD_REQUEST, "bad-request", words);
        };
        let renewal = reader.refresh_now(generation, REFRESH_WAIT).await;
        // A browser without script goes back to where it was.
        let from_form = parts.headers.get(header::ACCEPT).is_some_and(|accept| {
            accept
                .to_str()
                .is_ok_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/html")))
        });
        if from_form {
            let mut answer = plain(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/#accounts"));
            return answer;
        }
        match renewal {
            Renewal::Newer(token) => {
                let left = token.end.saturating_duration_since(tokio::time::Instant::now());
                json_answer(
                    StatusCode::OK,
                    &json!({
                        "account": name,
                        "generation": token.generation,
                        "expires_in_seconds": left.as_secs(),
                    }),
                )
            }
            Renewal::Limited => {
                let words =
                    "no refresh now: the limit that protects WeChat's quota is reached; try again later";
                refusal(StatusCode::TOO_MANY_REQUESTS, "refresh-limited", words)
            }
            Renewal::Same => {
                let words =
                    "WeCom handed out the current token again: it issues another one when this one ends";
                refusal(StatusCode::CONFLICT, "same-token", words)
            }
            Renewal::Failed => {
                let lang = language(parts);
                let view = self.sources.view();
                let why = view.account(name).and_then(|account| account.reason(lang));
                let error = view.account(name).and_then(|account| account.present_error().cloned());
                let words =
                    why.unwrap_or_else(|| "the refresh failed, or took too long; see the log".to_owned());
                let errcode = error.map(|error| error.errcode);
                json_answer(
                    StatusCode::BAD_GATEWAY,
                    &json!({ "error": "refresh-failed", "message": words, "errcode": errcode }),
                )
            }
        }
    }

    async fn call(&self, parts: &Parts, name: &str, body: CallerBody) -> Answer {
        if self.sources.in_force.load().account(name).is_none() {
            return no_account();
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                let words = "the body is over 2 MiB, or broke off";
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "too-large", words);
            }
        };
        let call = match console_call(&body) {
            Ok(call) => call,
            Err(words) => return refusal(StatusCode::BAD_REQUEST, "bad-request", &words),
        };
        let began = Instant::now();
        let told = async {
            let answer = (self.console)(name.to_owned(), call).await?;
            let (head, body) = answer.response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Some((head, body, answer.errcode, answer.code, answer.attempts))
        };
        match tokio::time::timeout(CALL_WAIT, told).await {
            Ok(Some((head, Ok(body), errcode, code, attempts))) => {
                let in_force = self.sources.in_force.load();
                let account = in_force.account(name);
                let product = account.map(|account| account.product).unwrap_or_default();
                let appid = account.and_then(|account| account.appid.as_deref());
                let body = body.to_bytes();
                let errmsg = serde_json::from_slice::<Value>(&body).ok();
                let errmsg = errmsg.as_ref().and_then(|body| body.get("errmsg")).and_then(Value::as_str);
                let known = code
                    .and_then(|code| errcodes::own(code).or_else(|| errcodes::retry(code)))
                    .or_else(|| errcodes::errcode(product, errcode?));
                let explain = known.map(|entry| entry.explain(language(parts), Facts { appid, errmsg }));
                let mut told = json!({
                    "status": head.status.as_u16(),
                    "headers": fields(&head.headers),
                    "errcode": errcode,
                    "attempts": attempts,
                    "ms": shapes::milliseconds(began.elapsed()),
                    "explain": explain,
                });
                match std::str::from_utf8(&body) {
                    Ok(text) => told["body"] = text.into(),
                    Err(_) => told["body_base64"] = BASE64_STANDARD.encode(&body).into(),
                }
                json_answer(StatusCode::OK, &told)
            }
            Ok(Some(_)) => {
                let words = "the answer is over 4 MiB, or broke off; use curl through the proxy";
                refusal(StatusCode::BAD_GATEWAY, "too-large", words)
            }
            Ok(None) => no_account(),
            Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", "the call took longer than 120 s"),
        }
    }

    async fn read_again(&self) -> Answer {
        let (done, is_done) = oneshot::channel();
        let asked = async {
            self.reload.send(done).await.ok()?;
            is_done.await.ok()
        };
        match tokio::time::timeout(RELOAD_WAIT, asked).await {
            Ok(Some(Ok(changed))) => json_answer(StatusCode::OK, &json!({ "changed": changed })),
            Ok(Some(Err(errors))) => json_answer(
                StatusCode::BAD_REQUEST,
                &json!({ "error": "configuration", "message": errors.join("\n"), "errors": errors }),
            ),
            Ok(None) => {
                refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "there is nothing to read again")
            }
            Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", "the reload takes long; see the log"),
        }
    }
}

/// The body of `POST /accounts/NAME/call`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: Option<String>,
    path: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Option<String>,
}

fn console_call(body: &[u8]) -> Result<ConsoleCall, String> {
    // serde's messages name a place and a type, and may hold a value of the operator's own request.
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        format!("the body is not {{\"method\", \"path\", \"query\", \"headers\", \"body\"}} in JSON: {error}")
    })?;
    let method = asked.method.unwrap_or_else(|| "GET".to_owned()).to_ascii_uppercase();
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| "`method` is no HTTP method".to_owned())?;
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (name, value) = field.ok_or_else(|| "a header has a malformed name or value".to_owned())?;
        headers.append(name, value);
    }
    let body = asked.body.map_or_else(Bytes::new, Bytes::from);
    Ok(ConsoleCall { method, path: asked.path, query: asked.query, headers, body })
}

/// Fields as an object, text to text; several of a name are joined as HTTP does.
fn fields(headers: &HeaderMap) -> Value {
    let mut fields = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        fields.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().join(", ").into());
    }
    fields.into()
}

/// The value of a query parameter; `""` for one without a value.
fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `?lang=` if it says one, else `Accept-Language`, by its weights.
fn language(parts: &Parts) -> Lang {
    let of_tag = |tag: &str| {
        let tag = tag.trim().to_ascii_lowercase();
        match tag.split('-').next() {
            Some("zh") => Some(Lang::Zh),
            Some("en") => Some(Lang::En),
            _ => None,
        }
    };
    if let Some(lang) = parameter(parts, "lang").and_then(|lang| of_tag(&lang)) {
        return lang;
    }
    let accepted =
        parts.headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let mut best = (0.0, Lang::En);
    for item in accepted.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';');
        let lang = parts.next().and_then(of_tag);
        let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f64>().ok());
        let weight = weight.unwrap_or(1.0);
        if let Some(lang) = lang
            && weight > best.0
        {
            best = (weight, lang);
        }
    }
    best.1
}

/// A number that nobody can guess.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64_STANDARD.encode(bytes))
}

fn no_account() -> Answer {
    refusal(StatusCode::NOT_FOUND, "not-found", "there is no account of this name")
}

fn refusal(status: StatusCode, error: &str, message: &str) -> Answer {
    json_answer(status, &json!({ "error": error, "message": message }))
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    plain(status, "application/json; charset=utf-8", format!("{body}\n"))
}

/// An answer with the fields that all of them have: nothing is kept by caches, framed, or read by other origins.
fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
