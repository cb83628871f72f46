//! The life of a request: admit → route → judge → gather → inject → send → inspect → (refresh → resend) → answer.
//!
//! [`Proxy::serve`] is the whole of it; each step is a file of that name and none knows the others. The
//! proxy never fetches a token: it reports the generation that was refused and waits for a newer one.

pub mod admit;
pub mod answer;
pub mod callers;
pub mod headers;
pub mod inspect;
pub mod issue;
pub mod query;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod route;
pub mod target;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::config::{Caller, Limits};
use crate::token::{Absent, Reader, Renewal, Token};
use crate::upstream::{BodyError, RequestBody, ResponseBody, SendError, Upstream};
use answer::AnswerBody;
use callers::Asked;
use record::Record;
use refusal::Refusal;
use replay::{Budget, Gathered};
use route::{Kind, Rules};

/// How long a request waits for the first token of its account.
const FIRST_TOKEN_WAIT: Duration = Duration::from_secs(5);

/// How long a refused request waits for a forced refresh.
const REFRESH_WAIT: Duration = Duration::from_secs(5);

/// One account as requests see it.
#[derive(Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its appid.
    pub appid: String,
    /// Which requests belong to it, and what they may call.
    pub rules: Rules,
    /// The errcodes that mean a dead token.
    pub refresh_on: Vec<i64>,
    /// Its token.
    pub token: Reader,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// At least one.
    pub accounts: Vec<Account>,
    /// Who may call; empty: everyone who reaches a listener.
    pub callers: Vec<Caller>,
    /// What one caller may use up.
    pub limits: Limits,
    /// What all request bodies in memory may use up.
    pub budget: Arc<Budget>,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
}

/// One worker's proxy by one configuration: what all workers share, and the worker's own connections.
pub struct Proxy {
    shared: Arc<Shared>,
    upstream: Rc<Upstream>,
}

/// The proxy that a worker's next request is served by; requests in flight keep the one they began with.
pub struct Current(RefCell<Rc<Proxy>>);

impl Current {
    /// Begins with this one.
    pub fn new(proxy: Proxy) -> Self {
        Self(RefCell::new(Rc::new(proxy)))
    }

    /// The present one.
    pub fn get(&self) -> Rc<Proxy> {
        Rc::clone(&self.0.borrow())
    }

    /// From now on this one.
    pub fn replace(&self, proxy: Proxy) {
        self.0.replace(Rc::new(proxy));
    }
}

impl Proxy {
    /// A proxy that sends through `upstream`.
    pub fn new(shared: Arc<Shared>, upstream: Rc<Upstream>) -> Self {
        Self { shared, upstream }
    }

    /// The limits that listeners enforce.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Serves one request from its head to the head of its answer. Dropping the future ends the upstream's
    /// request too, but never a refresh.
    pub async fn serve(&self, request: Request<Incoming>, peer: IpAddr) -> Response<AnswerBody> {
        let mut record = Record::begin(self.shared.access_log, peer, request.method(), request.uri().path());
        match self.life(request, peer, &mut record).await {
            Ok(answer) => finish(answer, record),
            Err(refusal) => refused(&refusal, record),
        }
    }

    /// Answers a request that could not even be read.
    pub fn refuse(&self, refusal: &Refusal, peer: IpAddr) -> Response<AnswerBody> {
        // Whatever stood in the head, it is not fit to be logged.
        refused(refusal, Record::begin(self.shared.access_log, peer, &Method::default(), "-"))
    }

    async fn life(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let (parts, body) = request.into_parts();
        let target = admit::admit(&parts.method, &parts.uri, parts.version, &parts.headers)?;
        let query = target.query;
        let route = route::route(self.shared.accounts.iter().map(|a| &a.rules), &target);
        let asked = route.as_ref().ok().map(|route| Asked {
            account: &self.shared.accounts[route.account].name,
            method: &parts.method,
            path: route.path,
        });
        let caller = callers::judge(&self.shared.callers, peer, &parts.headers, asked)?;
        record.note(|line| line.caller = caller.map(|caller| Arc::clone(&caller.name)));
        let route = route?;
        let account = &self.shared.accounts[route.account];
        record.note(|line| line.account = Some(Arc::clone(&account.name)));
        // What is rare is boxed, here and below: a future is as large as the largest of its ways.
        let body = match body.is_end_stream() {
            true => Gathered::nothing(&self.shared.budget),
            false => Box::pin(replay::gather(body, &self.shared.limits, &self.shared.budget)).await?,
        };
        if let Kind::Issue(issue) = route.kind {
            let body = if let Gathered::Whole(held) = &body { held.concat() } else { Vec::new() };
            let objection =
                issue::objection(issue, &parts.method, &parts.headers, query, &body, &account.appid);
            if let Some((errcode, errmsg)) = objection {
                return Ok(answer::wechat_error(errcode, errmsg));
            }
            if !caller.is_some_and(|caller| caller.real_token) {
                return Ok(answer::placeholder());
            }
            return Ok(answer::real_token(&*token_of(account).await?));
        }
        let headers = self.outgoing_headers(&parts.method, parts.version, parts.headers, &body);
        let mut call = Call {
            method: parts.method,
            path: route.path,
            query,
            headers,
            extensions: parts.extensions,
            body,
        };
        match route.kind {
            Kind::Foreign => {
                let (answer, _) = Box::pin(self.attempt(&mut call, None, record)).await?;
                Ok(answer)
            }
            Kind::Token | Kind::Issue(_) => self.with_token(account, &mut call, record).await,
        }
    }

