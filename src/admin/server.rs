//! Answers the requests of the admin listener: gate, route, answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::answer::{Answer, json_answer, no_account, plain, refusal};
use super::console::{self, Console};
use super::gate::{self, Decision};
use super::json as shapes;
use super::page;
use super::parameters::{language, parameter, wants_page};
use super::routes::{self, Found, Route};
use super::sources::{Sources, lock};
use super::view::Phase;
use crate::credential::Renewal;
use crate::http1::head::HeadError;
use crate::listener::{CallerBody, Handler, Limits, Rejection};
use crate::metrics::text;

/// Connections at one moment: many more than scrapers, probes and pages keep open, so that a probe always gets through.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection is kept that nobody uses. It is short, so that those who keep theirs take no place from a probe.
const IDLE: Duration = Duration::from_secs(5);
/// How long a head may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a refresh by hand is waited for.
const REFRESH_WAIT: Duration = Duration::from_secs(15);
/// How long a reload is waited for.
const RELOAD_WAIT: Duration = Duration::from_secs(60);

/// The keys that a new configuration has changed.
#[derive(Debug)]
pub struct Reloaded {
    /// Those whose new values are in force.
    pub changed: Vec<String>,
    /// Those whose old values are, until the process is started again.
    pub needs_restart: Vec<&'static str>,
}

/// What came of a reload, or what is wrong with the new configuration.
pub type ReloadOutcome = Result<Reloaded, Vec<String>>;

/// Whoever reads the configuration again is asked with one of these, to be answered when that is over.
pub type ReloadRequest = oneshot::Sender<ReloadOutcome>;

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

impl<P: 'static> Handler<P> for Server {
    type Body = Full<Bytes>;

    fn limits(&self) -> Limits {
        Limits {
            max_connections: MAX_CONNECTIONS,
            header_timeout: HEAD,
            idle_timeout: IDLE,
            max_header_bytes: 32 << 10,
            when_full: "the admin listener has as many connections as it takes: further ones get 503; who opens so many?",
        }
    }

    fn handle(&self, request: Request<CallerBody>, _: P) -> impl Future<Output = Answer> + use<P> {
        let server = self.clone();
        let (parts, body) = request.into_parts();
        async move { server.answer(&parts, body).await }
    }

    fn reject(&self, rejection: Rejection, _: P) -> Answer {
        let (status, error, words) = match rejection {
            Rejection::TooManyConnections => {
                let words =
                    "too many connections to the admin listener; try again, and close what is not used";
                (StatusCode::SERVICE_UNAVAILABLE, "busy", words)
            }
            Rejection::HeadTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "timeout", "the request head did not come within 10 s")
            }
            Rejection::Head(HeadError::TooLarge(_)) => {
                let words = "the request head is too large for the admin listener; send less";
                (StatusCode::BAD_REQUEST, "bad-request", words)
            }
            Rejection::Head(HeadError::Malformed(words)) => (StatusCode::BAD_REQUEST, "bad-request", words),
        };
        let mut answer = refusal(status, error, words);
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
            Route::Call => console::answer(&self.sources, &self.console, parts, account, body).await,
            Route::Reload => self.read_again().await,
        }
    }

    fn ready(&self, parts: &Parts, trusted: bool) -> Answer {
        let view = self.sources.view();
        let serving = view.phase == Phase::Serving;
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
        let unknown = asked.is_some() && accounts.is_empty() && view.phase != Phase::Starting;
        let status = match (ready, trusted && unknown) {
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
        let Some(reader) = reader else { return no_account(self.sources.phase()) };
        let Some(reader) = reader else {
            let words =
                "this account has no token to refresh: with token_api = \"none\" callers keep their own";
            return refusal(StatusCode::BAD_REQUEST, "bad-request", words);
        };
        let renewal = reader.refresh_now(generation, REFRESH_WAIT).await;
        if wants_page(parts) {
            let mut answer = plain(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/#accounts"));
            return answer;
        }
        self.came_of(&renewal, parts, name)
    }

    /// What a refresh by hand has come to.
    fn came_of(&self, renewal: &Renewal, parts: &Parts, name: &str) -> Answer {
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

    async fn read_again(&self) -> Answer {
        let (done, is_done) = oneshot::channel();
        let asked = async {
            self.reload.send(done).await.ok()?;
            is_done.await.ok()
        };
        match tokio::time::timeout(RELOAD_WAIT, asked).await {
            Ok(Some(Ok(Reloaded { changed, needs_restart }))) => {
                json_answer(StatusCode::OK, &json!({ "changed": changed, "needs_restart": needs_restart }))
            }
            Ok(Some(Err(errors))) => json_answer(
                StatusCode::BAD_REQUEST,
                &json!({ "error": "configuration", "message": errors.join("\n"), "errors": errors }),
            ),
            Ok(None) => {
                let words = match self.sources.phase() {
                    Phase::Draining => "wxgate is stopping; it reads no configuration any more",
                    Phase::Starting | Phase::Serving => {
                        "this wxgate was started without a configuration that could be read again"
                    }
                };
                refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", words)
            }
            Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", "the reload takes long; see the log"),
        }
    }
}

/// A number that nobody can guess.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;
