//! Follows a caller's bytes from head to body to next head, and says how many of them may go on to hyper.
//!
//! It sees bytes and reads none: neither sockets nor timers are known here.

use crate::http1::chunks::Chunks;
use crate::http1::head::{self, Framing, HeadError};

/// The first bytes of HTTP/2 by prior knowledge (RFC 9113 section 3.4); no HTTP/1 request begins so.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Where a caller's bytes have got to.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) state: State,
    /// How many of the bytes that may not go on yet have been searched for the end of the head.
    searched: usize,
    max_head: usize,
    keeps_spelling: bool,
    last: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// At the beginning of a head; `first` on a new connection.
    Head {
        first: bool,
    },
    /// Between two requests for a while: hyper sees an end, and [`super::Guard::rest`] waits for the next one.
    Resting,
    /// At the beginning of a head with names in a spelling of their own, which hyper was not asked to keep: it sees
    /// an end, and begins anew.
    Respelt,
    Sized(u64),
    Chunked(Chunks),
    /// HTTP/2's preface has come: hyper's HTTP/1 side sees an end, and nothing else.
    Preface,
    /// HTTP/2: hyper's own guards are at work.
    Through,
    /// Nothing more comes from this caller.
    Refused,
    Broken,
}

/// What may be done with fresh bytes.
pub(super) enum Verdict {
    /// So many, from the first, may go through.
    Pass(usize),
    /// None of them, for now.
    Wait,
    Reject(HeadError),
}

impl Course {
    pub(super) fn new(max_head: usize) -> Self {
        Self { state: State::Head { first: true }, searched: 0, max_head, keeps_spelling: false, last: false }
    }

    /// The largest head that this caller may send, in bytes.
    pub(super) fn max_head(&self) -> usize {
        self.max_head
    }

    /// Whether hyper is to remember how names are spelt. Most callers spell them as it does by itself, and it takes
    /// a map for each request.
    pub(super) fn keeps_spelling(&self) -> bool {
        self.keeps_spelling
    }

    /// Whether the connection ends with the request whose head went through last.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Whether so many waiting bytes have all been seen.
    pub(super) fn has_seen(&self, waiting: usize) -> bool {
        self.searched >= waiting
    }

    /// Looks at fresh bytes and moves on as far as they allow.
    pub(super) fn consider(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.state {
            State::Through => Verdict::Pass(bytes.len()),
            State::Resting | State::Respelt | State::Preface | State::Refused | State::Broken => {
                Verdict::Wait
            }
            State::Sized(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                if *left == 0 {
                    self.state = State::Head { first: false };
                }
                Verdict::Pass(here as usize)
            }
            State::Chunked(chunks) => match chunks.follow(bytes) {
                Ok(used) => {
                    if chunks.done() {
                        self.state = State::Head { first: false };
                    }
                    Verdict::Pass(used)
                }
                Err(_) => {
                    self.state = State::Broken;
                    Verdict::Wait
                }
            },
            State::Head { .. } => self.consider_head(bytes),
        }
    }

    fn consider_head(&mut self, bytes: &[u8]) -> Verdict {
        let empty = head::leading_empty_lines(bytes);
        let end = match head::end_of_head(bytes, self.searched.max(empty)) {
            Ok(end) => end,
            Err(error) => return Verdict::Reject(error),
        };
        if let Some(&first) = bytes.get(empty)
            && let Err(error) = head::check_beginning(first)
        {
            return Verdict::Reject(error);
        }
        self.searched = bytes.len();
        if matches!(self.state, State::Head { first: true })
            && end.is_some()
            && bytes.starts_with(HTTP2_PREFACE)
        {
            self.state = State::Preface;
            return Verdict::Wait;
        }
        if end.unwrap_or(bytes.len()) > self.max_head {
            return Verdict::Reject(head::TOO_LARGE);
        }
        let Some(end) = end else { return Verdict::Wait };
        self.searched = 0;
        let head = match head::read(&bytes[empty..end]) {
            Ok(head) => head,
            Err(error) => return Verdict::Reject(error),
        };
        if !head.usual_names && !self.keeps_spelling {
            self.keeps_spelling = true;
            self.state = State::Respelt;
            return Verdict::Wait;
        }
        self.last = head.last;
        self.state = match head.framing {
            Framing::Sized(0) => State::Head { first: false },
            Framing::Sized(length) => State::Sized(length),
            Framing::Chunked => State::Chunked(Chunks::default()),
        };
        // What has come of the body goes with its head; the next head waits until hyper asks for it.
        let body = match self.state {
            State::Sized(_) | State::Chunked(_) if end < bytes.len() => self.consider(&bytes[end..]),
            _ => Verdict::Wait,
        };
        Verdict::Pass(if let Verdict::Pass(length) = body { end + length } else { end })
    }
}
