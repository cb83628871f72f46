//! The last calls that failed or were repeated, in rings of bounded size.
//!
//! Each worker writes a ring of its own, so that no worker waits for another; whoever looks merges them. No query, no
//! token, no body is kept: the fields of the access line, and the answer's errmsg, cut and masked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::errcodes::{self, Entry, Product};
use crate::stats::RequestStats;
use crate::text::beginning;

/// Calls that are shown, and that one worker keeps.
pub const KEPT: usize = 200;

/// The longest errmsg that is kept, in bytes.
pub const ERRMSG: usize = 200;

/// The longest path that is kept, in bytes: a caller chooses it.
const PATH: usize = 512;

/// A run of this many letters, digits, `-` and `_` may be a token.
const TOKEN: usize = 48;

/// One call: its statistics, and what the upstream said.
#[derive(Debug, Clone)]
pub struct Call {
    /// When its answer was over.
    pub at: SystemTime,
    /// From its head to then.
    pub took: Duration,
    /// Whose errcodes its account gets.
    pub product: Product,
    /// The answer's errmsg: the upstream's, or that of an answer of wxgate's own.
    pub errmsg: Option<String>,
    /// What its access line says.
    pub stats: RequestStats,
}

impl Call {
    /// What is known of why it failed: a refused token fetch by WeChat's number, which says more than our code;
    /// else our code for an answer of our own, or for why it was not repeated; else WeChat's errcode. Of one that did not
    /// fail: that it was repeated.
    pub fn explanation(&self) -> &'static Entry {
        let of_number = || self.stats.errcode.and_then(|number| errcodes::errcode(self.product, number));
        let code = self.stats.code;
        let of_code = || code.and_then(|code| errcodes::own(code).or_else(|| errcodes::retry(code)));
        let known = match code {
            Some("token-refused") => of_number().or_else(of_code),
            _ => of_code().or_else(of_number),
        };
        known.unwrap_or(match self.stats.status {
            _ if self.went_well() => &errcodes::SENT_AGAIN,
            0 => &errcodes::LEFT,
            _ if self.stats.errcode.is_some_and(|errcode| errcode != 0) => &errcodes::UNKNOWN,
            1..400 => &errcodes::BROKEN_OFF,
            _ => &errcodes::HTTP_ERROR,
        })
    }

    /// Whether its caller got a whole answer that is no error.
    pub fn went_well(&self) -> bool {
        !self.stats.failed() && self.stats.cause.is_none()
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
        if let Some(path) = call.stats.path.take() {
            let mut path = path.into_string();
            cut(&mut path, PATH);
            call.stats.path = Some(path.into());
        }
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
    text.truncate(beginning(text, bytes).len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn call(n: u64) -> Call {
        let mut stats = RequestStats::begin([10, 0, 0, 1].into(), &Method::GET);
        (stats.status, stats.errcode) = (200, Some(40003));
        stats.keep_path("/cgi-bin/user/get");
        Call {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(n),
            took: Duration::from_millis(2),
            product: Product::Weixin,
            errmsg: Some("invalid openid rid: 1-2-3".to_owned()),
            stats,
        }
    }

    fn with(errcode: i64, code: Option<&'static str>) -> Call {
        let mut call = call(1);
        (call.stats.errcode, call.stats.code) = (Some(errcode), code);
        call
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
        let mut long = Call { errmsg: Some("票".repeat(400)), ..call(1) };
        long.stats.path = Some("/é".repeat(4000).into());
        calls.keep(0, long);
        let last = calls.last();
        let path = last[0].stats.path.as_ref().unwrap();
        assert!(path.len() <= PATH && path.len() > PATH - 4);
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
        let means = |call: &Call| call.explanation().means.en;
        assert!(means(&call(1)).contains("openid"));
        assert!(means(&with(40066, Some("not-found"))).contains("No account"));
        assert!(means(&with(40164, Some("token-refused"))).contains("IP address"));
        assert!(means(&with(987_654, Some("token-refused"))).contains("refuses to issue"));
        assert!(means(&with(40001, Some("refresh-limited"))).contains("no further fetch"));
        assert!(means(&with(987_654, None)).contains("no words for"));
        let mut call = with(0, None);
        for (status, attempts, right) in
            [(200, 2, "sent the call again"), (503, 1, "HTTP error"), (0, 1, "went away")]
        {
            (call.stats.status, call.stats.attempts) = (status, attempts);
            assert!(means(&call).contains(right), "{status}");
        }
        (call.stats.status, call.stats.attempts) = (200, 2);
        call.stats.cause = Some("the response broke off".into());
        assert!(!call.went_well() && means(&call).contains("broke off"));
    }
}
