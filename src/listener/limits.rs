//! The time limits of the caller's side of an HTTP/1 connection: how long a head may take, how long nothing may
//! come, how long nothing may be read; and when a connection that is kept for nothing is parked.
//!
//! They are looked at after each poll of hyper, from what [`RequestState`] says then.

use std::task::{Context, Poll};
use std::time::Duration;

use super::Limits;
use super::state::{Expired, Phase, RequestState};
use crate::deadline::Deadline;

/// How long a connection that is in use waits for its next request before it is parked. One that has carried a single
/// request is parked at once: many keep a connection for a minute and never use it again.
const PARK_AFTER: Duration = Duration::from_millis(500);

/// The time limits of one connection, from its first byte to its last.
#[derive(Debug)]
pub(super) struct TimeLimits {
    head: Duration,
    idle: Duration,
    reading: Deadline,
    writing: Deadline,
}

/// What becomes of a connection whose limit has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// hyper goes on, and sees the limit with its next read.
    Seen(Expired),
    /// The connection is parked: hyper has nothing to do.
    Park,
    /// The connection ends without a word.
    End,
}

impl TimeLimits {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            head: limits.header_timeout,
            idle: limits.idle_timeout,
            reading: Deadline::default(),
            writing: Deadline::default(),
        }
    }

    /// Which limit has run out, when hyper waits.
    pub(super) fn poll(&mut self, state: &RequestState, cx: &mut Context<'_>) -> Poll<Limit> {
        let starved = state.take_starved();
        if state.take_received() {
            self.reading.clear();
        }
        if state.take_wrote() {
            self.writing.clear();
        }
        if state.is_blocked() && self.writing.poll(self.idle, cx).is_ready() {
            return Poll::Ready(Limit::End);
        }
        let (limit, what) = match state.phase() {
            Phase::Body if starved => (self.idle, Limit::Seen(Expired::Body)),
            // What the caller has to send is not asked for.
            Phase::Body | Phase::Http2 | Phase::Nothing => return Poll::Pending,
            // A request is being served, and its caller has nothing to send.
            _ if state.is_in_service() => {
                self.reading.clear();
                return Poll::Pending;
            }
            Phase::Head => (self.head, Limit::Seen(Expired::Head)),
            Phase::FirstHead => (self.head, Limit::End),
            Phase::Between if state.is_blocked() || self.idle <= PARK_AFTER => (self.idle, Limit::End),
            Phase::Between if state.has_had_one_request() => return Poll::Ready(Limit::Park),
            Phase::Between => (PARK_AFTER, Limit::Park),
        };
        self.reading.poll(limit, cx).map(|()| what)
    }

    /// Waits for the first bytes of a connection.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reading.poll(self.head, cx)
    }

    /// Waits for the next request of a parked connection; the time counts from the last one.
    pub(super) fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reading.poll(self.idle, cx)
    }

    /// The first byte of a request has come to a parked connection: the time for its head begins.
    pub(super) fn begin_head(&mut self, state: &RequestState) {
        if self.reading.elapsed() >= PARK_AFTER {
            state.forget_requests();
        }
        self.reading.clear();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::listener::Rejection;
    use crate::listener::framing::StrictFraming;
    use crate::listener::idle::{Idle, Woken};
    use std::future::{pending, poll_fn};
    use std::pin::{Pin, pin};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
    use tokio::time::{Instant, timeout};

    pub(in crate::listener) const HEAD: &[u8] = b"GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n";
    pub(in crate::listener) const IDLE: Duration = Duration::from_secs(75);
    pub(in crate::listener) const LIMITS: Limits = Limits {
        max_connections: 1,
        header_timeout: Duration::from_secs(10),
        idle_timeout: IDLE,
        max_header_bytes: 1024,
        when_full: "there are too many",
    };

    /// A connection with nobody but its limits between it and a reader that stands for hyper.
    pub(in crate::listener) struct Served {
        pub(in crate::listener) framing: StrictFraming<DuplexStream>,
        pub(in crate::listener) limits: TimeLimits,
        pub(in crate::listener) state: RequestState,
    }

    /// What hyper reads, or what becomes of its connection.
    #[derive(Debug, PartialEq, Eq)]
    pub(in crate::listener) enum Read {
        Bytes(Vec<u8>),
        Failed(std::io::ErrorKind),
        Parked,
        Over,
    }

    impl Served {
        pub(in crate::listener) fn new() -> (DuplexStream, Self) {
            let (caller, io) = tokio::io::duplex(64);
            let state = RequestState::default();
            let framing = StrictFraming::new(io, state.clone(), LIMITS);
            (caller, Self { framing, limits: TimeLimits::new(LIMITS), state })
        }

        /// A caller, and its connection of which a head has been read.
        pub(in crate::listener) async fn after(head: &[u8]) -> (DuplexStream, Self) {
            let (mut caller, mut served) = Self::new();
            caller.write_all(head).await.unwrap();
            served.read().await;
            (caller, served)
        }

        /// Reads once, as hyper does.
        pub(in crate::listener) async fn read(&mut self) -> Read {
            let mut bytes = [0; 1024];
            poll_fn(|cx| {
                loop {
                    let mut buf = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut self.framing).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) => return Poll::Ready(Read::Bytes(buf.filled().to_vec())),
                        Poll::Ready(Err(error)) => return Poll::Ready(Read::Failed(error.kind())),
                        Poll::Pending => {}
                    }
                    match std::task::ready!(self.limits.poll(&self.state, cx)) {
                        Limit::Seen(limit) => self.state.expire(limit),
                        Limit::Park => return Poll::Ready(Read::Parked),
                        Limit::End => return Poll::Ready(Read::Over),
                    }
                }
            })
            .await
        }

        /// Waits, parked.
        pub(in crate::listener) async fn parked(&mut self) -> Woken {
            Idle::new(&mut self.framing, &mut self.limits).next(&self.state, pin!(pending())).await
        }
    }

    fn bytes(bytes: &[u8]) -> Read {
        Read::Bytes(bytes.to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_parked_at_once_unless_it_has_come_back_before_long() {
        let (mut caller, mut served) = Served::after(HEAD).await;
        let (soon, late) = (PARK_AFTER / 10, PARK_AFTER * 2);
        // Requests until the connection is parked, after which pause that is, and when the caller comes back then.
        for (requests, pause, back) in [
            (1, Duration::ZERO, late),
            (1, Duration::ZERO, soon),
            (1, PARK_AFTER, Duration::ZERO),
            (1, Duration::ZERO, soon),
            (3, PARK_AFTER, late),
            (2, PARK_AFTER, late),
            (1, Duration::ZERO, late),
        ] {
            for nth in 0..requests {
                if nth > 0 {
                    caller.write_all(HEAD).await.unwrap();
                    assert_eq!(served.read().await, bytes(HEAD));
                }
                served.state.begin();
                served.state.end();
            }
            let start = Instant::now();
            assert_eq!(served.read().await, Read::Parked);
            assert!((pause..=pause * 2).contains(&start.elapsed()), "{requests} {:?}", start.elapsed());
            assert!(timeout(back, served.parked()).await.is_err());
            // In two halves: what wakes it is not yet a head.
            caller.write_all(&HEAD[..9]).await.unwrap();
            assert_eq!(served.parked().await, Woken::Request);
            assert!(timeout(Duration::from_secs(5), served.read()).await.is_err(), "half a head");
            caller.write_all(&HEAD[9..]).await.unwrap();
            assert_eq!(served.read().await, bytes(HEAD));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_sent_ahead_is_served_before_its_connection_is_parked() {
        let (mut caller, mut served) = Served::after(HEAD).await;
        caller.write_all(HEAD).await.unwrap();
        served.read().await;
        served.state.begin();
        served.state.end();
        assert!(timeout(PARK_AFTER / 2, served.read()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte() {
        for parked in [true, false] {
            let (mut caller, mut served) = Served::after(HEAD).await;
            if parked {
                assert_eq!(served.read().await, Read::Parked);
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            caller.write_all(b"G").await.unwrap();
            if parked {
                assert_eq!(served.parked().await, Woken::Request);
            }
            let start = Instant::now();
            assert!(matches!(served.read().await, Read::Bytes(stub) if stub.starts_with(b"GET / HTTP/1.1")));
            assert_eq!(served.state.take_rejection(), Some(Rejection::HeadTimeout));
            assert_eq!(start.elapsed().as_secs(), 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_its_time_from_the_connection_on() {
        let (mut caller, mut served) = Served::new();
        let start = Instant::now();
        assert!(timeout(Duration::from_secs(6), served.read()).await.is_err());
        caller.write_all(b"G").await.unwrap();
        assert!(matches!(served.read().await, Read::Bytes(_)));
        assert_eq!(start.elapsed().as_secs(), 10);
        let (_caller, mut silent) = Served::new();
        assert_eq!(silent.read().await, Read::Over);
        assert_eq!(start.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_counts_from_the_last_request() {
        let (_caller, mut served) = Served::after(HEAD).await;
        let start = Instant::now();
        assert_eq!(served.read().await, Read::Parked);
        assert_eq!(served.parked().await, Woken::Over);
        assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_and_a_drain_end_the_wait_at_once() {
        let (caller, mut served) = Served::after(HEAD).await;
        assert_eq!(served.read().await, Read::Parked);
        let start = Instant::now();
        let idle = Idle::new(&mut served.framing, &mut served.limits);
        assert_eq!(idle.next(&served.state, pin!(async {})).await, Woken::Over);
        drop(caller);
        assert_eq!(served.parked().await, Woken::Over);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// A body that waits for a slow upstream is nobody's delay.
    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_limit_only_while_it_is_asked_for() {
        let (mut caller, mut served) = Served::after(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await;
        served.state.begin();
        let nobody_asks = poll_fn(|cx| served.limits.poll(&served.state, cx));
        assert!(timeout(IDLE * 2, nobody_asks).await.is_err());
        for _ in 0..3 {
            let start = Instant::now();
            assert!(timeout(IDLE / 2, served.read()).await.is_err());
            caller.write_all(b"a").await.unwrap();
            assert_eq!(served.read().await, bytes(b"a"));
            assert_eq!(start.elapsed(), IDLE / 2);
        }
        let start = Instant::now();
        assert_eq!(served.read().await, Read::Failed(std::io::ErrorKind::TimedOut));
        assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_parked_but_a_pause() {
        let longer = PARK_AFTER * 3;
        let (mut caller, mut served) = Served::after(HEAD).await;
        served.state.begin();
        assert!(timeout(longer, served.read()).await.is_err(), "a request is being served");
        // The caller has read nothing of an answer yet.
        served.framing.write_all(&[b'a'; 64]).await.unwrap();
        assert!(timeout(longer, served.framing.write_all(b"b")).await.is_err());
        served.state.end();
        assert!(timeout(longer, served.read()).await.is_err(), "an answer is on its way");
        caller.read_exact(&mut [0; 64]).await.unwrap();
        served.framing.write_all(b"b").await.unwrap();
        assert_eq!(served.read().await, Read::Parked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_nothing_is_cut_off() {
        let (mut caller, mut served) = Served::after(HEAD).await;
        served.state.begin();
        served.framing.write_all(&[b'a'; 64]).await.unwrap();
        for room in [true, false] {
            let start = Instant::now();
            let write = served.framing.write_all(b"b");
            assert!(timeout(Duration::ZERO, write).await.is_err());
            match room {
                true => {
                    assert!(timeout(IDLE / 2, served.read()).await.is_err());
                    caller.read_exact(&mut [0; 1]).await.unwrap();
                    served.framing.write_all(b"b").await.unwrap();
                }
                false => {
                    assert_eq!(served.read().await, Read::Over);
                    assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
                }
            }
        }
    }
}
