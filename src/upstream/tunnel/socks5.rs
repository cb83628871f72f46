//! SOCKS5 (RFC 1928) with user and password (RFC 1929); the proxy looks names up.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Target, TunnelError};
use crate::upstream::outbound_proxy::ProxyCredentials;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
/// The version of the password's sub-negotiation.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const STRANGE: TunnelError =
    TunnelError::Strange("its answer is not SOCKS5; is it an HTTP proxy (`http://`), or the wrong port?");

pub(super) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: Target<'_>,
    credentials: Option<&ProxyCredentials>,
) -> Result<(), TunnelError> {
    log_in(stream, credentials).await?;
    stream.write_all(&request(target)).await?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    let [VERSION, code, _, kind] = reply else { return Err(STRANGE) };
    if code != 0 {
        return Err(TunnelError::Refused(words(code)));
    }
    // The address that the proxy connects from.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(STRANGE),
    };
    let mut rest = [0; 255 + 2];
    stream.read_exact(&mut rest[..length + 2]).await?;
    Ok(())
}

async fn log_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<&ProxyCredentials>,
) -> Result<(), TunnelError> {
    let offer: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    stream.write_all(offer).await?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).await?;
    match (choice, credentials) {
        ([VERSION, NO_LOGIN], _) => Ok(()),
        ([VERSION, PASSWORD], Some(credentials)) => {
            stream.write_all(&login(credentials)).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            match answer {
                [_, 0] => Ok(()),
                _ => Err(TunnelError::Credentials(
                    "it refuses user and password; are those in upstream.proxy right?",
                )),
            }
        }
        ([VERSION, 0xff], Some(_)) => {
            Err(TunnelError::Credentials("it takes neither user and password nor nobody's"))
        }
        ([VERSION, 0xff], None) => Err(TunnelError::Credentials(
            "it wants user and password; write them into upstream.proxy: socks5h://user:pass@host:port",
        )),
        _ => Err(STRANGE),
    }
}

/// Both texts are 255 bytes long at most, which their reader has seen to.
fn login(ProxyCredentials { user, password }: &ProxyCredentials) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    message.push(LOGIN_VERSION);
    for text in [user, password] {
        let text = text.expose().as_bytes();
        message.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(text);
    }
    message
}

fn request(Target { host, port }: Target<'_>) -> Vec<u8> {
    let mut message = vec![VERSION, CONNECT, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            message.push(IPV4);
            message.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            message.push(IPV6);
            message.extend_from_slice(&address.octets());
        }
        Err(_) => {
            message.push(NAME);
            // No name that TLS can verify is longer than 253 bytes.
            message.push(u8::try_from(host.len()).unwrap_or(u8::MAX));
            message.extend_from_slice(host.as_bytes());
        }
    }
    message.extend_from_slice(&port.to_be_bytes());
    message
}

fn words(code: u8) -> String {
    let words = match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused by the host",
        6 => "time to live exceeded",
        7 => "it knows no CONNECT",
        8 => "it takes no address of this kind",
        _ => "unknown",
    };
    format!("{words} (SOCKS5 reply {code})")
}

#[cfg(test)]
mod tests {
    use super::super::tests::outcome;
    use super::*;
    use crate::upstream::outbound_proxy::ProxyProtocol::Socks5;

    const TARGET: Target<'_> = Target { host: "api.test", port: 443 };
    const OFFER: usize = 3;
    const ASKED: usize = 7 + 8;

    #[tokio::test]
    async fn a_name_goes_to_the_proxy_as_it_is() {
        for (bound, what) in [
            (&b"\x05\x00\x00\x01\x0a\x00\x00\x01\x12\x34"[..], "IPv4"),
            (b"\x05\x00\x00\x04aaaaaaaaaaaaaaaa\x12\x34", "IPv6"),
            (b"\x05\x00\x00\x03\x02ab\x12\x34", "name"),
        ] {
            let script = [(OFFER, &b"\x05\x00"[..]), (ASKED, bound)];
            let (outcome, seen) = outcome(Socks5, None, TARGET, &script).await;
            assert_eq!(outcome, Ok(()), "{what}");
            assert_eq!(seen, b"\x05\x01\x00\x05\x01\x00\x03\x08api.test\x01\xbb");
        }
    }

    #[test]
    fn addresses_go_as_addresses() {
        let asked = |host| request(Target { host, port: 0x1234 });
        assert_eq!(asked("192.0.2.1"), b"\x05\x01\x00\x01\xc0\x00\x02\x01\x12\x34");
        assert_eq!(asked("::1"), b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34");
    }

    #[tokio::test]
    async fn user_and_password_are_shown_when_asked_for() {
        let ok: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";
        let script = [(4, &b"\x05\x02"[..]), (3 + 5 + 7, b"\x01\x00"), (ASKED, ok)];
        let (done, seen) = outcome(Socks5, Some(("alice", "hunter2")), TARGET, &script).await;
        assert_eq!(done, Ok(()));
        assert_eq!(&seen[..4 + 15], b"\x05\x02\x00\x02\x01\x05alice\x07hunter2");
        // A proxy that wants none is not shown any.
        let script = [(4, &b"\x05\x00"[..]), (ASKED, ok)];
        assert_eq!(outcome(Socks5, Some(("alice", "hunter2")), TARGET, &script).await.0, Ok(()));
    }

    #[tokio::test]
    async fn refusals_are_told_in_words() {
        let some = Some(("alice", "hunter2"));
        for (credentials, script, right) in [
            (None, &[(OFFER, &b"\x05\xff"[..])][..], "it wants user and password"),
            (some, &[(4, &b"\x05\xff"[..])], "it takes neither"),
            (some, &[(4, &b"\x05\x02"[..]), (15, b"\x01\x01")], "it refuses user and password"),
            (None, &[(OFFER, &b"\x05\x02"[..])], "its answer is not SOCKS5"),
            (None, &[(OFFER, &b"HTTP/1.1 400 Bad"[..])], "its answer is not SOCKS5"),
            (None, &[(OFFER, &b"\x05"[..])], "it closed the connection"),
            (None, &[(OFFER, &b"\x05\x00"[..]), (ASKED, b"\x05\x00\x00\x09")], "its answer is not SOCKS5"),
            (None, &[(OFFER, &b"\x05\x00"[..]), (ASKED, b"\x04\x00\x00\x01")], "its answer is not SOCKS5"),
            (
                None,
                &[(OFFER, &b"\x05\x00"[..]), (ASKED, b"\x05\x02\x00\x01\0\0\0\0\0\0")],
                "it refuses the connection: not allowed by its rules (SOCKS5 reply 2)",
            ),
            (
                None,
                &[(OFFER, &b"\x05\x00"[..]), (ASKED, b"\x05\x05\x00\x01\0\0\0\0\0\0")],
                "it refuses the connection: connection refused by the host (SOCKS5 reply 5)",
            ),
        ] {
            let error = outcome(Socks5, credentials, TARGET, script).await.0.unwrap_err();
            assert!(error.starts_with(right) && !error.contains("hunter2"), "{error} instead of {right}");
        }
    }
}
