//! One exchange on a connection: a request, and the head of its response.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::RequestBody;
use super::connection::{Connection, nobody};
use super::traffic::UNACKNOWLEDGED;

/// An exchange that brought no response head.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    /// Whether a byte of the request may have reached the upstream.
    pub(super) written: bool,
    /// Whether a byte of a response had come.
    pub(super) answered: bool,
    /// Whether the upstream had closed before its kernel had received a byte of the request.
    pub(super) unseen: bool,
    /// When the upstream of a connection that died silently was last known to live.
    pub(super) died_after: Option<Instant>,
    /// The request, when it was never begun. Boxed, as what is rare is.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

/// Why an exchange brought no response head.
#[derive(Debug)]
pub(super) enum Cause {
    /// No head within the time limit.
    TimedOut,
    /// The connection or the request body broke.
    Broken(hyper::Error),
    /// The response has a transfer coding that hyper does not take off.
    Coded,
    /// There is no request, since its body has been sent before.
    BodyGone,
}

impl Failed {
    fn unsent(cause: Cause) -> Self {
        Self { cause, written: false, answered: false, unseen: false, died_after: None, unsent: None }
    }
}

/// A time limit in steps, so that a connection that died is found before the limit is over.
struct Patience {
    step: Duration,
    left: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { step: limit.min(UNACKNOWLEDGED), left: limit }
    }

    /// A step is over; whether it was the last.
    fn ends(&mut self) -> bool {
        self.left -= self.step;
        self.step = self.left.min(Duration::from_secs(1));
        self.left.is_zero()
    }
}

/// hyper takes the chunks off, and leaves what was coded before as it came.
fn is_coded(response: &Response<Incoming>) -> bool {
    let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Sends a request and waits for the head of the response, at most `limit` after the last part of the
/// request body was taken. While the caller owes more of the body, the wait is not the upstream's doing.
/// Dropping the future closes the connection.
pub(super) async fn exchange(
    mut connection: Box<Connection>,
    // Made here, so that a request is part of no future: it goes to hyper at once.
    make: impl FnOnce() -> Option<Request<RequestBody>>,
    limit: Duration,
) -> Result<(Response<Incoming>, Box<Connection>), Failed> {
    connection.traffic.begin_exchange();
    connection.waiting.clear();
    let progress;
    let mut response = pin!({
        let Some(request) = make() else {
            return Err(Failed::unsent(Cause::BodyGone));
        };
        progress = request.body().progress();
        connection.traffic.spell_request(request.extensions().get());
        connection.sender.try_send_request(request)
    });
    let (mut seen, mut patience) = (0, Patience::new(limit));
    let mut begun = false;
    let outcome = std::future::poll_fn(|cx| {
        // First the driver, which takes the request; then the response, which is settled in any case when
        // the driver has ended. The first time nothing can have come yet.
        if std::mem::replace(&mut begun, true) {
            connection.drive(&mut nobody());
            if let Poll::Ready(outcome) = response.as_mut().poll(&mut nobody()) {
                return Poll::Ready(Some(outcome));
            }
        }
        connection.drive(cx);
        if let Poll::Ready(outcome) = response.as_mut().poll(&mut nobody()) {
            return Poll::Ready(Some(outcome));
        }
        // A caller's pause is not the upstream's.
        if let Some(progress) = &progress
            && (progress.taken() != seen || progress.is_owed())
        {
            seen = progress.taken();
            connection.waiting.clear();
            patience = Patience::new(limit);
        }
        while connection.waiting.poll(patience.step, cx).is_ready() {
            connection.waiting.clear();
            if patience.ends() {
                return Poll::Ready(None);
            }
            // Rare: nothing has come for seconds.
            connection.traffic.look_for_life();
            connection.drive(cx);
            if let Poll::Ready(outcome) = response.as_mut().poll(&mut nobody()) {
                return Poll::Ready(Some(outcome));
            }
        }
        Poll::Pending
    })
    .await;
    let (cause, unsent) = match outcome {
        Some(Ok(response)) if is_coded(&response) => (Cause::Coded, None),
        Some(Ok(mut response)) => {
            if let Some(case) = connection.traffic.take_answer_case() {
                response.extensions_mut().insert(case);
            }
            return Ok((response, connection));
        }
        Some(Err(mut failed)) => {
            let unsent = failed.take_message().map(Box::new);
            (Cause::Broken(failed.into_error()), unsent)
        }
        None => (Cause::TimedOut, None),
    };
    let traffic = &connection.traffic;
    Err(Failed {
        cause,
        written: traffic.written.get(),
        answered: traffic.read.get(),
        unseen: traffic.unseen.get(),
        died_after: traffic.dead.get().then_some(connection.heard),
        unsent,
    })
}
