//! Header case: keeps how the names of a head were spelled, and writes them so again, both ways.
//!
//! hyper knows names in lower case, and writes them `Like-This`. It can keep a record of each head's spelling, for
//! ten allocations a call; most heads need none. So the names of a head that has others are noted here, travel with
//! the message as an extension, and take the place of hyper's in the bytes that it writes: no length changes. Reads no
//! values, and knows neither fields nor sockets. Names over HTTP/2 are in lower case and have no case to keep.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// The names of one head as they were spelled, in their order, each with a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCase(Bytes);

impl HeaderCase {
    /// That of a head with these names; `None` when hyper would spell all of them so.
    pub fn of<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> Option<Self> {
        if names.clone().all(is_title_case) {
            return None;
        }
        let mut all = Vec::new();
        for name in names {
            all.extend_from_slice(name);
            all.push(b':');
        }
        Some(Self(all.into()))
    }

    /// That of a head with these names, each with a colon behind it.
    pub(crate) fn noted(names: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(names))
    }

    /// Spells the names in a head as they were: those of one name that comes several times in their order. What is new
    /// there stays as it is.
    pub fn restore(&self, head: &mut [u8]) {
        let mut left: Vec<&[u8]> = self.0.split(|byte| *byte == b':').collect();
        for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
            let Some(end) = memchr::memchr(b':', line) else { continue };
            let name = &mut line[..end];
            if let Some(at) = left.iter().position(|as_it_was| as_it_was.eq_ignore_ascii_case(name)) {
                name.copy_from_slice(left.remove(at));
            }
        }
    }
}

/// Whether a name has capitals at the beginning of its words, and nowhere else.
pub fn is_title_case(name: &[u8]) -> bool {
    title_case_length(name) == Some(name.len())
}

/// How many bytes come before the first colon or line feed, if hyper would spell them so.
pub(crate) fn title_case_length(line: &[u8]) -> Option<usize> {
    let (mut begins, mut wrong, mut length) = (true, false, 0);
    // To its end in any case: names are short, and each message has some.
    for &byte in line {
        if matches!(byte, b':' | b'\n') {
            break;
        }
        wrong |= if begins { byte.is_ascii_lowercase() } else { byte.is_ascii_uppercase() };
        begins = byte == b'-';
        length += 1;
    }
    (!wrong).then_some(length)
}

/// What hyper writes first of a message, with its names as they were spelled.
#[derive(Debug)]
pub(crate) struct CasedHead {
    bytes: Vec<u8>,
    written: usize,
}

impl CasedHead {
    /// Of a message that begins with the first byte of `written`, perhaps behind a `100 Continue`. hyper writes a whole
    /// head at once.
    pub(crate) fn new(case: &HeaderCase, written: &[u8]) -> Self {
        let mut bytes = written.to_vec();
        let mut begin = 0;
        while let Some(length) = memchr::memmem::find(&bytes[begin..], b"\r\n\r\n") {
            let head = begin..begin + length;
            begin = head.end + 4;
            if !bytes[head.clone()].starts_with(b"HTTP/1.1 100 ") {
                case.restore(&mut bytes[head]);
                break;
            }
        }
        Self { bytes, written: 0 }
    }

