//! A call that an operator makes from the admin listener: the life of a request from `route` on, for an account that
//! is named instead of found, by the caller `admin`.
//!
//! Everything that holds for callers holds here too: the account's `paths`, calls that never leave, what is put in and
//! taken out. It gets the placeholder like any caller.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version, header};

use super::admit::{self, Target};
use super::answer::AnswerBody;
use super::buffer::Buffered;
use super::carry_out::Granted;
use super::inject::Head;
use super::refusal::Refusal;
use super::tally::Tally;
use super::{Proxy, own_calls, refused, signing};

/// What is to be called.
#[derive(Debug, Clone)]
pub struct ConsoleCall {
    /// HTTP method.
    pub method: Method,
    /// Path, without the account's prefix.
    pub path: String,
    /// Query as in a URL, without `?`; may be empty.
    pub query: String,
    /// Fields of the request.
    pub headers: HeaderMap,
    /// Its body; may be empty.
    pub body: Bytes,
}

/// What came of it.
pub struct ConsoleAnswer {
    /// The upstream's answer, or one of wxgate's own.
    pub response: Response<AnswerBody>,
    /// Top-level errcode.
    pub errcode: Option<i64>,
    /// `x-wxgate-error` or `x-wxgate-retry`.
    pub code: Option<&'static str>,
    /// How often it was sent.
    pub attempts: u32,
}

impl Proxy {
    /// Makes a call of the account with this name; `None` when there is none.
    pub async fn console(self: Rc<Self>, account: &str, call: ConsoleCall) -> Option<ConsoleAnswer> {
        let index = self.state.accounts.iter().position(|known| *known.name == *account)?;
        let (mut parts, body) = request(call).into_parts();
        let mut tally = Tally::of_admin(&self, &parts, index);
        let response = match self.console_life(&mut parts, body, index, &mut tally).await {
            Ok(answer) => answer,
            Err(refusal) => refused(&refusal, &mut tally),
        };
        let (errcode, code, attempts) = (tally.errcode, tally.code, tally.attempts);
        let response = tally.follow(response, parts.uri.path());
        Some(ConsoleAnswer { response, errcode, code, attempts })
    }

    async fn console_life(
        &self,
        parts: &mut Parts,
        body: Result<Bytes, Refusal>,
        index: usize,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let body = body?;
        let Target { path, query, .. } =
            admit::admit(&mut parts.method, &parts.uri, parts.version, &parts.headers)?;
        let account = &self.state.accounts[index];
        let action = own_calls::settled(account.rules.action(&path)?, query, account.token.as_ref());
        let action = signing::settled(action, &parts.method, &parts.headers);
        let share = self.state.budget.share(&self.state.callers, None, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let body = Buffered::whole(&body, share)?;
        let (upstream, path) = (&*self.upstreams[index], &*path);
        let head = Head::take(
            (&parts.method, parts.version),
            (&mut parts.headers, &mut parts.extensions),
            &self.state.strip,
        );
        let granted = Granted { account, upstream, action, head, path, query, body, trusted: None };
        self.carry_out(granted, stats).await
    }
}

/// What is wrong with a target that is none.
fn unreadable(target: &str) -> &'static str {
    match target {
        _ if !target.starts_with('/') => "the path begins with `/`, for example /cgi-bin/getcallbackip",
        _ if target.contains('#') => {
            "path and query hold no `#`: what follows one in a URL is never sent; write %23 for the character"
        }
        _ if target.contains(char::is_whitespace) => "path and query hold no spaces; write %20 for one",
        _ => {
            "path or query holds a character that a URL has only encoded, or they are too long; write %XX for the character"
        }
    }
}

/// The call as a request; one that cannot be written as such is a refusal in the place of its body.
fn request(call: ConsoleCall) -> Request<Result<Bytes, Refusal>> {
    let target = match call.query.as_str() {
        "" => call.path,
        query => format!("{}?{query}", call.path),
    };
    let mut request = Request::new(Ok(call.body));
    *request.method_mut() = call.method;
    *request.version_mut() = Version::HTTP_11;
    // A URI parser cuts a fragment off without a word.
    match target.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_none() && !target.contains('#') => *request.uri_mut() = uri,
        _ => *request.body_mut() = Err(Refusal::BadRequest(unreadable(&target).into())),
    }
    *request.headers_mut() = call.headers;
    for ours in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST] {
        request.headers_mut().remove(ours);
    }
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_none_is_refused_with_its_cause() {
        for (path, query, cause) in [
            ("cgi-bin/echo", "", "begins with `/`"),
            ("", "", "begins with `/`"),
            ("/cgi-bin/echo#f", "", "no `#`"),
            ("/cgi-bin/echo", "a=1#f", "no `#`"),
            ("/cgi-bin/echo", "a b", "no spaces"),
            ("/cgi-bin/echo", "a=<", "encoded"),
        ] {
            let (path, query) = (path.to_owned(), query.to_owned());
            let (method, headers, body) = (Method::GET, HeaderMap::new(), Bytes::new());
            let refused =
                request(ConsoleCall { method, path, query, headers, body }).into_body().unwrap_err();
            assert!(format!("{refused:?}").contains(cause), "{refused:?}");
        }
    }
}
