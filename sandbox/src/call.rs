//! One request as the interfaces see it: path, query, body and the peer's address, with WeChat's checks of
//! the form of a request.
//!
//! It does not look at tokens.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

use crate::errors::{Refusal, refuse};

/// The body of a request, read to its end.
pub(crate) enum Body {
    Whole(Bytes),
    /// Longer than anything WeChat takes; the bytes were read and thrown away.
    TooLarge,
}

/// One request, read completely.
pub(crate) struct Call {
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    pub(crate) peer: IpAddr,
    query: Vec<(String, String)>,
}

impl Call {
    pub(crate) fn new(parts: Parts, body: Body, peer: IpAddr) -> Self {
        let query = pairs(parts.uri.query().unwrap_or_default().as_bytes());
        Self { parts, body, peer, query }
    }

    /// The same call with another body, and its query for nothing but the token.
    pub(crate) fn with_body(&self, body: Vec<u8>) -> Self {
        Self { parts: self.parts.clone(), body: Body::Whole(body.into()), peer: self.peer, query: Vec::new() }
    }

    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Whether the body came without a length; WeChat takes no such body.
    pub(crate) fn is_chunked(&self) -> bool {
        self.parts.headers.contains_key(http::header::TRANSFER_ENCODING)
    }

    /// The first parameter of this name; WeChat does not say which one counts when there are several.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A parameter of the query or, as WeChat accepts it in a POST, of a form in the body.
    pub(crate) fn parameter_or_field(&self, name: &str) -> Option<String> {
        if let Some(value) = self.parameter(name) {
            return Some(value.to_owned());
        }
        match &self.body {
            Body::Whole(bytes) => find(&pairs(bytes), name).map(str::to_owned),
            Body::TooLarge => None,
        }
    }

    /// How many parameters of this name the query has, in whatever percent-encoding of the name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.query.iter().filter(|(key, _)| key == name).count()
    }

    pub(crate) fn require_post(&self) -> Result<(), Refusal> {
        if self.parts.method == http::Method::POST { Ok(()) } else { Err(refuse(43002)) }
    }

    /// The JSON object of a POST.
    ///
    /// # Errors
    /// 43002 not a POST, 44002 no body, 45002 too long, 47001 not a JSON object.
    pub(crate) fn json(&self) -> Result<Value, Refusal> {
        self.require_post()?;
        match &self.body {
            Body::TooLarge => Err(refuse(45002)),
            Body::Whole(bytes) if bytes.is_empty() => Err(refuse(44002)),
            Body::Whole(bytes) => match serde_json::from_slice(bytes) {
                Ok(value @ Value::Object(_)) => Ok(value),
                _ => Err(refuse(47001)),
            },
        }
    }

    /// The same for what reaches WeChat's users: 40033 for text written as `\uXXXX`.
    pub(crate) fn json_without_escapes(&self) -> Result<Value, Refusal> {
        let value = self.json()?;
        match &self.body {
            Body::Whole(bytes) if has_unicode_escape(bytes) => Err(refuse(40033)),
            _ => Ok(value),
        }
    }
}

/// A text member of a JSON object; empty counts as missing.
pub(crate) fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether `\uXXXX` stands in this JSON; `\\u` is a backslash and a letter.
fn has_unicode_escape(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_backslash_before_a_u_is_no_escape() {
        for (json, expected) in [
            (r#"{"a":"\u4f60"}"#, true),
            (r#"{"a":"\\u4f60"}"#, false),
            (r#"{"a":"\\\u4f60"}"#, true),
            (r#"{"a":"你\n"}"#, false),
            (r#"{"a":"\"#, false),
        ] {
            assert_eq!(has_unicode_escape(json.as_bytes()), expected, "{json}");
        }
    }
}
