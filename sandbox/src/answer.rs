//! An answer of the sandbox, and how it is put on the wire: type, gzip, headers.
//!
//! What the answer says is decided elsewhere.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderName, HeaderValue,
};
use http::request::Parts;
use http::{Extensions, HeaderMap, Response, StatusCode, Version};
use http_body_util::Full;

/// As WeChat spells it: SDKs compare this text literally.
pub(crate) const JSON: &str = "application/json; encoding=utf-8";
/// Errors of media interfaces, video answers and `/sns`, though they hold JSON.
pub(crate) const TEXT: &str = "text/plain";

/// As WeCom spells it.
pub(crate) const WECOM_JSON: &str = "application/json; charset=UTF-8";

/// What goes back to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    mime: String,
    body: Bytes,
    /// The file name of a download. Its presence is how SDKs tell media from errors.
    attachment: Option<String>,
    /// Further headers.
    more: Vec<(&'static str, String)>,
}

impl Answer {
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::of(StatusCode::OK, JSON, value.to_string())
    }

    pub(crate) fn of(status: StatusCode, mime: &str, body: impl Into<Bytes>) -> Self {
        Self { status, mime: mime.to_owned(), body: body.into(), attachment: None, more: Vec::new() }
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, mime: String::new(), body: Bytes::new(), attachment: None, more: Vec::new() }
    }

    pub(crate) fn media(mime: String, body: Bytes, file_name: String) -> Self {
        Self { status: StatusCode::OK, mime, body, attachment: Some(file_name), more: Vec::new() }
    }

    /// What it says, and its type.
    pub(crate) fn content(&self) -> (&[u8], &str) {
        (&self.body, &self.mime)
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn with_mime(mut self, mime: &str) -> Self {
        mime.clone_into(&mut self.mime);
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.more.push((name, value));
        self
    }

    /// The response, compressed if the caller asked for gzip and it is text.
    pub(crate) fn into_response(self, wishes: Wishes, spelling: &Extensions) -> Response<Full<Bytes>> {
        let text = [JSON, WECOM_JSON].contains(&&*self.mime) || self.mime.starts_with("text/");
        let zipped = if text && !self.body.is_empty() && wishes.gzip { gzip(&self.body) } else { None };
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut spelled = false;
        if let Ok(mime) = HeaderValue::try_from(self.mime)
            && !mime.is_empty()
        {
            headers.insert(CONTENT_TYPE, mime);
        }
        for (name, value) in self.more {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let mut keep_alive = wishes.keep_alive;
        if let Some(name) = self.attachment
            && let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\""))
        {
            headers.insert(CONTENT_DISPOSITION, value);
            spelled = true;
            keep_alive = false;
        }
        headers.insert(CONNECTION, HeaderValue::from_static(if keep_alive { "keep-alive" } else { "close" }));
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

/// What a request says about the form of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    gzip: bool,
    keep_alive: bool,
}

impl Wishes {
    pub(crate) fn of(request: &Parts) -> Self {
        let connection = |option| listed(&request.headers, &CONNECTION).any(|(name, _)| name == option);
        let keep_alive = match request.version {
            Version::HTTP_11 => !connection("close"),
            _ => connection("keep-alive"),
        };
        let refused = |q: &str| matches!(q, "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        let gzip = listed(&request.headers, &ACCEPT_ENCODING).any(|(name, q)| name == "gzip" && !refused(&q));
        Self { gzip, keep_alive }
    }
}

/// The items of a list header with their parameters, in lower case and without blanks.
fn listed(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = (String, String)> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|item| {
        let item = item.replace([' ', '\t'], "").to_ascii_lowercase();
        let (name, parameters) = item.split_once(';').unwrap_or((&item, ""));
        (name.to_owned(), parameters.to_owned())
    })
}

thread_local! {
    /// Making a compressor costs ten times more than compressing one small answer with it.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// Deflated data in the frame of RFC 1952: flate2's own gzip encoder cannot be used a second time.
fn gzip(body: &[u8]) -> Option<Bytes> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut zipped = Vec::with_capacity(HEADER.len() + body.len() + 64);
    zipped.extend(HEADER);
    let status = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        compressor.compress_vec(body, &mut zipped, FlushCompress::Finish)
    });
    // Incompressible text that outgrows the room left for it is simply sent as it is.
    if !matches!(status, Ok(Status::StreamEnd)) {
        return None;
    }
    let mut sum = Crc::new();
    sum.update(body);
    zipped.extend(sum.sum().to_le_bytes());
    zipped.extend(sum.amount().to_le_bytes());
    Some(Bytes::from(zipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(version: Version, header: (HeaderName, &'static str)) -> Wishes {
        let request = http::Request::builder().version(version).header(header.0, header.1).body(()).unwrap();
        Wishes::of(&request.into_parts().0)
    }

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
            assert_eq!(wishes(Version::HTTP_11, (ACCEPT_ENCODING, accept)).gzip, expected, "{accept:?}");
        }
    }

    #[test]
    fn the_connection_is_kept_as_its_version_says() {
        for (version, connection, expected) in [
            (Version::HTTP_11, "", true),
            (Version::HTTP_11, "TE, Close", false),
            (Version::HTTP_10, "", false),
            (Version::HTTP_10, "Keep-Alive", true),
        ] {
            assert_eq!(
                wishes(version, (CONNECTION, connection)).keep_alive,
                expected,
                "{version:?} {connection}"
            );
        }
    }

    #[test]
    fn a_compressor_can_be_used_again() {
        use std::io::Read;
        for body in ["a", "", &*"long text ".repeat(1000), "b"] {
            let zipped = gzip(body.as_bytes()).unwrap();
            let mut text = String::new();
            flate2::read::GzDecoder::new(&*zipped).read_to_string(&mut text).unwrap();
            assert_eq!(text, body);
        }
    }

    #[test]
    fn media_is_never_compressed() {
        let media = Answer::media("image/jpeg".to_owned(), Bytes::from_static(&[7; 500]), "a.jpg".to_owned());
        let response = media.into_response(Wishes { gzip: true, keep_alive: true }, &Extensions::new());
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers()[CONTENT_LENGTH], "500");
    }
}
