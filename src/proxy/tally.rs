//! A request's statistics on their way to its end, where it is counted, logged, and kept if it failed.
//!
//! They travel with the request, then with the body of its answer; the end is their drop, whether the last byte
//! was handed over or the caller went away.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{Method, Response};

use super::Proxy;
use super::answer::AnswerBody;
use super::caller_limit::CallerPermit;
use super::inspect::errcode::Explanation;
use crate::calls::{Call, Calls};
use crate::credential::advice;
use crate::errcodes::refuses_address;
use crate::logging::log_request;
use crate::metrics::{ADMIN, ADMIN_CALLER, AccountCounts, Finished, Metrics, NO_CALLER, Retry};
use crate::stats::RequestStats;

/// Where a worker's requests are counted, and those that failed are kept.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// The worker's number: nobody else counts under it.
    pub worker: usize,
    /// The counts of all workers.
    pub metrics: Arc<Metrics>,
    /// The last failed or repeated calls of all workers.
    pub calls: Arc<Calls>,
}

/// The statistics of a request that has not ended.
pub(super) struct Tally {
    /// Boxed: answers are handed on several times.
    stats: Box<RequestStats>,
    /// The configuration that the request began with.
    proxy: Rc<Proxy>,
    /// Place of its account among all; behind the last one for none.
    account: usize,
    /// Index of its caller in the counts.
    caller: usize,
    /// Its place among the calls that its caller may have in flight.
    permit: Option<CallerPermit>,
    /// Since when the upstream has been asked, while it has not answered.
    asked: Option<Instant>,
}

impl Tally {
    /// Of a request whose head has been read.
    pub(super) fn begin(proxy: &Rc<Proxy>, parts: &Parts, peer: IpAddr) -> Self {
        let mut tally = Self::new(proxy, peer, &parts.method);
        tally.stats.read_ids(&parts.headers);
        if tally.proxy.state.access_log {
            // Also for a caller that goes away before there is an answer.
            tally.stats.keep_path(parts.uri.path());
        }
        tally
    }

    /// Of a call that the admin listener makes.
    pub(super) fn of_admin(proxy: &Rc<Proxy>, parts: &Parts, account: usize) -> Self {
        let mut tally = Self::begin(proxy, parts, IpAddr::V4(Ipv4Addr::LOCALHOST));
        tally.of_caller(&ADMIN.into(), ADMIN_CALLER);
        tally.of_account(account);
        tally
    }

    /// Of a request whose head could not be read: whatever stood in it, its method too, is not fit to be logged.
    pub(super) fn of_unreadable(proxy: &Rc<Proxy>, peer: IpAddr) -> Self {
        let none = Method::from_bytes(b"-").unwrap_or_default();
        Self::new(proxy, peer, &none)
    }

    fn new(proxy: &Rc<Proxy>, peer: IpAddr, method: &Method) -> Self {
        let account = proxy.state.accounts.len();
        let stats = Box::new(RequestStats::begin(peer, method));
        Self { stats, proxy: Rc::clone(proxy), account, caller: NO_CALLER, permit: None, asked: None }
    }

    /// Its account is known: the one at this place.
    pub(super) fn of_account(&mut self, index: usize) {
        self.account = index;
        self.stats.account = Some(Arc::clone(&self.proxy.state.accounts[index].name));
    }

    /// Its caller is known.
    pub(super) fn of_caller(&mut self, name: &Arc<str>, index: usize) {
        self.caller = index;
        self.stats.caller = Some(Arc::clone(name));
    }

    /// It counts among its caller's calls in flight to its end.
    pub(super) fn hold(&mut self, permit: CallerPermit) {
        self.permit = Some(permit);
    }

    /// It is about to be sent: now.
    pub(super) fn sent(&mut self) -> Instant {
        self.stats.attempts += 1;
        if self.stats.attempts == 1 {
            self.counts().entered(self.proxy.recorder.worker);
        }
        *self.asked.insert(Instant::now())
    }

