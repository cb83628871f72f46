//! Follows a caller's bytes from head to body to next head, and says how many of them may go on to hyper.
//!
//! It sees bytes and reads none: neither sockets nor timers are known here.

use crate::header_case::HeaderCase;
use crate::http1::chunks::Chunks;
use crate::http1::head::{self, Framing, Head, HeadError};
use crate::http1::lenient;

/// The first bytes of HTTP/2 by prior knowledge (RFC 9113 section 3.4); no HTTP/1 request begins so.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Where a caller's bytes have got to.
#[derive(Debug)]
pub(super) struct FramingState {
    position: Position,
    /// Whether a request has come before.
    first: bool,
    /// How many of the bytes that may not go on yet have been searched for the end of the head.
    searched: usize,
    /// Whether a line of this head ends in a bare line feed.
    bare_line_feed: bool,
    max_head: usize,
    last: bool,
    case: Option<HeaderCase>,
}

#[derive(Debug)]
enum Position {
    Head,
    Sized(u64),
    Chunked(Chunks),
}

/// What may be done with fresh bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many, from the first, may go through.
    Pass(usize),
    /// These go through in the place of so many: the same head in its strict form.
    Rewrite(Vec<u8>, usize),
    /// None of them, for now.
    Wait,
    /// HTTP/2 begins with them.
    Http2,
    /// They begin a head that is refused.
    Reject(HeadError),
    /// A chunk is malformed.
    Broken,
}

