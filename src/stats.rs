//! The statistics of one request: gathered on its way, read at its end by the access log and whoever else counts.
//!
//! They hold nothing secret: the path without its query and cut at the first `=`, never a query, a field of the
//! caller only where its form is known. Nothing here writes or counts.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Method};

/// A caller's own name of its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The W3C's field of a distributed trace.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest `X-Request-Id` that is taken over, in bytes.
const LONGEST_REQUEST_ID: usize = 128;

/// The longest `rid` that is taken over, in bytes; WeChat's are 26.
const LONGEST_RID: usize = 64;

/// What is known of a request.
#[derive(Debug, Clone)]
pub struct RequestStats {
    /// When its head had been read.
    pub started: Instant,
    /// From then to its end; zero before that.
    pub took: Duration,
    /// Where the caller's connection comes from.
    pub peer: IpAddr,
    /// Its method.
    pub method: Method,
    /// Its path as the caller sent it, with the account's prefix; see [`path_only`]. Kept for the access log, and
    /// for calls that failed or were repeated; `None` elsewhere.
    pub path: Option<Box<str>>,
    /// Name of the caller, once it is known.
    pub caller: Option<Arc<str>>,
    /// Name of the account, once the request was routed.
    pub account: Option<Arc<str>>,
    /// HTTP status of the answer, 0 while there is none.
    pub status: u16,
    /// Top-level errcode of the answer, where there was one to read.
    pub errcode: Option<i64>,
    /// What WeChat says of a call that failed, without the token, cut at 200 bytes; or what wxgate's own answer says.
    pub errmsg: Option<Box<str>>,
    /// WeChat's id of a call that failed.
    pub rid: Option<Box<str>>,
    /// Bytes of the answer's body that were handed over.
    pub bytes: u64,
    /// From sending to the head of the answer, over all attempts.
    pub upstream: Duration,
    /// How often it was sent on purpose: 2 after a refused token.
    pub attempts: u32,
    /// The value of `x-wxgate-error` or `x-wxgate-retry`.
    pub code: Option<&'static str>,
    /// What went wrong beyond that, in words that may be shown in a log.
    pub cause: Option<Cow<'static, str>>,
    /// The caller's `X-Request-Id`, if well-formed.
    pub request_id: Option<Box<str>>,
    /// The id of the caller's trace: 32 lower-case hexadecimal digits.
    pub trace_id: Option<Box<str>>,
}

impl RequestStats {
    /// Begins with a request whose head has been read.
    pub fn begin(peer: IpAddr, method: &Method) -> Self {
        Self {
            started: Instant::now(),
            took: Duration::ZERO,
            peer,
            method: method.clone(),
            path: None,
            caller: None,
            account: None,
            status: 0,
            errcode: None,
            errmsg: None,
            rid: None,
            bytes: 0,
            upstream: Duration::ZERO,
            attempts: 0,
            code: None,
            cause: None,
            request_id: None,
            trace_id: None,
        }
    }

    /// Takes over how the caller names its request.
    pub fn read_ids(&mut self, headers: &HeaderMap) {
        // One look at each name costs less than a hash of two: most requests have few fields, and none of these.
        for (name, value) in headers {
            if name == REQUEST_ID {
                self.request_id = request_id(value.as_bytes()).map(Into::into);
            } else if name == TRACE_PARENT {
                self.trace_id = trace_id(value.as_bytes()).map(Into::into);
            }
        }
    }

    /// Takes the path over unless it is here already.
    pub fn keep_path(&mut self, path: &str) {
        self.path.get_or_insert_with(|| path_only(path).into());
    }

    /// What went wrong, for a log: the code, the cause, or both.
    pub fn error(&self) -> Option<Cow<'_, str>> {
        match (self.code, &self.cause) {
            (Some(code), Some(cause)) => Some(format!("{code}: {cause}").into()),
            (Some(code), None) => Some(code.into()),
            (None, cause) => cause.as_deref().map(Cow::Borrowed),
        }
    }

    /// Whether the call failed, or was sent more than once.
    pub fn is_notable(&self) -> bool {
        self.attempts > 1 || self.failed()
    }

    /// Whether it got no answer or an error: an errcode, an HTTP error, an answer of wxgate's own.
    pub fn failed(&self) -> bool {
        self.status == 0
            || self.status >= 400
            || self.code.is_some()
            || self.errcode.is_some_and(|errcode| errcode != 0)
    }
}

