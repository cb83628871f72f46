//! The one type that holds tokens, AppSecrets and keys.
//!
//! It masks itself in `Debug`, has no `Display`, no `Serialize` and no `Deref`, and is wiped on drop: its memory
//! is overwritten before it is given back ([`zeroize::Zeroizing`]). So is a token when its last request is over: a
//! credential keeps its value, and the encoded form, in this type. The only way to the text is [`Secret::expose`], so
//! that a search for that word lists every place where a secret can leave the program. It does not encrypt anything,
//! and copies made by other crates (TLS, HTTP clients) are out of its reach.

use std::fmt;
use zeroize::Zeroizing;

/// A text that must never reach a log, an error, a metric or a page.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the caller's buffer becomes the secret's, no copy is left behind.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Every use of this word is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wiped(&Secret::new("hunter2".to_owned()).0);
        assert!(std::mem::needs_drop::<Secret>());
    }

    #[test]
    fn debug_shows_no_letter_of_it() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret(***))");
    }
}