    /// The call with the current token; and when that is refused, once more with the next one.
    async fn with_token(
        &self,
        account: &Account,
        call: &mut Call<'_>,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let token = token_of(account).await?;
        let (answer, errcode) = self.attempt(call, Some(&token), record).await?;
        match verdict(account, &answer, errcode) {
            Verdict::Refused => {}
            Verdict::Proved => {
                account.token.proved(token.generation);
                if account.token.suspects(call.path) {
                    account.token.succeeded(call.path);
                }
                return Ok(answer);
            }
            Verdict::Nothing => return Ok(answer),
        }
        if !call.can_be_repeated() {
            account.token.start_renewal(&token, call.path);
            return Ok(marked(answer, "body-too-large", record));
        }
        match Box::pin(account.token.renew(&token, call.path, REFRESH_WAIT)).await {
            Renewal::Newer(newer) => {
                let (second, errcode) = Box::pin(self.attempt(call, Some(&newer), record)).await?;
                match verdict(account, &second, errcode) {
                    Verdict::Refused => account.token.replay_outcome(call.path, newer.generation, true),
                    Verdict::Proved => {
                        account.token.proved(newer.generation);
                        account.token.replay_outcome(call.path, newer.generation, false);
                    }
                    Verdict::Nothing => {}
                }
                Ok(second)
            }
            Renewal::Failed => Ok(marked(answer, "refresh-failed", record)),
            Renewal::Limited => Ok(marked(answer, "refresh-limited", record)),
        }
    }

    /// One sending: inject, send, inspect.
    async fn attempt(
        &self,
        call: &mut Call<'_>,
        token: Option<&Token>,
        record: &mut Record,
    ) -> Result<(Response<AnswerBody>, Option<i64>), Refusal> {
        let target = match token {
            Some(token) => query::with_token(call.path, call.query, token.pair.expose().as_bytes()),
            None => query::untouched(call.path, call.query),
        };
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target))
            .map_err(|_| Refusal::BadRequest("path and query are too long".into()))?;
        record.note(|line| line.attempts += 1);
        let body = call.body.take();
        let request = call.request(&target, body);
        let response = self
            .upstream
            .send(request, || call.body.again().map(|body| call.request(&target, body)))
            .await
            .map_err(send_refusal)?;
        let (answer, errcode) = receive(response, token, &call.method).await?;
        record.note(|line| line.errcode = errcode);
        Ok((answer, errcode))
    }

    /// What the upstream gets to see of the caller's fields.
    fn outgoing_headers(
        &self,
        method: &Method,
        version: Version,
        mut headers: HeaderMap,
        body: &Gathered,
    ) -> HeaderMap {
        // An HTTP/2 body needs no field to announce it.
        let announced = headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || (version == Version::HTTP_2
                && !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS));
        headers::to_upstream(&mut headers, self.upstream.host());
        if announced || body.length() > 0 {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.length()));
        }
        headers
    }
}

/// What is sent, kept so that it can be sent again.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    headers: HeaderMap,
    /// Where hyper keeps the spelling of the caller's header names.
    extensions: Extensions,
    body: Gathered,
}

