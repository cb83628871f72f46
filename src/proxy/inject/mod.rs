//! What is sent for a request, kept so that it can be sent again.

use std::mem;

use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use crate::header_case::HeaderCase;
use crate::proxy::buffer::Buffered;
use crate::proxy::fields;
use crate::proxy::refusal::Refusal;
use crate::secret::Secret;
use crate::upstream::{RequestBody, Upstream};
use sealed::SealedCall;

pub mod headers;
pub mod query;
pub(super) mod sealed;
pub mod secret;

/// What is left of a caller's head once the call is authorized.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    /// How its names are spelled, unless all of them are `Like-This`.
    pub(super) case: Option<HeaderCase>,
}

impl<'a> Head<'a> {
    /// Takes what is sent on out of a caller's head, without the fields of `upstream.strip`.
    pub(super) fn take(
        (method, version): (&'a Method, Version),
        (headers, extensions): (&mut HeaderMap, &mut Extensions),
        strip: &[HeaderName],
    ) -> Self {
        for name in strip {
            headers.remove(name);
        }
        Self { method, version, headers: mem::take(headers), case: extensions.remove() }
    }
}

/// What is sent, kept so that it can be sent again.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    /// Without the account's prefix.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// What the upstream gets to see of the caller's fields.
    headers: HeaderMap,
    case: Option<HeaderCase>,
    pub(super) body: Buffered,
    /// The API host that it is sent to.
    pub(super) upstream: &'a Upstream,
    /// The AppSecret that was put in. Such a call is sent once: its code works once.
    pub(super) secret: Option<&'a Secret>,
    /// What it is made of where it is encrypted for each sending.
    pub(super) sealed: Option<Box<SealedCall<'a>>>,
}

/// Whether a Content-Length is this one, written as wxgate would write it.
fn is_length(value: &HeaderValue, length: u64) -> bool {
    let text = value.to_str().unwrap_or_default();
    !text.starts_with(['0', '+']) && text.parse() == Ok(length)
}

impl<'a> Call<'a> {
    /// Takes the caller's request over.
    pub(super) fn new(
        head: Head<'a>,
        (path, query): (&'a str, Option<&'a str>),
        body: Buffered,
        upstream: &'a Upstream,
    ) -> Self {
        let Head { method, version, mut headers, case } = head;
        // An HTTP/2 body needs no field to announce it.
        let announced = fields::has(&headers, &header::CONTENT_LENGTH)
            || fields::has(&headers, &header::TRANSFER_ENCODING)
            || (version == Version::HTTP_2
                && !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS));
        headers::to_upstream(&mut headers, version, upstream.host_header());
        let given = fields::lines(&headers, &header::CONTENT_LENGTH)
            .next()
            .is_some_and(|value| is_length(value, body.length()));
        if !given && (announced || body.length() > 0) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.length()));
        }
        Self { method, path, query, headers, case, body, upstream, secret: None, sealed: None }
    }

    /// The same, with this AppSecret in it.
    pub(super) fn with_secret(self, secret: &'a Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// The same, whose body is this one encrypted; its answer shall come uncompressed, since it is signed so.
    pub(super) fn with_seal(mut self, sealed: SealedCall<'a>) -> Self {
        self.ask_for_no_coding();
        Self { sealed: Some(Box::new(sealed)), ..self }
    }

    /// Encrypts and signs it for one sending, if it is such a call.
    pub(super) fn seal(&mut self) -> Result<(), Refusal> {
        if let Some(sealed) = &self.sealed {
            self.body = sealed.seal(&mut self.headers)?;
        }
        Ok(())
    }

    /// Its answer shall come uncompressed.
    pub(super) fn ask_for_no_coding(&mut self) {
        self.headers.remove(header::ACCEPT_ENCODING);
    }

    /// Whether its body can be sent a second time.
    pub(super) fn can_be_repeated(&self) -> bool {
        matches!(self.body, Buffered::Whole(_))
    }

    /// The request for one sending, to the first host or to this one; `None` when its body is gone.
    pub(super) fn request(
        &mut self,
        target: PathAndQuery,
        host: Option<&HeaderValue>,
    ) -> Option<Request<RequestBody>> {
        let mut request = Request::new(self.body.body()?);
        *request.method_mut() = self.method.clone();
        // Origin form: there is no authority that anything from outside could reach.
        *request.uri_mut() = Uri::from(target);
        // What came from hyper goes back to it, and the copy stays for another sending: hyper reads the answer's fields
        // into the same map, which has grown to that size before.
        let kept = self.headers.clone();
        *request.headers_mut() = mem::replace(&mut self.headers, kept);
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host.clone());
        }
        if let Some(case) = &self.case {
            request.extensions_mut().insert(case.clone());
        }
        Some(request)
    }
}
