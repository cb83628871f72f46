//! The proxy as a listener's handler: which configuration serves a request, and what callers get whom the
//! listener turns away.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use http::{Request, Response};

use super::Proxy;
use super::answer::{AnswerBody, own};
use super::refusal::Refusal;
use crate::http1::head::HeadError;
use crate::listener::{CallerBody, Handler, Limits, Rejection};

/// The proxy that a worker's next request is served by; requests in flight keep the one they began with.
pub struct Current(RefCell<Rc<Proxy>>);

impl Current {
    /// Begins with this one.
    pub fn new(proxy: Proxy) -> Self {
        Self(RefCell::new(Rc::new(proxy)))
    }

    /// From now on this one.
    pub fn replace(&self, proxy: Proxy) {
        self.0.replace(Rc::new(proxy));
    }

    fn get(&self) -> Rc<Proxy> {
        Rc::clone(&self.0.borrow())
    }
}

impl Handler<IpAddr> for Current {
    type Body = AnswerBody;

    fn limits(&self) -> Limits {
        let limits = &self.0.borrow().state.limits;
        Limits {
            max_connections: limits.max_connections,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            max_header_bytes: limits.max_header_bytes,
            when_full: "limits.max_connections is reached: callers get `busy`",
        }
    }

    fn handle(
        &self,
        request: Request<CallerBody>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<AnswerBody>> + use<> {
        self.get().serve(request, peer)
    }

    fn reject(&self, rejection: Rejection, peer: IpAddr) -> Response<AnswerBody> {
        let (proxy, refusal) = (self.get(), Refusal::from(rejection));
        match rejection {
            // These come in floods, and ask for nothing: they are counted, and no calls.
            Rejection::TooManyConnections => {
                proxy.recorder.metrics.own_answer(proxy.recorder.worker, refusal.shape().code);
                own::refusal(&refusal)
            }
            Rejection::Head(_) | Rejection::HeadTimeout => proxy.refuse(&refusal, peer),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let text = rejection.text();
        match rejection {
            Rejection::Head(HeadError::Malformed(_)) => Self::BadRequest(text.into()),
            Rejection::Head(HeadError::TooLarge(_)) => Self::HeadTooLarge(text.into()),
            Rejection::HeadTimeout => Self::CallerTimeout(text),
            Rejection::TooManyConnections => Self::Busy(text),
        }
    }
}
