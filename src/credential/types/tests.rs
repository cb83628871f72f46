//! Encoding a credential for a query, and keeping it out of `Debug`.

use super::*;

#[test]
fn all_but_unreserved_characters_are_encoded() {
    for (value, encoded) in [
        ("abcXYZ019-._~", "abcXYZ019-._~"),
        ("a+b/c=d", "a%2Bb%2Fc%3Dd"),
        ("a&b#c %?", "a%26b%23c%20%25%3F"),
        ("票", "%E7%A5%A8"),
        ("\u{1}\n", "%01%0A"),
    ] {
        let token = Credential::new(1, Secret::new(value.to_owned()), Instant::now(), Instant::now());
        assert_eq!(token.encoded.expose(), encoded);
    }
}

#[test]
fn debug_of_a_token_shows_no_letter_of_it() {
    let token = Credential::new(7, Secret::new("hunter2".to_owned()), Instant::now(), Instant::now());
    let shown = format!("{token:?}");
    assert!(!shown.contains("hunter") && shown.contains("generation: 7"), "{shown}");
}