/// With three digits behind the point, as the access line and the admin listener tell times.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// The part of a path that may be kept: up to its first `=`.
///
/// A caller that forgets the `?`, or encodes it, makes its token or secret a part of the path.
pub fn path_only(path: &str) -> &str {
    let value = |at: usize| match &path.as_bytes()[at..] {
        [b'=', ..] => Some(at + "=".len()),
        [b'%', b'3', b'D' | b'd', ..] => Some(at + "%3D".len()),
        _ => None,
    };
    &path[..(0..path.len()).find_map(value).unwrap_or(path.len())]
}

/// The `rid` at the end of an errmsg: WeChat's support asks for it.
pub fn rid(errmsg: &str) -> Option<&str> {
    let (_, after) = errmsg.rsplit_once("rid:")?;
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(after.len());
    (1..=LONGEST_RID).contains(&end).then(|| &after[..end])
}

/// 1 to 128 of `A-Za-z0-9._:/=+-`: nothing that could be taken for another part of a line.
fn request_id(value: &[u8]) -> Option<&str> {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"._:/=+-".contains(b);
    let right = (1..=LONGEST_REQUEST_ID).contains(&value.len()) && value.iter().all(fits);
    std::str::from_utf8(value).ok().filter(|_| right)
}

/// The trace-id of `version-traceid-parentid-flags`; where it or the parent-id is all zeros there is none.
fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|p| p.len() == length && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let (version, id, parent) = (parts.next(), parts.next(), parts.next());
    let has_one = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|b| b != b'0'));
    let right = hex(version, 2)
        && version != Some("ff")
        && hex(id, 32)
        && has_one(id)
        && hex(parent, 16)
        && has_one(parent)
        && hex(parts.next(), 2)
        // Version 00 has these four; later ones may have more.
        && (parts.next().is_none() || version != Some("00"));
    id.filter(|_| right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_slipped_into_the_path_is_cut_before_its_first_value() {
        for (path, shown) in [
            ("/cgi-bin/user/get", "/cgi-bin/user/get"),
            ("/cgi-bin/user/get&access_token=x", "/cgi-bin/user/get&access_token="),
            ("/cgi-bin/user/get%3Faccess_token%3Dx&a=b", "/cgi-bin/user/get%3Faccess_token%3D"),
            ("/cgi-bin/user/get%3faccess_token=x%3D", "/cgi-bin/user/get%3faccess_token="),
            ("/a%3dx%3Dy", "/a%3d"),
            ("", ""),
        ] {
            assert_eq!(path_only(path), shown);
        }
    }

    #[test]
    fn rids_of_errmsgs() {
        for (errmsg, right) in [
            ("invalid appid rid: 6510fcad-3d8ae261-25861ec2", Some("6510fcad-3d8ae261-25861ec2")),
            ("a rid:1, b", Some("1")),
            ("rid: a rid: b ", Some("b")),
            ("hint: [TLGyGA0887vr57!]", None),
            ("rid: ", None),
            ("rid: \"x", None),
            ("", None),
        ] {
            assert_eq!(rid(errmsg), right, "{errmsg}");
        }
        assert_eq!(rid(&format!("rid: {}", "a".repeat(65))), None);
    }

    #[test]
    fn ids_are_taken_over_if_well_formed() {
        let ids = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            let mut stats = RequestStats::begin([127, 0, 0, 1].into(), &Method::GET);
            stats.read_ids(&headers);
            (stats.request_id.as_deref().map(str::to_owned), stats.trace_id.as_deref().map(str::to_owned))
        };
        let longest = "a".repeat(128);
        for good in ["1", "aZ09._:/=+-", &longest] {
            assert_eq!(ids(&[("x-request-id", good)]).0.as_deref(), Some(good));
        }
        for bad in ["", "a b", "a\"b", "a,b", "{a}", "a\tb", &"a".repeat(129)] {
            assert_eq!(ids(&[("x-request-id", bad)]).0, None, "{bad}");
        }
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for good in [format!("00-{id}-00f067aa0ba902b7-01"), format!("01-{id}-00f067aa0ba902b7-01-more")] {
            assert_eq!(ids(&[("traceparent", &good)]).1.as_deref(), Some(id), "{good}");
        }
        for bad in [
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}x-00f067aa0ba902b7-01"),
            String::new(),
        ] {
            assert_eq!(ids(&[("traceparent", &bad)]).1, None, "{bad}");
        }
    }
}
