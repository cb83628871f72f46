//! A request's statistics on their way to its end, where the access log reads them.
//!
//! They travel with the request, then with the body of its answer; the end is their drop, whether the last byte
//! was handed over or the caller went away.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use http::request::Parts;
use http::{Method, Response};

use super::answer::AnswerBody;
use crate::logging::log_request;
use crate::stats::RequestStats;

/// The statistics of a request that has not ended.
pub(super) struct Tally {
    /// Boxed: answers are handed on several times.
    stats: Box<RequestStats>,
    access_log: bool,
}

impl Tally {
    /// Of a request whose head has been read.
    pub(super) fn begin(parts: &Parts, peer: IpAddr, access_log: bool) -> Self {
        let mut stats = Box::new(RequestStats::begin(peer, &parts.method));
        stats.read_ids(&parts.headers);
        if access_log {
            // Also for a caller that goes away before there is an answer.
            stats.keep_path(parts.uri.path());
        }
        Self { stats, access_log }
    }

    /// Of a request whose head could not be read: whatever stood in it is not fit to be logged.
    pub(super) fn of_unreadable(peer: IpAddr, access_log: bool) -> Self {
        Self { stats: Box::new(RequestStats::begin(peer, &Method::default())), access_log }
    }

    /// Goes on with the body of the answer. `path` is the request's, kept where somebody may ask for it.
    pub(super) fn follow(mut self, answer: Response<AnswerBody>, path: &str) -> Response<AnswerBody> {
        self.stats.status = answer.status().as_u16();
        if self.stats.is_notable() {
            self.stats.keep_path(path);
        }
        answer.map(|body| body.with_tally(self))
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
        }
        if self.access_log {
            log_request(&self.stats);
        }
    }
}