    /// The head of the upstream's answer has come, or will not come: after so long.
    pub(super) fn heard(&mut self) -> Duration {
        let took = self.asked.take().map_or(Duration::ZERO, |asked| asked.elapsed());
        self.stats.upstream += took;
        took
    }

    /// The upstream's answer has been looked into; its head has come after so long.
    pub(super) fn exchanged(&mut self, took: Duration, errcode: Option<i64>, explanation: Explanation) {
        self.stats.errcode = errcode;
        self.stats.errmsg = explanation.errmsg;
        self.stats.rid = explanation.rid;
        self.counts().exchanged(self.proxy.recorder.worker, took, errcode);
        if let Some(errcode) = errcode.filter(|errcode| refuses_address(*errcode)) {
            self.say_refused_address(errcode);
        }
    }

    /// Says what to do, once in ten minutes for each account: until then no call of it works.
    fn say_refused_address(&self, errcode: i64) {
        let state = &self.proxy.state;
        let Some(account) =
            state.accounts.get(self.account).filter(|_| state.is_address_worth_saying(self.account))
        else {
            return;
        };
        let appid = account.token.as_ref().map_or("this account", |own| own.appid.as_str());
        let errmsg = self.stats.errmsg.as_deref().unwrap_or_default();
        let advice = advice(account.product, errcode, errmsg, appid);
        tracing::error!(
            account = &*account.name,
            errcode,
            "the upstream refuses calls from wxgate's address: {errcode}. {advice}"
        );
    }

    fn counts(&self) -> &AccountCounts {
        &self.proxy.state.counts[self.account]
    }

    /// Goes on with the body of the answer. `path` is the request's, kept where somebody may ask for it.
    pub(super) fn follow(mut self, answer: Response<AnswerBody>, path: &str) -> Response<AnswerBody> {
        self.stats.status = answer.status().as_u16();
        if self.stats.is_notable() {
            self.stats.keep_path(path);
        }
        answer.map(|body| body.with_tally(self))
    }

    /// What came of a refused token; `None` where none was refused.
    fn retry(&self) -> Option<Retry> {
        let stats = &*self.stats;
        if let Some(mark) = stats.code.and_then(Retry::of_mark) {
            return Some(mark);
        }
        let account = self.proxy.state.accounts.get(self.account)?;
        match stats.errcode {
            _ if stats.attempts < 2 => None,
            _ if stats.status == 0 || stats.code.is_some() => Some(Retry::Broken),
            Some(errcode) if account.refuses(errcode) => Some(Retry::Refused),
            _ => Some(Retry::Ok),
        }
    }

    fn count(&self) {
        let (stats, recorder) = (&*self.stats, &self.proxy.recorder);
        let finished =
            Finished { caller: self.caller, status: stats.status, failed: stats.failed(), took: stats.took };
        self.counts().finished(recorder.worker, &finished);
        if stats.attempts > 0 {
            self.counts().left(recorder.worker);
        }
        if let Some(outcome) = self.retry() {
            self.counts().retried(recorder.worker, outcome);
        }
        if let Some(code) = stats.code {
            recorder.metrics.own_answer(recorder.worker, code);
        }
    }

    fn keep(&mut self) {
        let call = Call {
            at: SystemTime::now(),
            took: self.stats.took,
            product: self
                .proxy
                .state
                .accounts
                .get(self.account)
                .map(|account| account.product)
                .unwrap_or_default(),
            errmsg: self.stats.errmsg.take().map(Into::into),
            stats: (*self.stats).clone(),
        };
        self.proxy.recorder.calls.keep(self.proxy.recorder.worker, call);
    }
}

impl Deref for Tally {
    type Target = RequestStats;

    fn deref(&self) -> &RequestStats {
        &self.stats
    }
}

impl DerefMut for Tally {
    fn deref_mut(&mut self) -> &mut RequestStats {
        &mut self.stats
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.stats.status == 0 {
            self.stats.cause = Some("the caller went away".into());
            self.heard();
        }
        self.stats.took = self.stats.started.elapsed();
        self.count();
        if self.proxy.state.access_log {
            log_request(&self.stats);
        }
        if self.stats.is_notable() {
            self.keep();
        }
    }
}
