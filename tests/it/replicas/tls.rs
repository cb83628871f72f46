//! A store over TLS: its certificate, and ours where it asks for one.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{PATH, all_serve, check, fetches, is_up, two_share, with_admin};
use crate::support::redis::{PATIENT, Redis};
use crate::support::tls::{identity, server};
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

/// `ca.pem`, `redis.pem` for 127.0.0.1, `client.pem`, and of another CA `other-ca.pem` and `other.pem`; their keys.
pub(super) fn certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    let ours = issue(dir.path(), "ca.pem", &["redis", "client"]);
    let others = issue(dir.path(), "other-ca.pem", &["other"]);
    assert_ne!(ours, others);
    dir
}

fn issue(dir: &Path, ca_name: &str, names: &[&str]) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes one whose issuer has its own name for its own issuer.
    params.distinguished_name.push(DnType::CommonName, ca_name);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(ca_name), ca.pem()).unwrap();
    for name in names {
        let key = KeyPair::generate().unwrap();
        let cert =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    ca.pem()
}

/// The table of a store over TLS; `files` are keys and the files' names.
fn table(dir: &TempDir, port: u16, files: &[(&str, &str)]) -> String {
    let mut table = format!("[store]\nkind = \"redis\"\nurl = \"rediss://127.0.0.1:{}/0\"\n{PATIENT}", port);
    for (key, file) in files {
        table += &format!("{key} = {:?}\n", dir.path().join(file));
    }
    table
}

#[tokio::test]
async fn two_replicas_share_over_tls_and_check_says_that_it_works() {
    let (wechat, dir) = (WeChat::start().await, certificates());
    let redis = Redis::with_tls(dir.path(), &["--tls-auth-clients", "no"]).await;
    let store = table(&dir, redis.port, &[("ca", "ca.pem")]);
    let _gates = two_share(&wechat, &store).await;
    let (code, said) = check(&wechat, store).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the store rediss://127.0.0.1:") && said.contains("passes messages on"), "{said}");
}

#[tokio::test]
async fn a_store_whose_certificate_is_not_trusted_or_that_wants_ours_is_away_and_check_says_why() {
    let (wechat, dir) = (WeChat::start().await, certificates());
    let open = Redis::with_tls(dir.path(), &["--tls-auth-clients", "no"]).await;
    let mutual = Redis::with_tls(dir.path(), &["--tls-auth-clients", "yes"]).await;
    let plain = Redis::start().await;
    let other = [("ca", "ca.pem"), ("cert", "other.pem"), ("key", "other.key")];
    for (redis, files, why) in [
        (&open, &[][..], "store.ca"),
        (&open, &[("ca", "other-ca.pem")][..], "store.ca"),
        (&mutual, &[("ca", "ca.pem")][..], "store.cert"),
        (&mutual, &other[..], "store.cert"),
        (&plain, &[("ca", "ca.pem")][..], "redis://"),
    ] {
        let store = table(&dir, redis.port, files);
        let (code, said) = check(&wechat, store.clone()).await;
        assert!(code == 1 && said.contains("FAIL     the store rediss://127.0.0.1:"), "{said}");
        assert!(said.contains(why), "{files:?} {why}: {said}");
        let gate = with_admin(&wechat, &store).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0, "{files:?}");
        assert!(!is_up(&gate).await, "{files:?}");
    }
    let mutual_files = [("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")];
    let store = table(&dir, mutual.port, &mutual_files);
    let (code, said) = check(&wechat, store.clone()).await;
    assert_eq!(code, 0, "{said}");
    let before = fetches(&wechat);
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), before + 1);
    until_async("both use it", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    // Without TLS where the store speaks nothing else.
    let clear = format!("[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\n", open.port);
    let (code, said) = check(&wechat, clear).await;
    assert!(code == 1 && said.contains("rediss://"), "{said}");
}

/// In TLS 1.3 the refusal of a client without a certificate comes behind the handshake, and is lost where the client's
/// first words find the connection closed.
#[tokio::test]
async fn a_store_that_hangs_up_behind_the_handshake_may_want_our_certificate_and_check_says_so() {
    let (wechat, dir) = (WeChat::start().await, certificates());
    let acceptor = TlsAcceptor::from(server(identity(dir.path(), "redis")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = table(&dir, listener.local_addr().unwrap().port(), &[("ca", "ca.pem")]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(acceptor.accept(stream).await);
        }
    });
    let (code, said) = check(&wechat, store).await;
    assert!(code == 1 && said.contains("wants a client certificate: `store.cert`"), "{said}");
}
