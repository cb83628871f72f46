//! The keys of the API security mode: what a call is encrypted and signed with, and what answers are checked with.
//!
//! Made once, when the configuration is read. Nothing here shows any of them: `Debug` has numbers and paths.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::proxy::route::PathPattern;
use crate::upstream::Certificate;

/// Bytes of an AES-256 key.
const KEY_LENGTH: usize = 32;

/// Bytes of an SM4 key.
const SM4_KEY_LENGTH: usize = 16;

/// Takes `=` at the end or not: consoles and people differ.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a text can be the number of a key or certificate.
pub fn is_number(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Why a key is unusable. No variant shows any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The symmetric key is no base64.
    #[error(
        "the symmetric key is not base64; want the 44 characters that the console shows (小程序 → 开发管理 → API安全)"
    )]
    NotBase64,
    /// The symmetric key has the length of another algorithm.
    #[error(
        "the symmetric key has 16 bytes, as SM4_GCM has them, which wxgate does not speak; set AES256_GCM in the \
         console and use the 32 bytes that it shows"
    )]
    Sm4Length,
    /// The symmetric key has another length.
    #[error("the symmetric key has {0} bytes; AES256_GCM takes 32, which are 44 characters of base64")]
    Length(usize),
    /// The private key is of another kind.
    #[error(
        "this is no RSA private key; RSAwithSHA256 needs one (SM2withSM3 and its keys are not supported): set the \
         algorithm in the console, and use the key that it lets you download"
    )]
    NotRsa,
    /// The private key is damaged, or too short.
    #[error("this RSA private key is unusable: want an undamaged one of 2048 to 8192 bits")]
    BadRsa,
    /// The certificate is not as X.509 has it, or its key is of another kind.
    #[error(
        "this is no certificate with an RSA key; want the platform certificate (平台证书) that the console lets you \
         download for RSAwithSHA256"
    )]
    Certificate,
}

/// Encrypts calls and decrypts answers: AES256_GCM.
#[derive(Clone, PartialEq, Eq)]
pub struct SymmetricKey(Zeroizing<[u8; KEY_LENGTH]>);

impl SymmetricKey {
    /// As the console shows it.
    ///
    /// # Errors
    /// [`KeyError::NotBase64`], or one of the wrong lengths.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| KeyError::NotBase64)?);
        match <[u8; KEY_LENGTH]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Self(Zeroizing::new(key))),
            Err(_) if bytes.len() == SM4_KEY_LENGTH => Err(KeyError::Sm4Length),
            Err(_) => Err(KeyError::Length(bytes.len())),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

/// Signs calls: RSA of the app, whose public half WeChat has.
#[derive(Clone)]
pub struct PrivateKey(Arc<RsaKeyPair>);

impl PrivateKey {
    /// PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::NotRsa`] and [`KeyError::BadRsa`].
    pub fn from_der(der: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let pair = match der {
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| KeyError::BadRsa)
            }
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|rejected| {
                match rejected.to_string().as_str() {
                    "WrongAlgorithm" => KeyError::NotRsa,
                    _ => KeyError::BadRsa,
                }
            }),
            _ => Err(KeyError::NotRsa),
        };
        pair.map(|pair| Self(Arc::new(pair)))
    }

    pub(super) fn pair(&self) -> &RsaKeyPair {
        &self.0
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.public_key().as_ref() == other.0.public_key().as_ref()
    }
}

impl Eq for PrivateKey {}

/// Checks answers: WeChat's certificate for the account, under the number that the console shows, which is not the
/// serial inside of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PlatformCertificate {
    /// In `Wechatmp-Serial`.
    pub number: String,
    /// After this WeChat signs with another.
    pub ends: SystemTime,
    /// Its public key, as PKCS#1 has it.
    pub(super) key: Vec<u8>,
}

impl PlatformCertificate {
    /// From the certificate's DER.
    ///
    /// # Errors
    /// [`KeyError::Certificate`].
    pub fn from_der(number: String, der: &[u8]) -> Result<Self, KeyError> {
        let read = Certificate::read(der).zip(Certificate::rsa_key(der));
        let (certificate, key) = read.ok_or(KeyError::Certificate)?;
        Ok(Self { number, ends: certificate.ends, key: key.to_vec() })
    }
}

/// What an account's calls are encrypted and signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Of the symmetric key.
    pub key_number: String,
    /// For bodies.
    pub key: SymmetricKey,
    /// Of the private key; sent in `Wechatmp-Serial` where it is known.
    pub private_key_number: Option<String>,
    /// For signatures of calls.
    pub private_key: PrivateKey,
    /// For signatures of answers; at least one.
    pub certificates: Vec<PlatformCertificate>,
    /// What the signed URL begins with, without a slash at its end: the API's official name, whatever host is called.
    pub url: String,
    /// Which calls.
    pub paths: Vec<PathPattern>,
}

impl Keys {
    /// The certificate that ends last.
    pub fn last_end(&self) -> Option<SystemTime> {
        self.certificates.iter().map(|certificate| certificate.ends).max()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates: Vec<_> = self.certificates.iter().map(|one| &one.number).collect();
        f.debug_struct("Keys")
            .field("key_number", &self.key_number)
            .field("certificates", &certificates)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
