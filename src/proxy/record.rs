//! What one request leaves behind: its line in the access log.
//!
//! Knows the path without its query, never the query; written when the last byte of the answer has been
//! handed over, or when the caller has gone away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::Method;

use crate::logging::path_only;

/// The facts of one request, gathered on its way.
pub struct Record {
    enabled: bool,
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
    /// How often the request was sent to the upstream.
    pub attempts: u32,
    /// What went wrong, in words that may be shown in a log.
    error: Option<String>,
}

impl Record {
    /// Begins the record of a request.
    pub fn begin(enabled: bool, peer: IpAddr, method: &Method, path: &str) -> Self {
        // Without a log there is nobody to copy the path for.
        let (method, path) =
            if enabled { (method.clone(), path_only(path).to_owned()) } else { Default::default() };
        Self {
            enabled,
            started: Instant::now(),
            peer,
            method,
            path,
            caller: None,
            account: None,
            status: 0,
            errcode: None,
            bytes: 0,
            attempts: 0,
            error: None,
        }
    }

    /// Notes why wxgate answered by itself.
    pub fn refused(&mut self, code: &str, cause: Option<&str>) {
        self.error = Some(match cause {
            Some(cause) => format!("{code}: {cause}"),
            None => code.to_owned(),
        });
    }

    /// Notes that the answer's body did not come to its end.
    pub fn broke_off(&mut self, error: &dyn std::fmt::Display) {
        self.error = Some(error.to_string());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.enabled {
            return;
        }
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
            ms = self.started.elapsed().as_secs_f64() * 1000.0,
            attempts = self.attempts,
            error = self.error.as_deref(),
        );
    }
}
