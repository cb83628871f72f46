//! What stands in the store: encrypted with a key made of the AppSecret, bound to its key and its generation.
//!
//! `wxgate1 GENERATION BASE64`: the nonce, the encrypted state, the tag. Who can read the store cannot use a token,
//! and who can write it can put back nothing but what was there once. Says whose a value is; decides nothing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::store::{StoreKey, StoredState, format};

const MARK: &str = "wxgate1 ";

/// No value of wxgate's is longer.
const LONGEST: usize = 2 * format::LONGEST;

/// Encrypts and decrypts one account's states.
pub(super) struct Seal {
    key: LessSafeKey,
    store_key: StoreKey,
    /// The key in the store.
    name: String,
}

/// What a value in the store is.
#[derive(Debug)]
pub(super) enum Opened {
    /// A state of this account.
    Ours(Box<StoredState>),
    /// wxgate wrote it with another AppSecret, with this generation by its own words; or it is damaged.
    OtherSecret(u64),
    /// wxgate did not write it.
    Foreign,
}

impl Seal {
    /// `None` where the library has no randomness or no memory.
    pub(super) fn new(secret: &Secret, store_key: StoreKey, name: String) -> Option<Self> {
        let salt = Salt::new(HKDF_SHA256, b"wxgate store 1");
        let material = salt.extract(secret.expose().as_bytes());
        let info = [name.as_bytes()];
        let key = UnboundKey::from(material.expand(&info, &AES_256_GCM).ok()?);
        Some(Self { key: LessSafeKey::new(key), store_key, name })
    }

    fn aad(&self, generation: u64) -> Aad<String> {
        Aad::from(format!("{MARK}{} {generation}", self.name))
    }

    /// The value for the store; `None` without randomness.
    pub(super) fn close(&self, state: &StoredState) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let text = format::render(state, &self.store_key);
        // Wiped: until it is encrypted it is the token.
        let mut sealed = Zeroizing::new(Vec::with_capacity(text.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(&text);
        let aad = self.aad(state.generation);
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *sealed).ok()?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Some(format!("{MARK}{} {}", state.generation, BASE64.encode(bytes)).into_bytes())
    }

    /// What a value is.
    pub(super) fn open(&self, value: &[u8]) -> Opened {
        let Some((generation, sealed)) = header(value) else { return Opened::Foreign };
        let Ok(bytes) = BASE64.decode(sealed) else { return Opened::Foreign };
        let Some((nonce, sealed)) = bytes.split_first_chunk::<NONCE_LEN>() else { return Opened::Foreign };
        let mut text = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(text) = self.key.open_in_place(nonce, self.aad(generation), &mut text) else {
            return Opened::OtherSecret(generation);
        };
        match format::parse(text, &self.store_key) {
            Ok(parsed) if parsed.state.generation == generation => Opened::Ours(Box::new(parsed.state)),
            // A later version of wxgate wrote it.
            _ => Opened::Foreign,
        }
    }
}

fn header(value: &[u8]) -> Option<(u64, &str)> {
    if value.len() > LONGEST {
        return None;
    }
    let rest = std::str::from_utf8(value).ok()?.strip_prefix(MARK)?;
    let (generation, sealed) = rest.split_once(' ')?;
    Some((generation.parse().ok()?, sealed))
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::store::StoredCredential;

    fn seal(secret: &str, appid: &str) -> Seal {
        let (kind, issued_by) = ("access_token", "token");
        let key = StoreKey { appid: appid.to_owned(), kind, upstream: "https://a:443".to_owned(), issued_by };
        Seal::new(&Secret::new(secret.to_owned()), key, format!("wxgate:{{{appid}}}")).unwrap()
    }

    fn state() -> StoredState {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let credential = StoredCredential {
            value: Secret::new("T0KEN".to_owned()),
            issued_at: at,
            expires_at: at + Duration::from_secs(7200),
            expires_in: Duration::from_secs(7200),
            began_at: at,
        };
        StoredState { generation: 7, credential: Some(credential), fetches: 3, ..StoredState::default() }
    }

    #[test]
    fn only_the_same_account_with_the_same_secret_opens_it() {
        let value = seal("s", "wx1").close(&state()).unwrap();
        assert!(value.starts_with(b"wxgate1 7 ") && !value.windows(5).any(|part| part == b"T0KEN"));
        let Opened::Ours(opened) = seal("s", "wx1").open(&value) else { panic!("not ours") };
        assert_eq!((opened.generation, opened.fetches), (7, 3));
        assert_eq!(opened.credential.unwrap().value.expose(), "T0KEN");
        assert!(matches!(seal("other", "wx1").open(&value), Opened::OtherSecret(7)));
        assert!(matches!(seal("s", "wx2").open(&value), Opened::OtherSecret(7)), "bound to its key");
        let text = String::from_utf8(value.clone()).unwrap().replacen(" 7 ", " 8 ", 1);
        assert!(
            matches!(seal("s", "wx1").open(text.as_bytes()), Opened::OtherSecret(8)),
            "and its generation"
        );
        assert_ne!(value, seal("s", "wx1").close(&state()).unwrap(), "no two are alike");
    }

    #[test]
    fn no_byte_of_it_can_be_another() {
        let seal = seal("s", "wx1");
        let value = seal.close(&state()).unwrap();
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(!matches!(seal.open(&changed), Opened::Ours(_)), "{at}");
            assert!(!matches!(seal.open(&value[..at]), Opened::Ours(_)), "{at}");
        }
    }

    #[test]
    fn what_wxgate_did_not_write_is_foreign() {
        for value in
            ["", "x", "wxgate1", "wxgate1 ", "wxgate1 x y", "wxgate1 7 !", "wxgate1 7 QUJD", "wxgate2 7 QUJD"]
        {
            assert!(matches!(seal("s", "wx1").open(value.as_bytes()), Opened::Foreign), "{value}");
        }
        assert!(matches!(seal("s", "wx1").open(&[0xff; 99]), Opened::Foreign));
        assert!(matches!(seal("s", "wx1").open(&vec![b'a'; 1 << 20]), Opened::Foreign));
    }
}
