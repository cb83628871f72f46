//! The server's side of TLS, for upstreams and stores that a test plays itself. It asks callers for no certificate.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with the CAs between, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// `NAME.pem` and `NAME.key` of a folder.
pub(crate) fn identity(folder: &Path, name: &str) -> Identity {
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    (chain.map(Result::unwrap).collect(), key)
}

/// That of `certs/`, which is for localhost and loopback.
pub(crate) fn localhost() -> Identity {
    identity(&Path::new(env!("CARGO_MANIFEST_DIR")).join("certs"), "server")
}

/// One for these names or addresses of a CA of its own, and that CA in PEM.
pub(crate) fn issued_for<const N: usize>(names: [&str; N]) -> (Identity, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(names.map(str::to_owned)).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    ((vec![cert.der().clone()], key), ca.pem())
}

/// TLS 1.2 and 1.3 with this certificate.
pub(crate) fn server((chain, key): Identity) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
