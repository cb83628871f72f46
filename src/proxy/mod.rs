//! The life of a request: admit → route → authorize → buffer → inject → send → inspect → (refresh → resend) → answer.
//!
//! [`Proxy::serve`] is the whole of it; ARCHITECTURE.md says which file each step is. The proxy never fetches a token: it reports the generation that was refused and waits for a newer one.

pub mod admit;
pub mod answer;
pub mod authorize;
pub mod budget;
pub mod buffer;
mod caller_limit;
mod central;
mod clean;
mod console;
mod current;
mod faults;
mod fields;
pub mod inject;
pub mod inspect;
mod own_calls;
pub mod refusal;
mod retry;
pub mod route;
mod secret_call;
pub mod settings;
mod state;
mod tally;
mod ticket;
pub mod token_answer;

use std::future::Future;
use std::mem;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Body;

use crate::credential::Credential;
use crate::listener::CallerBody;
use crate::metrics::{FIRST_CALLER, NO_CALLER};
use crate::stats::RequestStats;
use crate::upstream::Upstream;
use admit::Target;
use answer::{AnswerBody, Hidden, own};
use authorize::RequestedCall;
use buffer::{BodyLimits, Buffered};
pub use caller_limit::CallerLimit;
use central::Recipient;
pub use console::{ConsoleAnswer, ConsoleCall};
pub use current::Current;
use inject::{Call, Head, query};
use inspect::Inspected;
use refusal::Refusal;
use route::{Action, LocalAnswer};
use settings::Caller;
use state::Route;
pub use state::{Account, OwnToken, ProxyState};
pub use tally::Recorder;
use tally::Tally;

/// How long a request waits for the first token of its account.
const FIRST_TOKEN_WAIT: Duration = Duration::from_secs(5);

/// One worker's proxy by one configuration: what all workers share, and the worker's own connections.
pub struct Proxy {
    state: Arc<ProxyState>,
    /// That of each account, in their order.
    upstreams: Vec<Rc<Upstream>>,
    recorder: Recorder,
}

impl Proxy {
    /// A proxy that sends the calls of each account through the upstream at the account's place in `upstreams`.
    pub fn new(state: Arc<ProxyState>, upstreams: Vec<Rc<Upstream>>, recorder: Recorder) -> Self {
        Self { state, upstreams, recorder }
    }

