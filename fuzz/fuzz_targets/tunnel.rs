//! Answers of outbound proxies to CONNECT and SOCKS5: which of them make a connection, that nothing behind an answer is
//! read, and that no error shows the password.
//!
//! The oracles are `httparse` and a SOCKS5 reader by RFC 1928 that takes the bytes as they come. The first byte chooses
//! the protocol, whether there are credentials, and whether the bytes come one by one.
#![no_main]

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf, join, sink};
use wxgate::secret::Secret;
use wxgate::upstream::tunnel::{Target, open};
use wxgate::upstream::{OutboundProxy, ProxyCredentials, ProxyProtocol};

const PASSWORD: &str = "mk-passw0rd-5e";

/// What is left of an answer that makes a connection.
fn socks5(answer: &[u8], login: bool) -> Option<&[u8]> {
    let [5, choice, rest @ ..] = answer else { return None };
    let rest = match (choice, login) {
        (0, _) => rest,
        (2, true) => match rest {
            [_, 0, rest @ ..] => rest,
            _ => return None,
        },
        _ => return None,
    };
    let [5, 0, _, kind, rest @ ..] = rest else { return None };
    let (length, rest) = match kind {
        1 => (4, rest),
        4 => (16, rest),
        3 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        _ => return None,
    };
    rest.get(length + 2..)
}

/// What the proxy says, so many bytes at a time.
struct Answer<'a> {
    left: &'a [u8],
    step: usize,
}

impl AsyncRead for Answer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (come, left) = self.left.split_at(self.left.len().min(self.step).min(buf.remaining()));
        buf.put_slice(come);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, answer)) = input.split_first() else { return };
    let protocol = if choice & 1 == 0 { ProxyProtocol::Http } else { ProxyProtocol::Socks5 };
    let login = choice & 2 != 0;
    let secret = |text: &str| Secret::new(text.to_owned());
    let credentials = login.then(|| ProxyCredentials { user: secret("u"), password: secret(PASSWORD) });
    let proxy = OutboundProxy { protocol, host: "p".to_owned(), port: 1, credentials };
    let one_by_one = choice & 4 != 0;
    let mut said = Answer { left: answer, step: if one_by_one { 1 } else { usize::MAX } };
    let mut stream = join(&mut said, sink());
    let target = Target { host: "api.weixin.qq.com", port: 443 };
    let outcome = pin!(open(&proxy, &mut stream, target)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(outcome) = outcome else { panic!("it waits for more than there is") };
    if let Err(error) = &outcome {
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
    }
    let (connected, left) = (outcome.is_ok(), said.left);
    let shown = answer.escape_ascii();
    match protocol {
        ProxyProtocol::Socks5 => {
            let right = socks5(answer, login);
            assert_eq!(connected, right.is_some(), "{shown}");
            if let Some(right) = right {
                assert_eq!(left, right, "{shown}");
            }
        }
        ProxyProtocol::Http => {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut fields);
            if !answer.starts_with(b"HTTP/") || answer.len() > 16 << 10 {
                return;
            }
            // It minds what fields look like, and the proxy's are of no interest here.
            let Ok(httparse::Status::Complete(end)) = head.parse(answer) else { return };
            // What comes together with its answer would be lost; what is left to be read is not.
            let alone = one_by_one || end == answer.len() || left.len() == answer.len() - end;
            assert_eq!(connected, alone && matches!(head.code, Some(200..=299)), "{shown}");
            if connected {
                assert_eq!(left, &answer[end..], "{shown}");
            }
        }
    }
});
