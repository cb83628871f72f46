//! What one request leaves behind: its line in the access log.
//!
//! Knows the path without its query, never the query; written when the last byte of the answer has been
//! handed over, or when the caller has gone away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::Method;

use crate::logging::path_only;

/// The record of one request; nothing at all where no log is kept.
pub struct Record(Option<Box<Line>>);

/// The facts of one request, gathered on its way.
pub struct Line {
    started: Instant,
    peer: IpAddr,
    method: Method,
    path: String,
    /// Name of the caller, once it is known.
    pub caller: Option<Arc<str>>,
    /// Name of the account, once the request was routed.
    pub account: Option<Arc<str>>,
    /// HTTP status of the answer, 0 while there is none.
    pub status: u16,
    /// Top-level errcode of the answer, where it was looked into.
    pub errcode: Option<i64>,
    /// Bytes of the answer's body that were handed over.
    pub bytes: u64,
    /// How often it was sent on purpose: 2 after a refused token.
    pub attempts: u32,
    /// What went wrong, in words that may be shown in a log.
    pub error: Option<String>,
}

impl Record {
    /// Begins the record of a request.
    pub fn begin(enabled: bool, peer: IpAddr, method: &Method, path: &str) -> Self {
        let line = || Line {
            started: Instant::now(),
            peer,
            method: method.clone(),
            path: path_only(path).to_owned(),
            caller: None,
            account: None,
            status: 0,
            errcode: None,
            bytes: 0,
            attempts: 0,
            error: None,
        };
        Self(enabled.then(|| Box::new(line())))
    }

    /// Writes something down.
    pub fn note(&mut self, write: impl FnOnce(&mut Line)) {
        if let Some(line) = &mut self.0 {
            write(line);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.status == 0 {
            self.error = Some("the caller went away".to_owned());
        }
        let peer = self.peer.to_string();
        tracing::info!(
            target: "wxgate::access",
            // A caller that matched no [[caller]] is known by its address alone.
            caller = self.caller.as_deref().unwrap_or(&peer),
            peer,
            account = self.account.as_deref().unwrap_or("-"),
            method = %self.method,
            path = %self.path,
            status = self.status,
            errcode = self.errcode,
            bytes = self.bytes,
            ms = self.started.elapsed().as_micros() as f64 / 1000.0,
            attempts = self.attempts,
            error = self.error.as_deref(),
        );
    }
}