    /// Serves one request from its head to the head of its answer. Dropping the future ends the upstream's
    /// request too, but never a refresh.
    pub fn serve(
        self: Rc<Self>,
        request: Request<CallerBody>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<AnswerBody>> {
        // Taken apart before the future begins: what it is handed as a whole it would hold to its end.
        let (mut parts, body) = request.into_parts();
        let mut tally = Tally::begin(&self, &parts, peer);
        async move {
            let answer = match self.life(&mut parts, body, peer, &mut tally).await {
                Ok(answer) => answer,
                Err(refusal) => refused(&refusal, &mut tally),
            };
            tally.follow(answer, parts.uri.path())
        }
    }

    /// Answers a request that could not even be read.
    pub fn refuse(self: &Rc<Self>, refusal: &Refusal, peer: IpAddr) -> Response<AnswerBody> {
        let mut tally = Tally::of_unreadable(self, peer);
        let answer = refused(refusal, &mut tally);
        tally.follow(answer, "-")
    }

    async fn life(
        &self,
        parts: &mut Parts,
        body: CallerBody,
        peer: IpAddr,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let Target { host, path, query } =
            admit::admit(&mut parts.method, &parts.uri, parts.version, &parts.headers)?;
        let route = self.state.route(&host, &path);
        let requested = route.as_ref().ok().map(|route| RequestedCall {
            account: &route.account.name,
            method: &parts.method,
            path: route.path,
            asks_for_token: matches!(route.action, Action::AnswerLocally(_)),
        });
        let caller = authorize::authorize(&self.state.callers, peer, &parts.headers, requested)?;
        drop(host);
        if let Some(caller) = caller {
            let index = self.state.place_of(caller);
            stats.of_caller(&caller.name, index.map_or(NO_CALLER, |index| FIRST_CALLER + index));
            if let Some(limit) = index.and_then(|index| self.state.caller_limits[index].as_ref()) {
                stats.hold(limit.enter()?);
            }
        }
        let Route { index, account, path, action } = route?;
        let action = own_calls::settled(action, query, account.token.as_ref());
        stats.of_account(index);
        // What is rare is boxed, here and below: a future is as large as the largest of its ways.
        let body = match body.is_end_stream() {
            true => Buffered::empty(self.state.budget.no_share()),
            false => {
                let limits = match action {
                    Action::AnswerLocally(_) => BodyLimits::of_token_call(&self.state.limits),
                    Action::PutSecret(_) => BodyLimits::of_secret_call(&self.state.limits),
                    Action::Inject
                    | Action::InjectUnlessForeign
                    | Action::InjectAndClean
                    | Action::Ticket(_)
                    | Action::Sign(_)
                    | Action::PassThrough => BodyLimits::of_call(&self.state.limits),
                };
                let share = self.state.budget.share(&self.state.callers, caller, peer);
                Box::pin(buffer::buffer(body, limits, share)).await?
            }
        };
        for name in &self.state.strip {
            parts.headers.remove(name);
        }
        let head = Head {
            method: &parts.method,
            version: parts.version,
            headers: mem::take(&mut parts.headers),
            extensions: mem::take(&mut parts.extensions),
        };
        let upstream = &*self.upstreams[index];
        match (action, &account.token) {
            // Where wxgate keeps no token, there is nothing to put in.
            (Action::PassThrough, _) | (_, None) => {
                let mut call = Call::new(head, (path, query), body, upstream);
                Ok(Box::pin(self.attempt(&mut call, None, stats)).await?.answer)
            }
            (Action::AnswerLocally(local), Some(own)) => {
                let trusted = caller.filter(|caller| caller.real_token).map(|caller| (caller, peer));
                Box::pin(self.answer_token_call(local, &head, query, &body, own, trusted, stats)).await
            }
            (Action::PutSecret(entry), Some(own)) => {
                let entry = &account.rules.secret_paths[entry];
                Box::pin(self.with_secret((own, entry), head, (path, query), body, upstream, stats)).await
            }
            (Action::Sign(what), Some(own)) => {
                Box::pin(ticket::sign(what, head.method, query, (account.product, own), stats)).await
            }
            (Action::Ticket(entry), Some(own)) => {
                let mut call = Call::new(head, (path, query), body, upstream);
                Box::pin(self.with_ticket((account, own), entry, &mut call, stats)).await
            }
            (Action::InjectAndClean, Some(own)) => {
                let mut call = Call::new(head, (path, query), body, upstream);
                Box::pin(self.with_clean_answer(own, &mut call, stats)).await
            }
            (Action::Inject | Action::InjectUnlessForeign, Some(own)) => {
                self.with_token(own, &mut Call::new(head, (path, query), body, upstream), stats).await
            }
        }
    }

    /// The answer to a caller that asks for a token; `trusted` is one that gets the real one, and its address.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn answer_token_call(
        &self,
        local: LocalAnswer,
        head: &Head<'_>,
        query: Option<&str>,
        body: &Buffered,
        own: &OwnToken,
        trusted: Option<(&Caller, IpAddr)>,
        stats: &mut RequestStats,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let body = body.concat();
        let objection = token_answer::objection(local, head.method, &head.headers, query, &body, &own.appid);
        if let Some((errcode, errmsg)) = objection {
            stats.errcode = Some(errcode);
            return Ok(own::wechat_error(local.product(), errcode, errmsg));
        }
        let Some((caller, peer)) = trusted else { return Ok(own::placeholder(local)) };
        let recipient =
            Recipient { caller: Arc::clone(&caller.name), peer, appid: own.appid.as_str().into() };
        let mut token = token_of(own).await?;
        let mut mark = None;
        if token_answer::forces_refresh(local, &body)
            && self.state.handed.to(&recipient) == Some(token.generation)
        {
            (token, mark) = central::refreshed(own, token).await;
        }
        self.state.handed.note(recipient, token.generation);
        let mut response = own::real_token(local, &token);
        if let Some(mark) = mark {
            stats.code = Some(mark);
            response.headers_mut().insert(answer::RETRY, HeaderValue::from_static(mark));
        }
        Ok(response)
    }

    /// One sending: inject, send, inspect.
    async fn attempt(
        &self,
        call: &mut Call<'_>,
        token: Option<&Credential>,
        stats: &mut Tally,
    ) -> Result<Attempt, Refusal> {
        let target = match token {
            Some(token) => query::with_token(call.path, call.query, token.encoded.expose().as_bytes()),
            None => query::untouched(call.path, call.query),
        };
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target))
            .map_err(|_| Refusal::BadRequest("path and query are too long".into()))?;
        stats.sent();
        let (method, upstream) = (call.method, call.upstream);
        let hidden = Hidden { token, secret: call.secret };
        // A POST is sent again only if the upstream has received nothing of it; so is a call whose code works once.
        let resend_as = if call.secret.is_some() { &Method::POST } else { method };
        let _in_flight = token.map(Credential::sending);
        let sent = Instant::now();
        let response = upstream.send(resend_as, || call.request(&target)).await;
        let took = sent.elapsed();
        stats.upstream += took;
        let Inspected { answer, errcode, explanation } = inspect::inspect(response?, hidden, method).await?;
        stats.exchanged(took, errcode, explanation);
        Ok(Attempt { answer, errcode, sent })
    }
}

/// What came of one sending.
struct Attempt {
    answer: Response<AnswerBody>,
    /// Top-level, where there was one to read.
    errcode: Option<i64>,
    sent: Instant,
}

/// The account's token, waited for where there is none yet.
async fn token_of(own: &OwnToken) -> Result<Arc<Credential>, Refusal> {
    match own.reader.current() {
        Ok(token) => Ok(token),
        Err(_) => Ok(Box::pin(own.reader.first(FIRST_TOKEN_WAIT)).await?),
    }
}

fn refused(refusal: &Refusal, stats: &mut RequestStats) -> Response<AnswerBody> {
    stats.code = Some(refusal.shape().code);
    stats.cause = refusal.cause().map(|cause| cause.to_owned().into());
    stats.errcode = Some(refusal.shape().errcode);
    own::refusal(refusal)
}
