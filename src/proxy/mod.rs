//! The life of a request: admit → route → authorize → buffer → inject → send → inspect → (refresh → resend) → answer.
//!
//! [`Proxy::serve`] is the whole of it; ARCHITECTURE.md says which file each step is. What is done with a call differs
//! from `buffer` on, by the action that `route` has found: `life` goes on with an ordinary call, `carry_out.rs` has the
//! others. The proxy never fetches a token: it reports the generation that was refused and waits for a newer one.

pub mod admit;
pub mod answer;
pub mod authorize;
pub mod budget;
pub mod buffer;
mod caller_limit;
mod carry_out;
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
pub mod sealed_call;
mod secret_call;
mod send;
pub mod settings;
pub mod signing;
mod state;
mod tally;
mod ticket;
pub mod token_answer;

use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Body;

use crate::listener::CallerBody;
use crate::metrics::FIRST_CALLER;
use crate::stats::RequestStats;
use crate::upstream::Upstream;
use admit::Target;
use answer::{AnswerBody, own};
use authorize::RequestedCall;
use buffer::{BodyLimits, Buffered};
pub use caller_limit::CallerLimit;
use carry_out::Granted;
pub use console::{ConsoleAnswer, ConsoleCall};
pub use current::Current;
use inject::{Call, Head};
use refusal::Refusal;
use route::Action;
use settings::Caller;
use state::Route;
pub use state::{Account, OwnToken, ProxyState};
pub use tally::Recorder;
use tally::Tally;

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
        let route = self.state.account_of(&host, &path).and_then(|addressed| {
            stats.of_account(addressed.index);
            addressed.route()
        });
        let requested = route.as_ref().ok().map(|route| RequestedCall {
            account: &route.account.name,
            method: &parts.method,
            path: route.path,
            asks_for_token: matches!(route.action, Action::AnswerLocally(_)),
        });
        let callers = &self.state.callers;
        let caller = authorize::authorize(callers, peer, &parts.headers, requested).inspect_err(|_| {
            // Whose call was refused is worth a name in the log.
            if let Some(known) = authorize::first_known(callers, peer, &parts.headers) {
                self.name(known, stats);
            }
        })?;
        drop(host);
        if let Some(limit) = caller.and_then(|caller| self.name(caller, stats)) {
            stats.hold(limit.enter()?);
        }
        let Route { index, account, path, action } = route?;
        let action = own_calls::settled(action, query, account.token.as_ref());
        let action = signing::settled(action, &parts.method, &parts.headers);
        // What is rare is boxed, here and below: a future is as large as the largest of its ways.
        let body = match body.is_end_stream() && !matches!(action, Action::InjectAndSeal { .. }) {
            true => Buffered::empty(self.state.budget.no_share()),
            false => {
                let limits = match action {
                    Action::AnswerLocally(_) => BodyLimits::of_token_call(&self.state.limits),
                    Action::PutSecret(_) => BodyLimits::of_secret_call(&self.state.limits),
                    Action::InjectAndSeal { .. } => BodyLimits::of_sealed_call(&self.state.limits),
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
        let upstream = &*self.upstreams[index];
        let trusted = caller.filter(|caller| caller.real_token).map(|caller| (caller, peer));
        let head = Head::take(
            (&parts.method, parts.version),
            (&mut parts.headers, &mut parts.extensions),
            &self.state.strip,
        );
        // Nearly all calls go this way, and nothing of it is boxed or moved.
        if let (Action::Inject | Action::InjectUnlessForeign, Some(own)) = (&action, &account.token) {
            let mut call = Call::new(head, (path, query), body, upstream);
            return self.with_token(own, &mut call, stats).await;
        }
        let granted = Granted { account, upstream, action, head, path, query, body, trusted };
        Box::pin(self.carry_out(granted, stats)).await
    }

    /// Notes who calls; what limits it.
    fn name(&self, caller: &Caller, stats: &mut Tally) -> Option<&Arc<CallerLimit>> {
        let place = self.state.place_of(caller)?;
        stats.of_caller(&caller.name, FIRST_CALLER + place);
        self.state.caller_limits[place].as_ref()
    }
}

fn refused(refusal: &Refusal, stats: &mut RequestStats) -> Response<AnswerBody> {
    stats.code = Some(refusal.shape().code);
    stats.cause = refusal.cause().map(|cause| cause.to_owned().into());
    stats.errcode = Some(refusal.shape().errcode);
    stats.errmsg = Some(refusal.message().into());
    own::refusal(refusal)
}
