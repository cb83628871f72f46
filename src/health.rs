//! `wxgate health`: asks the admin listener of the running wxgate whether it is ready, for a container's HEALTHCHECK and
//! for scripts. Starts nothing and changes nothing. It needs to know where that listener is and nothing else of the
//! configuration: what a reload has refused, or only the running process can read, says nothing about its health.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{Admin, AdminListen};

/// It is ready.
const READY: u8 = 0;
/// It is not, or nobody answers.
const NOT_READY: u8 = 1;

/// How long the answer may take in all: probes are impatient.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest answer that is read; one account takes about a hundred bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Writes one line; 0 when wxgate is ready, 1 when it is not or cannot be asked.
pub(crate) async fn command(admin: Option<&Admin>, out: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    let outcome = match admin {
        Some(admin) => match tokio::time::timeout(PATIENCE, ask(admin)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{} does not answer within {} s", shown(admin), PATIENCE.as_secs())),
        },
        None => Err("the configuration has no [admin], so there is nobody to ask; add one: listen = \
                     \"127.0.0.1:9090\", or \"unix:/run/wxgate/admin.sock\""
            .to_owned()),
    };
    // With nobody reading, the exit code still tells.
    let _ = match &outcome {
        Ok(()) => writeln!(out, "ready"),
        Err(why) => writeln!(errors, "wxgate health: {}", why.replace(char::is_control, " ")),
    };
    if outcome.is_ok() { READY } else { NOT_READY }
}

fn shown(admin: &Admin) -> String {
    match &admin.listen {
        AdminListen::Tcp(address) => format!("http://{}", reachable(*address)),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Where a listener on this address is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(admin: &Admin) -> Result<(), String> {
    let failed = |error: std::io::Error| {
        format!("nobody answers at {}: {error}; is wxgate running, with this configuration?", shown(admin))
    };
    match &admin.listen {
        AdminListen::Tcp(address) if address.port() == 0 => {
            Err("admin.listen has port 0, so only wxgate's log knows the port; set a fixed one".to_owned())
        }
        AdminListen::Tcp(address) => {
            let stream = TcpStream::connect(reachable(*address)).await.map_err(failed)?;
            exchange(stream, admin).await
        }
        AdminListen::Unix(path) => exchange(UnixStream::connect(path).await.map_err(failed)?, admin).await,
    }
}

/// Asks on a connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    admin: &Admin,
) -> Result<(), String> {
    let broken = |error: hyper::Error| format!("{} gives no answer: {error}", shown(admin));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the process, or with the answer.
    tokio::spawn(connection);
    let mut request = Request::get("/readyz").header(header::HOST, "localhost");
    // Without the key the answer would be a status alone.
    if let Some(key) = admin.authorization() {
        request = request.header(header::AUTHORIZATION, key);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match (head.status, serde_json::from_slice::<Value>(&body)) {
        (StatusCode::OK, Ok(told)) if told["ready"] == true => Ok(()),
        (_, Ok(told)) if told["ready"] == false => Err(not_ready(&told)),
        (status, _) => Err(format!("{} answers with status {status}, and not as wxgate does", shown(admin))),
    }
}

/// Why it is not ready, account by account.
fn not_ready(told: &Value) -> String {
    let accounts = told["accounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let account = |account: &Value| {
        let (name, state, reason) =
            (text(&account["name"]), text(&account["state"]), text(&account["reason"]));
        match reason.is_empty() {
            true => format!("account `{name}` is {state}"),
            false => format!("account `{name}` is {state}: {reason}"),
        }
    };
    let accounts: Vec<String> = accounts.iter().map(account).collect();
    match accounts.is_empty() {
        true => "not ready".to_owned(),
        false => format!("not ready: {}", accounts.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, right) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.1.0.5:9090", "10.1.0.5:9090"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), right);
        }
    }
}
