//! Follows a chunked request body to its end, strictly, without touching a byte.
//!
//! hyper decodes the chunks; this only has to know where they end, and refuses what other programs read in
//! another way (bare line feeds, sizes with signs or spaces, endless extensions and trailers).

/// The chunked body is malformed.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Longest chunk-size line and longest trailer section, in bytes.
const LONGEST: u32 = 4096;

/// Most trailer fields; hyper's own limit.
const MOST_TRAILERS: u8 = 100;

/// Most bytes of the extensions of all chunks together; hyper gives up at twice as many.
const MOST_EXTENSIONS: u32 = 8192;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Bytes of the current line, or of all trailers.
    length: u32,
    trailers: u8,
    /// Bytes of extensions so far.
    extensions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// At the beginning of a trailer line or of the last, empty one.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, length: 0, trailers: 0, extensions: 0 }
    }
}

impl Chunks {
    /// Takes bytes in; how many of them belong to the body. Fewer than all means that the body has ended.
    ///
    /// # Errors
    /// [`Malformed`], after which the connection cannot be trusted any more.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Data { left } = self.state {
                let here = left.min((bytes.len() - at) as u64);
                at += here as usize;
                self.state = if left == here { State::DataReturn } else { State::Data { left: left - here } };
                continue;
            }
            if self.state == State::Done {
                return Ok(at);
            }
            self.length += 1;
            if self.length > LONGEST {
                return Err(Malformed);
            }
            self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Whether the last chunk and its trailers are over.
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size { size, digits: 0..16 }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let State::Size { digits, .. } = self.state else { return Err(Malformed) };
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                let size = size.checked_mul(16).and_then(|s| s.checked_add(u64::from(digit)));
                State::Size { size: size.ok_or(Malformed)?, digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => {
                State::SizeLineFeed { size }
            }
            (State::Extension { size }, b'\t' | b' '..=b'~') => {
                self.extensions += 1;
                if self.extensions > MOST_EXTENSIONS {
                    return Err(Malformed);
                }
                State::Extension { size }
            }
            (State::SizeLineFeed { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLineFeed { size }, b'\n') => State::Data { left: size },
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => {
                self.length = 0;
                State::Size { size: 0, digits: 0 }
            }
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::LastLineFeed, b'\n') => State::Done,
            // hyper reads trailers as fields, though nobody forwards them; what it would refuse is refused
            // here, before the upstream gets a request that cannot be finished.
            (State::TrailerStart, byte) if is_token(byte) => {
                self.trailers += 1;
                if self.trailers > MOST_TRAILERS {
                    return Err(Malformed);
                }
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerName, byte) if is_token(byte) => State::TrailerName,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLineFeed,
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

/// What a field name may hold (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length of the body at the beginning of `bytes`, or `None` while it has not ended.
    fn end(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::default();
        let used = chunks.follow(bytes)?;
        Ok(chunks.done().then_some(used))
    }

    #[test]
    fn bodies_end_where_they_end() {
        for (bytes, right) in [
            (&b"0\r\n\r\n"[..], Ok(Some(5))),
            (b"5\r\nhello\r\n0\r\n\r\nGET /", Ok(Some(15))),
            (b"A\r\n0123456789\r\n00\r\n\r\n", Ok(Some(21))),
            (b"5;ext=\"v\"\r\nhello\r\n0\r\n\r\n", Ok(Some(23))),
            (b"0\r\nXy: y\r\nZ: w\r\n\r\nrest", Ok(Some(18))),
            (b"5\r\nhel", Ok(None)),
            (b"5\r\nhello\r\n", Ok(None)),
            (b"0\r\n", Ok(None)),
            (b"\r\n", Err(Malformed)),
            (b"5\nhello\r\n0\r\n\r\n", Err(Malformed)),
            (b"5\r\nhelloX\r\n", Err(Malformed)),
            (b"5\r\nhello\n0\r\n\r\n", Err(Malformed)),
            (b"+5\r\nhello\r\n", Err(Malformed)),
            (b"-5\r\n", Err(Malformed)),
            (b"0x5\r\nhello\r\n", Err(Malformed)),
            (b"5 \r\nhello\r\n", Err(Malformed)),
            (b" 5\r\nhello\r\n", Err(Malformed)),
            (b"5;a\nb\r\nhello\r\n", Err(Malformed)),
            (b"11111111111111111\r\n", Err(Malformed)),
            (b"0\r\nX: y\n\r\n", Err(Malformed)),
            (b"0\r\nno colon\r\n\r\n", Err(Malformed)),
            (b"0\r\n0\r\n\r\n", Err(Malformed)),
            (b"0\r\n: y\r\n\r\n", Err(Malformed)),
            (b"0\r\nX : y\r\n\r\n", Err(Malformed)),
            (b"0\r\nX: y\r\n z\r\n\r\n", Err(Malformed)),
            (b"0\r\n\n", Err(Malformed)),
            (b"g\r\n", Err(Malformed)),
        ] {
            assert_eq!(end(bytes), right, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(end(&[b"5;".as_slice(), &[b'a'; 5000]].concat()), Err(Malformed));
        let line =
            |length: usize| [b"1;".as_slice(), &vec![b'a'; length - 4], b"\r\nx\r\n0\r\n\r\n"].concat();
        assert_eq!(end(&line(4094)), Ok(Some(4102)), "the end of its data counts, too");
        assert_eq!(end(&line(4095)), Err(Malformed));
        let extended = [b"1;".as_slice(), &[b'a'; 2048], b"\r\nx\r\n"].concat().repeat(5);
        assert_eq!(end(&extended[..4 * 2055]), Ok(None));
        assert_eq!(end(&extended), Err(Malformed));
        let trailers = |count| ["0\r\n", &"a:\r\n".repeat(count), "\r\n"].concat().into_bytes();
        assert_eq!(end(&trailers(100)), Ok(Some(405)));
        assert_eq!(end(&trailers(101)), Err(Malformed));
    }

    /// Whether hyper's server reads the body to its end.
    async fn hyper_takes(body: &[u8]) -> bool {
        use http_body_util::{BodyExt, Empty};
        use hyper::body::{Bytes, Incoming};
        use tokio::io::AsyncWriteExt;

        let (mut caller, server) = tokio::io::duplex(256 * 1024);
        caller.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        caller.write_all(body).await.unwrap();
        caller.shutdown().await.unwrap();
        let taken = std::rc::Rc::new(std::cell::Cell::new(false));
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            let taken = taken.clone();
            async move {
                taken.set(request.into_body().collect().await.is_ok());
                Ok::<_, std::convert::Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
            }
        });
        let server = hyper_util::rt::TokioIo::new(server);
        let connection = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .half_close(true)
            .serve_connection(server, service);
        let _ = connection.await;
        taken.get()
    }

    /// hyper decodes after the upstream has been asked: what it would refuse must not get that far.
    #[tokio::test]
    async fn what_hyper_would_refuse_is_refused_here() {
        let trailers = |count| ["0\r\n", &"a:\r\n".repeat(count), "\r\n"].concat().into_bytes();
        let extended = |count| [b"1;".as_slice(), &[b'a'; 2048], b"\r\nx\r\n"].concat().repeat(count);
        let last = |chunks: Vec<u8>| [chunks, b"0\r\n\r\n".to_vec()].concat();
        for (body, right) in [
            (b"5;a=\"\r\nhello\r\n0\r\nX: y\r\n\r\n".to_vec(), true),
            (trailers(99), true),
            (last(extended(3)), true),
            (b"0\r\nno colon\r\n\r\n".to_vec(), false),
            (b"0\r\nX: y\r\n z\r\n\r\n".to_vec(), false),
            (trailers(101), false),
            (last(extended(9)), false),
        ] {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(hyper_takes(&body).await, right, "hyper: {shown}");
            assert_eq!(end(&body), if right { Ok(Some(body.len())) } else { Err(Malformed) }, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn the_end_does_not_depend_on_how_the_bytes_are_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..5),
            cut in 1_usize..20,
        ) {
            let mut body = Vec::new();
            for part in &parts {
                body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                body.extend_from_slice(part);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let length = body.len();
            body.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let mut chunks = Chunks::default();
            let mut used = 0;
            for piece in body.chunks(cut) {
                used += chunks.follow(piece).unwrap();
                if chunks.done() {
                    break;
                }
            }
            prop_assert_eq!(used, length);
        }
    }
}
