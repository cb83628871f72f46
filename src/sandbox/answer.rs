//! An answer of the sandbox, and how it is put on the wire: type, gzip, headers.
//!
//! What the answer says is decided elsewhere.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderValue,
};
use http::{Extensions, HeaderMap, Response, StatusCode};
use http_body_util::Full;

/// As WeChat spells it: SDKs compare this text literally.
pub(super) const JSON: &str = "application/json; encoding=utf-8";
/// Errors of media interfaces, video answers and `/sns`, though they hold JSON.
pub(super) const TEXT: &str = "text/plain";

/// What goes back to the caller.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    mime: String,
    body: Bytes,
    /// The file name of a download. Its presence is how SDKs tell media from errors.
    attachment: Option<String>,
}

impl Answer {
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::of(StatusCode::OK, JSON, value.to_string())
    }

    pub(super) fn of(status: StatusCode, mime: &str, body: impl Into<Bytes>) -> Self {
        Self { status, mime: mime.to_owned(), body: body.into(), attachment: None }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, mime: String::new(), body: Bytes::new(), attachment: None }
    }

    pub(super) fn media(mime: String, body: Bytes, file_name: String) -> Self {
        Self { status: StatusCode::OK, mime, body, attachment: Some(file_name) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn with_mime(mut self, mime: &str) -> Self {
        mime.clone_into(&mut self.mime);
        self
    }

    /// The response, compressed if the caller asked for gzip and it is text.
    pub(super) fn into_response(self, gzip_wanted: bool, spelling: &Extensions) -> Response<Full<Bytes>> {
        let text = self.mime == JSON || self.mime.starts_with("text/");
        let zipped = if text && !self.body.is_empty() && gzip_wanted { gzip(&self.body) } else { None };
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut spelled = false;
        if let Ok(mime) = HeaderValue::try_from(self.mime)
            && !mime.is_empty()
        {
            headers.insert(CONTENT_TYPE, mime);
        }
        if let Some(name) = self.attachment
            && let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\""))
        {
            headers.insert(CONTENT_DISPOSITION, value);
            spelled = true;
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        if zipped.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let body = zipped.unwrap_or(self.body);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if spelled {
            *response.extensions_mut() = spelling.clone();
        }
        *response.body_mut() = Full::new(body);
        response
    }
}

/// Whether `Accept-Encoding` allows gzip.
pub(super) fn asks_for_gzip(request: &HeaderMap) -> bool {
    let lines = request.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = matches!(parameters.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2 + 32), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_when_asked_for() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, gzip", true),
            ("GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("deflate, br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(asks_for_gzip(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn media_is_never_compressed() {
        let media = Answer::media("image/jpeg".to_owned(), Bytes::from_static(&[7; 500]), "a.jpg".to_owned());
        let response = media.into_response(true, &Extensions::new());
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers()[CONTENT_LENGTH], "500");
    }
}
