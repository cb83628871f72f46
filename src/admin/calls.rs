//! The last calls that failed or were repeated, in rings of bounded size.
//!
//! Each worker writes a ring of its own, so that no worker waits for another; whoever looks merges them. No query, no
//! token, no body is kept: the fields of the access line, and the upstream's errmsg, cut and masked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::errcodes::{self, Entry, Product};

/// Calls that are shown, and that one worker keeps.
pub const KEPT: usize = 200;

/// The longest errmsg that is kept, in bytes.
pub const ERRMSG: usize = 200;

/// The longest path that is kept, in bytes: a caller chooses it.
const PATH: usize = 512;

/// A run of this many letters, digits, `-` and `_` may be a token.
const TOKEN: usize = 48;

/// One call: the fields of its access line, and what the upstream said.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// When its answer was over.
    pub at: SystemTime,
    /// Name of the caller, else its address.
    pub caller: Arc<str>,
    /// Address of the caller.
    pub peer: String,
    /// Name of the account.
    pub account: Option<Arc<str>>,
    /// Whose errcodes the account gets.
    pub product: Product,
    /// HTTP method.
    pub method: String,
    /// Without its query.
    pub path: String,
    /// HTTP status, 0 when the caller left before an answer.
    pub status: u16,
    /// Top-level errcode of the answer.
    pub errcode: Option<i64>,
    /// The upstream's errmsg.
    pub errmsg: Option<String>,
    /// WeChat's id of the call.
    pub rid: Option<String>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Milliseconds in all.
    pub ms: f64,
    /// Milliseconds until the upstream's answer began, all sendings together.
    pub upstream_ms: Option<f64>,
    /// How often it was sent.
    pub attempts: u32,
    /// What went wrong, in wxgate's words.
    pub error: Option<String>,
    /// `x-wxgate-error` of an answer of wxgate's own.
    pub code: Option<&'static str>,
    /// `x-wxgate-retry`.
    pub retry: Option<&'static str>,
    /// The caller's own id of the request.
    pub request_id: Option<String>,
    /// The caller's trace.
    pub trace_id: Option<String>,
}

impl Call {
    /// What is known of why it failed: wxgate's own code first, then why it was not repeated, then WeChat's errcode.
    pub fn explanation(&self) -> Option<&'static Entry> {
        let own = self.code.and_then(errcodes::own);
        // A refused token fetch has WeChat's number, which says more than ours.
        let refused = (self.code == Some("token-refused")).then_some(self.errcode).flatten();
        let of_number =
            |number: Option<i64>| number.and_then(|number| errcodes::errcode(self.product, number));
        of_number(refused)
            .or(own)
            .or_else(|| self.retry.and_then(errcodes::retry))
            .or_else(|| of_number(self.errcode))
    }

    /// Whether its answer was an error.
    pub fn failed(&self) -> bool {
        self.status == 0 || self.status >= 400 || self.errcode.is_some_and(|errcode| errcode != 0)
    }
}

/// The rings of all workers.
#[derive(Debug)]
pub struct Calls(Box<[Mutex<VecDeque<Call>>]>);

impl Calls {
    /// One ring for each of so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Mutex::default()).collect()))
    }

    /// Keeps a call. `worker` should be the calling thread's own number: another's ring works, and is waited for.
    pub fn keep(&self, worker: usize, mut call: Call) {
        cut(&mut call.path, PATH);
        call.errmsg = call.errmsg.map(|errmsg| masked(&errmsg));
        let Some(ring) = self.0.get(worker) else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(call);
    }

    /// The last ones, newest first.
    pub fn last(&self) -> Vec<Call> {
        let mut all: Vec<Call> = Vec::new();
        for ring in &self.0 {
            all.extend(ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        }
        all.sort_by_key(|call| std::cmp::Reverse(call.at));
        all.truncate(KEPT);
        all
    }
}

