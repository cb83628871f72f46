//! What the caller gets to see of an upstream's head: fields and reason phrase.
//!
//! Pure edits. Names keep the upstream's spelling (`header_case.rs`), values stay byte for byte, but
//! for the token.

use http::Extensions;
use http::header::{self, HeaderMap, HeaderValue};
use hyper::ext::ReasonPhrase;

use super::{Hidden, PLACEHOLDER};
use crate::proxy::fields::{drop_hop_by_hop_and, has};

/// Edits the upstream's fields into what the caller gets; without what the call was made with.
pub fn to_caller(headers: &mut HeaderMap, hidden: Hidden<'_>) {
    if has(headers, &header::TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: with both, the length is a lie (and hyper's server would drop the caller).
        headers.remove(header::CONTENT_LENGTH);
    }
    one_length(headers);
    drop_hop_by_hop_and(headers, |_| false);
    mask_fields(headers, hidden);
}

/// hyper has taken `5, 5`, and two lines that agree, for what they mean; not every caller does.
fn one_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return };
    let one = first.as_bytes().split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
    if (lines.next().is_some() || one.len() < first.len())
        && let Ok(value) = HeaderValue::from_bytes(one)
    {
        headers.insert(header::CONTENT_LENGTH, value);
    }
}

/// A redirect that repeats the request's query would hand the token to the caller.
pub fn mask_fields(headers: &mut HeaderMap, hidden: Hidden<'_>) {
    let shortest = hidden.shortest();
    for value in headers.values_mut().filter(|value| value.len() >= shortest) {
        if let Some(text) = hidden.masked(value.as_bytes()) {
            // What cannot be repaired is not handed on.
            *value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(PLACEHOLDER));
        }
    }
}

/// The body goes on decoded, and in this length.
pub fn describe_decoded(headers: &mut HeaderMap, length: usize) {
    headers.remove(header::CONTENT_ENCODING);
    if headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// A reason phrase that repeats the token; hyper carries an unusual one beside the head.
pub fn mask_reason(extensions: &mut Extensions, hidden: Hidden<'_>) {
    let Some(reason) = extensions.get_mut::<ReasonPhrase>() else { return };
    if let Some(text) = hidden.masked(reason.as_bytes()) {
        *reason = ReasonPhrase::try_from(text).unwrap_or(ReasonPhrase::from_static(PLACEHOLDER.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;
    use crate::secret::Secret;
    use http::HeaderName;
    use tokio::time::Instant;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_upstreams_length_beside_chunked_is_dropped() {
        let mut headers = map(&[("content-length", "5"), ("transfer-encoding", "chunked"), ("x", "y")]);
        to_caller(&mut headers, Hidden::default());
        assert_eq!(headers, map(&[("x", "y")]));
    }

    #[test]
    fn a_length_that_is_said_twice_is_said_once() {
        for lines in [&["5"][..], &["5", "5"], &["5, 5"], &["5,5", "5"]] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(line));
            }
            to_caller(&mut headers, Hidden::default());
            assert_eq!(headers, map(&[("content-length", "5")]), "{lines:?}");
        }
    }

    #[test]
    fn fields_and_reason_have_the_placeholder_for_the_token() {
        let token = Credential::new(1, Secret::new("T+/k".to_owned()), Instant::now(), Instant::now());
        let secret = Secret::new("s3cr3t+".to_owned());
        let hidden = Hidden { token: Some(&token), secret: Some(&secret) };
        let mut headers = map(&[("location", "/?a=T%252B%252Fk&s=s3cr3t%2b"), ("x", "short"), ("y", "T+/")]);
        to_caller(&mut headers, hidden);
        assert_eq!(headers["location"], format!("/?a={PLACEHOLDER}&s=***"));
        assert_eq!((headers["x"].as_bytes(), headers["y"].as_bytes()), (&b"short"[..], &b"T+/"[..]));
        let mut extensions = Extensions::new();
        extensions.insert(ReasonPhrase::from_static(b"No T%2B/k here"));
        mask_reason(&mut extensions, Hidden::default());
        assert_eq!(extensions.get::<ReasonPhrase>().unwrap().as_bytes(), b"No T%2B/k here");
        mask_reason(&mut extensions, hidden);
        let right = format!("No {PLACEHOLDER} here");
        assert_eq!(extensions.get::<ReasonPhrase>().unwrap().as_bytes(), right.as_bytes());
    }
}
