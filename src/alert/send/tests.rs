//! Against a server on loopback that shows a certificate for the service's host. A proxy leads the name there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::*;
use crate::alert::{Cause, Service};
use crate::secret::Secret;
use crate::tls::Pem;
use crate::upstream::ProxyProtocol;

const KEY: &str = "r0b0t-key-of-the-test";

/// Answers each request with the next of its answers, and keeps what it was sent.
struct Server {
    address: SocketAddr,
    ca: Pem,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(host: &str, answers: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (kept, answers) =
            (Arc::clone(&seen), answers.iter().map(ToString::to_string).collect::<Vec<_>>());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                assert!(head.starts_with(b"CONNECT "));
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                let is_whole = |request: &[u8]| {
                    let body =
                        request.windows(4).position(|at| at == b"\r\n\r\n").map(|at| &request[at + 4..]);
                    body.is_some_and(|body| serde_json::from_slice::<serde_json::Value>(body).is_ok())
                };
                while !is_whole(&request) {
                    let mut chunk = [0; 4096];
                    let length = stream.read(&mut chunk).await.unwrap();
                    assert!(length > 0);
                    request.extend_from_slice(&chunk[..length]);
                }
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let ca = Pem::new("test CA".to_owned(), Zeroizing::new(ca.pem().into_bytes()));
        Self { address, ca, seen }
    }

    fn sender(&self) -> Sender {
        self.trusting(&self.ca)
    }

    fn trusting(&self, ca: &Pem) -> Sender {
        let (protocol, host, port) = (ProxyProtocol::Http, "127.0.0.1".to_owned(), self.address.port());
        let proxy = OutboundProxy { protocol, host, port, credentials: None };
        Sender { trust: Trust::load(Some(ca)).unwrap(), egress: None, proxy: Some(proxy) }
    }

    fn robot(&self, service: Service, path: &str) -> Robot {
        let url = format!("https://{}:{}{path}{KEY}", service.hosts()[0], self.address.port());
        Robot { service, url: Secret::new(url), secret: None, on: Cause::ALL.to_vec() }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_message_is_posted_to_the_services_own_host() {
    for (service, path, right) in [
        (Service::Wecom, "/cgi-bin/webhook/send?key=", r#"{"errcode":0}"#),
        (Service::Dingtalk, "/robot/send?access_token=", r#"{"errcode":0}"#),
        (Service::Feishu, "/open-apis/bot/v2/hook/", r#"{"code":0}"#),
    ] {
        let host = service.hosts()[0];
        let server = Server::start(host, &[&answer(right), &answer(r#"{"errcode":7,"code":7}"#)]).await;
        let (sender, robot) = (server.sender(), server.robot(service, path));
        assert_eq!(sender.test(&robot).await, Ok(()));
        let refused = sender.test(&robot).await.unwrap_err();
        assert!(refused.contains("refuses the message: 7") && !refused.contains(KEY), "{refused}");
        let seen = server.seen();
        assert!(seen[0].starts_with(&format!("POST {path}{KEY} HTTP/1.1\r\n")), "{seen:?}");
        assert!(
            seen[0].contains(&format!("Host: {host}:")) && seen[0].contains("wxgate: this is a test"),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_foreign_certificate_is_refused() {
    let host = Service::Wecom.hosts()[0];
    let elsewhere =
        "HTTP/1.1 302 Found\r\nLocation: https://qyapi.weixin.qq.com/other\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(host, &[elsewhere]).await;
    let error = server.sender().test(&server.robot(Service::Wecom, "/?key=")).await.unwrap_err();
    assert_eq!((error.as_str(), server.seen().len()), ("wecom answers with status 302", 1));

    // Trusted, but for another name; then for the name, but not trusted.
    for (name, trusted) in [("attacker.example.com", true), (host, false)] {
        let server = Server::start(name, &[&answer(r#"{"errcode":0}"#)]).await;
        let other = Server::start(name, &[]).await;
        let sender = server.trusting(if trusted { &server.ca } else { &other.ca });
        let error = sender.test(&server.robot(Service::Wecom, "/?key=")).await.unwrap_err();
        assert!(error.starts_with("qyapi.weixin.qq.com cannot be reached over verified TLS: "), "{error}");
        assert!(error.contains("certificate") && !error.contains(KEY), "{error}");
        assert_eq!(server.seen(), [""; 0]);
    }
    // Never in plain HTTP.
    let robot = Robot {
        service: Service::Wecom,
        url: Secret::new(format!("http://{}/?key={KEY}", server.address)),
        secret: None,
        on: Cause::ALL.to_vec(),
    };
    let error = server.sender().test(&robot).await.unwrap_err();
    assert!(!error.contains(KEY), "{error}");
}
