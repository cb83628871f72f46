//! HTTP's CONNECT (RFC 9110, 9.3.6) with Basic credentials.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Target, TunnelError};
use crate::upstream::endpoint::Bracketed;
use crate::upstream::outbound_proxy::ProxyCredentials;

/// More than the head of any answer.
const LONGEST_HEAD: usize = 16 << 10;

const STRANGE: TunnelError =
    TunnelError::Strange("its answer is not HTTP; is it a SOCKS5 proxy (`socks5h://`), or the wrong port?");

pub(super) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: Target<'_>,
    credentials: Option<&ProxyCredentials>,
) -> Result<(), TunnelError> {
    stream.write_all(request(target, credentials).as_bytes()).await?;
    let mut head = Vec::with_capacity(512);
    let mut status = None;
    loop {
        // With a refusal nothing but the first line matters.
        if status.is_none() && (head.contains(&b'\n') || !b"HTTP/".starts_with(&head[..head.len().min(5)])) {
            let code = status_of(&head).ok_or(STRANGE)?;
            accepted(code, credentials.is_some())?;
            status = Some(code);
        }
        match end_of(&head) {
            Some(end) if end == head.len() => return Ok(()),
            Some(_) => return Err(TunnelError::Strange("something stands behind its answer")),
            None if head.len() >= LONGEST_HEAD => {
                return Err(TunnelError::Strange("the head of its answer is longer than 16 KiB"));
            }
            None => {}
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Where a head ends, if it is whole: behind its first empty line, however each line ends.
fn end_of(head: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', head).find_map(|at| match &head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

fn request(target: Target<'_>, credentials: Option<&ProxyCredentials>) -> Zeroizing<String> {
    let authority = format!("{}:{}", Bracketed(target.host), target.port);
    // Whole from the start, so that no copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(2048));
    text.push_str("CONNECT ");
    text.push_str(&authority);
    text.push_str(" HTTP/1.1\r\nHost: ");
    text.push_str(&authority);
    if let Some(ProxyCredentials { user, password }) = credentials {
        let mut pair = Zeroizing::new(String::with_capacity(512));
        pair.push_str(user.expose());
        pair.push(':');
        pair.push_str(password.expose());
        text.push_str("\r\nProxy-Authorization: Basic ");
        BASE64_STANDARD.encode_string(pair.as_bytes(), &mut text);
    }
    text.push_str("\r\n\r\n");
    text
}

/// The status of an answer's first line.
fn status_of(line: &[u8]) -> Option<StatusCode> {
    let version = line.strip_prefix(b"HTTP/1.")?;
    let digits = version.strip_prefix(b"1 ").or_else(|| version.strip_prefix(b"0 "))?.get(..3)?;
    StatusCode::from_bytes(digits).ok()
}

fn accepted(status: StatusCode, shown: bool) -> Result<(), TunnelError> {
    match status {
        status if status.is_success() => Ok(()),
        // tinyproxy says 401.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED if shown => {
            Err(TunnelError::Credentials(
                "it refuses user and password; are those in upstream.proxy right, and does it take Basic?",
            ))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(TunnelError::Credentials(
            "it wants user and password (407); write them into upstream.proxy: http://user:pass@host:port",
        )),
        // The code's own words, not the proxy's.
        status => Err(TunnelError::Refused(status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outcome;
    use super::*;
    use crate::upstream::outbound_proxy::ProxyProtocol::Http;

    const TARGET: Target<'_> = Target { host: "api.weixin.qq.com", port: 443 };
    const ASKED: &str = "CONNECT api.weixin.qq.com:443 HTTP/1.1\r\nHost: api.weixin.qq.com:443\r\n\r\n";

    async fn answered(credentials: Option<(&str, &str)>, answer: &[u8]) -> Result<(), String> {
        let length = if credentials.is_some() { 1 } else { ASKED.len() };
        outcome(Http, credentials, TARGET, &[(length, answer)]).await.0
    }

    #[tokio::test]
    async fn the_request_names_the_target_and_shows_basic_credentials() {
        let (outcome, seen) = outcome(Http, None, TARGET, &[(ASKED.len(), b"HTTP/1.1 200 OK\r\n\r\n")]).await;
        assert_eq!((outcome, String::from_utf8(seen).unwrap().as_str()), (Ok(()), ASKED));
        let secret = |text: &str| crate::secret::Secret::new(text.to_owned());
        let credentials = ProxyCredentials { user: secret("Aladdin"), password: secret("open sesame") };
        let target = Target { host: "2001:db8::1", port: 8443 };
        // RFC 7617's own example.
        assert_eq!(
            &*request(target, Some(&credentials)),
            "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn any_2xx_is_a_connection() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nVia: 1.1 tinyproxy\r\nX: y\r\n\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 204 No Content\n\n",
            "HTTP/1.1 200 OK\r\nVia: x\n\r\n",
        ] {
            assert_eq!(answered(None, answer.as_bytes()).await, Ok(()), "{answer}");
        }
    }

    #[tokio::test]
    async fn refusals_have_their_own_words_and_none_of_the_proxys() {
        for (shown, answer, words) in [
            (
                false,
                "HTTP/1.1 407 hunter2\r\nProxy-Authenticate: Basic\r\n\r\n",
                "it wants user and password (407)",
            ),
            (true, "HTTP/1.1 407 hunter2\r\n\r\n", "it refuses user and password; "),
            (true, "HTTP/1.0 401 Unauthorized\r\n\r\n", "it refuses user and password; "),
            (false, "HTTP/1.0 401 Unauthorized\r\n\r\n", "it refuses the connection: 401 Unauthorized"),
            (false, "HTTP/1.1 403 hunter2\r\n\r\n", "it refuses the connection: 403 Forbidden"),
            (false, "HTTP/1.0 502 Bad Gateway\r\n\r\n", "it refuses the connection: 502 Bad Gateway"),
            (
                false,
                "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n",
                "it refuses the connection: 301 Moved Permanently",
            ),
            (false, "SSH-2.0-OpenSSH_9\r\n", "its answer is not HTTP"),
            (false, "\x05\x00\x00\x00\x00\x00", "its answer is not HTTP"),
            (false, "HTTP/2 200\r\n\r\n", "its answer is not HTTP"),
            (false, "HTTP/1.1 2", "it closed the connection instead of an answer"),
            (false, "", "it closed the connection instead of an answer"),
        ] {
            let error = answered(shown.then_some(("alice", "hunter2")), answer.as_bytes()).await.unwrap_err();
            assert!(error.starts_with(words) && !error.contains("hunter2"), "{answer:?}: {error}");
        }
    }

    #[tokio::test]
    async fn nobody_speaks_before_he_is_spoken_to() {
        let more = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK";
        let mut head = Vec::new();
        head.extend_from_slice(more);
        assert_eq!(end_of(&head), Some(19));
        assert_eq!(end_of(&more[..18]), None);
        assert_eq!(end_of(b"HTTP/1.1 200 OK\n\nmore\r\n\r\n"), Some(17));
    }

    #[tokio::test]
    async fn an_endless_head_is_not_read_to_its_end() {
        let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; LONGEST_HEAD]].concat();
        assert!(answered(None, &endless).await.unwrap_err().contains("16 KiB"));
    }
}