impl Call<'_> {
    fn can_be_repeated(&self) -> bool {
        matches!(self.body, Gathered::Whole(_))
    }

    fn request(&self, target: &PathAndQuery, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        // Origin form: there is no authority that anything from outside could reach.
        *request.uri_mut() = Uri::from(target.clone());
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Reads an answer as far as needed to know whether it is an error, and makes it fit for the caller.
async fn receive(
    response: Response<ResponseBody>,
    token: Option<&Token>,
    method: &Method,
) -> Result<(Response<AnswerBody>, Option<i64>), Refusal> {
    let (mut parts, mut body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(unreachable_upstream(
            "the WeChat API switched to a protocol that nobody asked for",
            "unasked-for 101 Switching Protocols".to_owned(),
        ));
    }
    let bodiless = *method == Method::HEAD || body.is_end_stream();
    let coding = match bodiless {
        true => None,
        false => inspect::can_be_error(&parts.headers, body.size_hint().exact()),
    };
    headers::to_caller(&mut parts.headers, token);
    // An HTTP/1.0 upstream must not make the caller's answer HTTP/1.0.
    parts.version = Version::HTTP_11;
    let Some(coding) = coding else {
        return Ok((Response::from_parts(parts, AnswerBody::stream(Bytes::new(), body)), None));
    };
    let mut beginning = Beginning::default();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(body_refusal)?.into_data() else { continue };
        beginning.push(chunk);
        if beginning.len() > coding.limit() || inspect::cannot_be_error(coding, beginning.as_slice()) {
            let answer = AnswerBody::stream(beginning.freeze(), body);
            return Ok((Response::from_parts(parts, answer), None));
        }
        if body.is_end_stream() {
            break;
        }
    }
    let errcode = inspect::errcode(coding, beginning.as_slice());
    Ok((Response::from_parts(parts, AnswerBody::whole(beginning.freeze())), errcode))
}

/// The beginning of an answer; the usual single chunk is not copied.
#[derive(Default)]
struct Beginning {
    first: Bytes,
    all: BytesMut,
}

impl Beginning {
    fn push(&mut self, chunk: Bytes) {
        if self.all.is_empty() && self.first.is_empty() {
            self.first = chunk;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
    }

    fn as_slice(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn freeze(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// The account's token, waited for where there is none yet.
async fn token_of(account: &Account) -> Result<Arc<Token>, Refusal> {
    match account.token.current() {
        Ok(token) => Ok(token),
        Err(_) => Box::pin(account.token.first(FIRST_TOKEN_WAIT)).await.map_err(absent),
    }
}

fn finish(answer: Response<AnswerBody>, mut record: Record) -> Response<AnswerBody> {
    record.note(|line| line.status = answer.status().as_u16());
    answer.map(|body| body.with_record(record))
}

fn refused(refusal: &Refusal, mut record: Record) -> Response<AnswerBody> {
    record.note(|line| {
        let code = refusal.shape().code;
        line.error = Some(refusal.cause().map_or(code.to_owned(), |cause| format!("{code}: {cause}")));
        line.errcode = Some(refusal.shape().errcode);
    });
    finish(answer::refusal(refusal), record)
}

/// What an answer says about the token that its call was made with.
enum Verdict {
    /// The upstream refused it.
    Refused,
    /// The upstream took it.
    Proved,
    /// Neither: a busy system (-1) and an HTTP error answer before they look at it.
    Nothing,
}

fn verdict(account: &Account, answer: &Response<AnswerBody>, errcode: Option<i64>) -> Verdict {
    match errcode {
        Some(errcode) if account.refresh_on.contains(&errcode) => Verdict::Refused,
        Some(-1) => Verdict::Nothing,
        _ if answer.status().is_success() => Verdict::Proved,
        _ => Verdict::Nothing,
    }
}

/// Says why the caller sees a token error although wxgate retries.
fn marked(mut answer: Response<AnswerBody>, why: &'static str, record: &mut Record) -> Response<AnswerBody> {
    record.note(|line| line.error = Some(why.to_owned()));
    answer.headers_mut().insert(answer::RETRY, HeaderValue::from_static(why));
    answer
}

fn absent(absent: Absent) -> Refusal {
    match absent {
        Absent::Waiting => Refusal::NoToken {
            what: "there is no access_token yet; try again in a moment",
            cause: "the first token has not come yet".to_owned(),
        },
        Absent::Passing { what } => Refusal::NoToken {
            what: "no access_token could be fetched; that is tried again and again, so try again",
            cause: what,
        },
        Absent::Refused { errcode, errmsg } => Refusal::TokenRefused { errcode, errmsg },
    }
}

fn send_refusal(error: SendError) -> Refusal {
    match error {
        SendError::Connect(error) => unreachable_upstream(
            "the WeChat API cannot be reached; try again, and see wxgate's log for the reason",
            error.to_string(),
        ),
        SendError::TimedOut => Refusal::UpstreamTimeout,
        SendError::Broken(error) => unreachable_upstream(
            "the connection to the WeChat API broke before it answered; whether the call was executed is not known",
            crate::upstream::chain(&error),
        ),
        SendError::CallerBody(error) => replay::broken(&error),
    }
}

fn body_refusal(error: BodyError) -> Refusal {
    match error {
        BodyError::Broken(error) => unreachable_upstream(
            "the connection to the WeChat API broke in the middle of its answer",
            crate::upstream::chain(&error),
        ),
        BodyError::Stalled => Refusal::UpstreamTimeout,
    }
}

fn unreachable_upstream(what: &'static str, cause: String) -> Refusal {
    Refusal::UpstreamUnreachable { what, cause }
}
