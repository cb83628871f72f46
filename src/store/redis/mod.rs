//! A Redis or Valkey that several wxgate share: one fetch for each generation by all of them together.
//!
//! Each account has two keys in one hash slot: its state, encrypted (`seal.rs`), which is replaced only as it is known
//! here, and a lock that its holder renews. Correctness does not rest on the lock: which of two tokens is used is
//! decided by when their fetches began, in the lifecycle. Nothing here decides about tokens.
//!
//! What is in the store and not ours is left alone. The one exception: a state that another AppSecret wrote gives way
//! to a token that was fetched with ours after that had been seen.

mod dial;
mod known;
mod link;
mod lock;
mod look;
mod probe;
mod scripts;
mod seal;
mod settings;
mod shared;
mod state;
mod tls;
mod url;

use rustls::RootCertStore;

pub use self::link::Link;
pub use self::look::Look;
pub use self::probe::{Finding, Probe};
pub use self::settings::RedisSettings;
pub use self::state::RedisStore;
pub use self::url::StoreUrl;

/// Whether certificates and key are usable together.
///
/// # Errors
/// What is unusable, in words.
pub fn usable_tls(settings: &RedisSettings) -> Result<(), String> {
    tls::client(settings, RootCertStore::empty()).map(drop).map_err(|e| e.0)
}