/// An errmsg with whatever may be a token masked, no control characters, [`ERRMSG`] bytes at most.
pub fn masked(errmsg: &str) -> String {
    let mut out = String::with_capacity(errmsg.len().min(4 * ERRMSG));
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut rest = errmsg;
    while !rest.is_empty() && out.len() <= ERRMSG {
        let run = rest.find(|c| !in_token(c)).unwrap_or(rest.len());
        match run {
            0 => {
                let c = rest.chars().next().unwrap_or_default();
                out.push(if c.is_control() { ' ' } else { c });
                rest = &rest[c.len_utf8()..];
                continue;
            }
            TOKEN.. => out.push_str("***"),
            _ => out.push_str(&rest[..run]),
        }
        rest = &rest[run..];
    }
    cut(&mut out, ERRMSG);
    out
}

/// Cuts a text at a number of bytes, between characters.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    pub(crate) fn call(n: u64) -> Call {
        Call {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(n),
            caller: "cms".into(),
            peer: "10.0.0.1".to_owned(),
            account: Some("main".into()),
            product: Product::Weixin,
            method: "GET".to_owned(),
            path: "/cgi-bin/user/get".to_owned(),
            status: 200,
            errcode: Some(40003),
            errmsg: Some("invalid openid rid: 1-2-3".to_owned()),
            rid: Some("1-2-3".to_owned()),
            bytes: 10,
            ms: 1.5,
            upstream_ms: Some(1.0),
            attempts: 1,
            error: None,
            code: None,
            retry: None,
            request_id: None,
            trace_id: None,
        }
    }

    #[test]
    fn the_last_two_hundred_of_all_workers_are_shown_newest_first() {
        let calls = Calls::new(2);
        for n in 0..1000 {
            calls.keep(usize::try_from(n % 2).unwrap(), call(n));
        }
        // A worker that does not exist keeps nothing.
        calls.keep(7, call(5000));
        let last = calls.last();
        assert_eq!(last.len(), KEPT);
        let secs = |call: &Call| call.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((secs(&last[0]), secs(&last[199])), (999, 800));
    }

    #[test]
    fn paths_and_errmsgs_are_cut_between_characters() {
        let calls = Calls::new(1);
        let long = Call { path: "/é".repeat(4000), errmsg: Some("票".repeat(400)), ..call(1) };
        calls.keep(0, long);
        let last = calls.last();
        assert!(last[0].path.len() <= PATH && last[0].path.len() > PATH - 4);
        assert_eq!(last[0].errmsg.as_ref().unwrap().chars().count(), 66);
    }

    #[test]
    fn what_may_be_a_token_is_masked() {
        let token = "80_abcDEF-0123456789_abcDEF-0123456789_abcDEF-0123456789";
        for (errmsg, right) in [
            (format!("access_token={token}&x"), "access_token=***&x".to_owned()),
            (format!("{token}{token} {token}"), "*** ***".to_owned()),
            ("rid: 6510fcad-3d8ae261-25861ec2".to_owned(), "rid: 6510fcad-3d8ae261-25861ec2".to_owned()),
            ("a\nb\u{1b}[31m".to_owned(), "a b [31m".to_owned()),
            // A token that begins before the cut is masked whole.
            (format!("{} {token}", "x ".repeat(95)), format!("{} ***", "x ".repeat(95))),
        ] {
            assert_eq!(masked(&errmsg), right);
        }
    }

    #[test]
    fn the_most_telling_explanation_is_chosen() {
        let means = |call: &Call| call.explanation().unwrap().means.en;
        assert!(means(&call(1)).contains("openid"));
        assert!(
            means(&Call { errcode: Some(40066), code: Some("not-found"), ..call(1) }).contains("No account")
        );
        let refused = Call { errcode: Some(40164), code: Some("token-refused"), ..call(1) };
        assert!(means(&refused).contains("IP address"));
        let limited = Call { errcode: Some(40001), retry: Some("refresh-limited"), ..call(1) };
        assert!(means(&limited).contains("no further fetch"));
        assert_eq!(Call { errcode: Some(987_654), ..call(1) }.explanation(), None);
    }
}