impl FramingState {
    /// At the beginning of a connection whose heads may have so many bytes.
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            position: Position::Head,
            first: true,
            searched: 0,
            bare_line_feed: false,
            max_head,
            last: false,
            case: None,
        }
    }

    /// The largest head that this caller may send, in bytes.
    pub(super) fn max_head(&self) -> usize {
        self.max_head
    }

    /// Whether the connection ends with the request whose head went through last.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// How the names in the head that went through last are spelled, unless all of them are `Like-This`.
    pub(super) fn take_case(&mut self) -> Option<HeaderCase> {
        self.case.take()
    }

    /// Whether the next byte belongs to a head.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.position, Position::Head)
    }

    /// Whether no request has come before the next one.
    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// Whether so many waiting bytes have all been seen.
    pub(super) fn has_seen(&self, waiting: usize) -> bool {
        self.searched >= waiting
    }

    /// Looks at fresh bytes and moves on as far as they allow.
    pub(super) fn consider(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.position {
            Position::Head => self.consider_head(bytes),
            Position::Sized(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                if *left == 0 {
                    self.position = Position::Head;
                }
                Verdict::Pass(here as usize)
            }
            Position::Chunked(chunks) => match chunks.follow(bytes) {
                // The last byte waits until it is asked for: what is at its end here, hyper has read to its end.
                Ok(used) if chunks.done() && used > 1 => {
                    self.position = Position::Sized(1);
                    Verdict::Pass(used - 1)
                }
                Ok(used) => {
                    if chunks.done() {
                        self.position = Position::Head;
                    }
                    Verdict::Pass(used)
                }
                Err(_) => Verdict::Broken,
            },
        }
    }

    fn consider_head(&mut self, bytes: &[u8]) -> Verdict {
        let empty = head::leading_empty_lines(bytes);
        let found = match head::end_of_head(bytes, self.searched.max(empty)) {
            Ok(found) => found,
            Err(error) => return Verdict::Reject(error),
        };
        if let Some(&first) = bytes.get(empty)
            && let Err(error) = head::check_beginning(first)
        {
            return Verdict::Reject(error);
        }
        self.searched = bytes.len();
        self.bare_line_feed |= found.bare_line_feed;
        if self.first && found.end.is_some() && bytes.starts_with(HTTP2_PREFACE) {
            return Verdict::Http2;
        }
        if found.end.unwrap_or(bytes.len()) > self.max_head {
            return Verdict::Reject(head::TOO_LARGE);
        }
        let Some(end) = found.end else { return Verdict::Wait };
        self.searched = 0;
        let bare = std::mem::take(&mut self.bare_line_feed);
        match lenient::read(&bytes[empty..end], bare) {
            Ok((head, None)) => {
                self.begin_body(head);
                // What has come of a sized body goes with its head; chunks, and the next head, wait until hyper asks
                // for them.
                let body = match self.position {
                    Position::Sized(_) if end < bytes.len() => self.consider(&bytes[end..]),
                    _ => Verdict::Wait,
                };
                Verdict::Pass(if let Verdict::Pass(length) = body { end + length } else { end })
            }
            Ok((head, Some(rewritten))) => {
                self.begin_body(head);
                Verdict::Rewrite(rewritten, end)
            }
            Err(error) => Verdict::Reject(error),
        }
    }

    fn begin_body(&mut self, head: Head) {
        self.first = false;
        self.last = head.last;
        self.case = head.case;
        self.position = match head.framing {
            Framing::Sized(0) => Position::Head,
            Framing::Sized(length) => Position::Sized(length),
            Framing::Chunked => Position::Chunked(Chunks::default()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    fn new() -> FramingState {
        FramingState::new(1000)
    }

    /// Behind this head.
    fn after(head: &[u8]) -> FramingState {
        let mut state = new();
        assert_eq!(state.consider(head), Verdict::Pass(head.len()));
        state
    }

    #[test]
    fn a_body_of_a_length_goes_on_with_its_head_and_no_further() {
        let mut state = new();
        let head = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
        assert!(state.is_first() && state.is_at_head());
        assert_eq!(state.consider(&[head, &b"abc"[..]].concat()), Verdict::Pass(head.len() + 3));
        assert!(!state.is_first() && !state.is_at_head());
        assert_eq!(state.consider(b"deGET"), Verdict::Pass(2));
        assert!(state.is_at_head() && !state.is_first());
        assert_eq!(state.consider(&[head, &b"abcdeGET"[..]].concat()), Verdict::Pass(head.len() + 5));
        assert_eq!(state.consider(GET), Verdict::Pass(GET.len()));
    }

    #[test]
    fn the_last_byte_of_chunks_waits_until_it_is_asked_for() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = b"3\r\nabc\r\n0\r\n\r\n";
        let mut state = new();
        assert_eq!(state.consider(&[&head[..], body].concat()), Verdict::Pass(head.len()));
        assert_eq!(state.consider(b"3\r\na"), Verdict::Pass(4));
        assert_eq!(state.consider(&[&body[4..], GET].concat()), Verdict::Pass(body.len() - 5));
        assert!(!state.is_at_head());
        assert_eq!(state.consider(&[b"\n", GET].concat()), Verdict::Pass(1));
        assert!(state.is_at_head());
        // Where it comes alone, it has been asked for.
        let mut state = after(head);
        assert_eq!(state.consider(&body[..body.len() - 1]), Verdict::Pass(body.len() - 1));
        assert_eq!(state.consider(b"\n"), Verdict::Pass(1));
        assert!(state.is_at_head());
        assert_eq!(after(head).consider(b"x"), Verdict::Broken);
    }

    #[test]
    fn a_head_is_odd_wherever_it_was_cut() {
        let head = b"GET / HTTP/1.1\nA: b\nC: d\r\n\r\n";
        let right = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
        for cuts in [vec![], vec![17], vec![15, 20], vec![16, 22], vec![20, 26, 27]] {
            let mut state = new();
            for cut in cuts {
                assert_eq!(state.consider(&head[..cut]), Verdict::Wait);
                assert!(state.has_seen(cut) && !state.has_seen(cut + 1));
            }
            assert_eq!(
                state.consider(&[&head[..], GET].concat()),
                Verdict::Rewrite(right.to_vec(), head.len())
            );
            assert_eq!(state.consider(GET), Verdict::Pass(GET.len()), "the next one is not odd for it");
        }
    }

    #[test]
    fn heads_have_a_limit() {
        let with = |length: usize| {
            let begin = b"GET / HTTP/1.1\r\nA: ";
            [begin, vec![b'a'; length - begin.len() - 4].as_slice(), b"\r\n\r\n"].concat()
        };
        assert_eq!(new().max_head(), 1000);
        assert_eq!(new().consider(&with(1000)), Verdict::Pass(1000));
        assert_eq!(new().consider(&with(1001)), Verdict::Reject(head::TOO_LARGE));
        assert_eq!(new().consider(&with(1100)[..1000]), Verdict::Wait);
        assert_eq!(new().consider(&with(1100)[..1001]), Verdict::Reject(head::TOO_LARGE));
        assert_eq!(new().consider(&[with(1000).as_slice(), GET].concat()), Verdict::Pass(1000));
    }

    #[test]
    fn http2_begins_a_connection_and_nothing_else() {
        assert_eq!(new().consider(&[HTTP2_PREFACE, b"SM"].concat()), Verdict::Http2);
        assert_eq!(new().consider(&HTTP2_PREFACE[..9]), Verdict::Wait);
        assert!(matches!(after(GET).consider(HTTP2_PREFACE), Verdict::Reject(_)));
    }

    #[test]
    fn the_spelling_of_names_is_told_once() {
        let mut state = after(b"GET / HTTP/1.1\r\nHOST: h\r\n\r\n");
        assert_eq!(state.take_case(), HeaderCase::of([&b"HOST"[..]].into_iter()));
        assert_eq!(state.take_case(), None);
    }
}