    /// Writes what hyper wants written, as far as this is a part of it, in its place. Once all of it is written, `None`
    /// is left.
    pub(crate) fn poll_write(
        this: &mut Option<Self>,
        io: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(head) = this else { return io.poll_write_vectored(cx, bufs) };
        let rest = &head.bytes[head.written..];
        let written = match bufs {
            // Together with what follows, as long as hyper has added nothing to the piece that this is.
            [first, more @ ..] if first.len() == rest.len() && !more.is_empty() => {
                let mut all = vec![IoSlice::new(rest)];
                all.extend(more.iter().map(|piece| IoSlice::new(piece)));
                ready!(io.poll_write_vectored(cx, &all))?
            }
            _ => ready!(io.poll_write(cx, rest))?,
        };
        head.written += written;
        if head.written >= head.bytes.len() {
            *this = None;
        }
        Poll::Ready(Ok(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, duplex};

    fn of(names: &[&'static str]) -> Option<HeaderCase> {
        HeaderCase::of(names.iter().map(|name| name.as_bytes()))
    }

    fn restored(names: &[&'static str], head: &str) -> String {
        let mut head = head.as_bytes().to_vec();
        of(names).unwrap().restore(&mut head);
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn names_that_hyper_spells_so_by_itself_need_no_record() {
        for (name, right) in [
            ("Content-Type", true),
            ("X-Wx-One", true),
            ("X--1a", true),
            ("1-A", true),
            ("content-type", false),
            ("Content-type", false),
            ("ETag", false),
            ("Content-MD5", false),
            ("X-a", false),
        ] {
            assert_eq!(is_title_case(name.as_bytes()), right, "{name}");
            assert_eq!(of(&["Accept", name]).is_none(), right, "{name}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn names_are_spelled_as_they_were_and_nothing_else_is_touched() {
        let head = "GET /a?host:b HTTP/1.1\r\nHost: host\r\nX-Rep: x-rep:\r\nX-Rep: 2\r\nNew: accept\r\nAccept: a\r\n\r\n";
        let right = "GET /a?host:b HTTP/1.1\r\nHOST: host\r\nx-rep: x-rep:\r\nX-REP: 2\r\nNew: accept\r\naccept: a\r\n\r\n";
        assert_eq!(restored(&["x-rep", "accept", "HOST", "gone", "X-REP"], head), right);
    }

    #[test]
    fn the_final_head_is_meant_behind_a_100() {
        let case = of(&["etag"]).unwrap();
        for (written, right) in [
            ("HTTP/1.1 200 OK\r\nEtag: 1\r\n\r\nEtag: 2", "HTTP/1.1 200 OK\r\netag: 1\r\n\r\nEtag: 2"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nEtag: 1\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\netag: 1\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\nEtag: 1\r\n", "HTTP/1.1 200 OK\r\nEtag: 1\r\n"),
        ] {
            let cased = CasedHead::new(&case, written.as_bytes());
            assert_eq!(String::from_utf8_lossy(&cased.bytes), right);
        }
    }

    proptest! {
        /// Whatever the socket takes at once, the bytes are those of hyper but for the case of names.
        #[test]
        fn pieces_of_any_size_are_written_in_order(takes in 1usize..40, body in 0usize..60, extra in 0usize..9) {
            let head = b"HTTP/1.1 200 OK\r\nEtag: 1\r\nX-Wx: 2\r\n\r\n";
            let body = vec![b'b'; body];
            let extra = vec![b'e'; extra];
            let case = of(&["ETag", "X-WX"]).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut ours, mut theirs) = duplex(takes);
                let mut cased = Some(CasedHead::new(&case, head));
                let mut written = 0;
                let length = head.len() + extra.len() + body.len();
                let writing = async {
                    while written < length {
                        // As hyper does it: the first piece may have grown since the last write.
                        let first = [&head[..], &extra[..]].concat();
                        let grown = if written == 0 { &first[..head.len()] } else { &first[..] };
                        let first = grown.get(written..).unwrap_or_default();
                        let second = &body[written.saturating_sub(head.len() + extra.len())..];
                        let whole = written > 0 || extra.is_empty();
                        let bufs = if whole { vec![IoSlice::new(first), IoSlice::new(second)] } else { vec![IoSlice::new(first)] };
                        let bufs: Vec<_> = bufs.into_iter().filter(|piece| !piece.is_empty()).collect();
                        written += poll_fn(|cx| CasedHead::poll_write(&mut cased, Pin::new(&mut ours), cx, &bufs)).await.unwrap();
                    }
                    drop(ours);
                };
                let mut read = Vec::new();
                let (_, outcome) = tokio::join!(writing, theirs.read_to_end(&mut read));
                outcome.unwrap();
                read
            });
            let right = [&b"HTTP/1.1 200 OK\r\nETag: 1\r\nX-WX: 2\r\n\r\n"[..], &extra, &body].concat();
            prop_assert_eq!(read, right);
        }
    }
}
