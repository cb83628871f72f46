//! The one file of a multipart upload, found as strictly as WeChat finds it.
//!
//! No general multipart parser: WeChat refuses with 41005 what such a parser would take (no file name, a
//! file name outside ASCII, another field name), and that is what a test of an upload wants to see.

use bytes::Bytes;

use crate::call::{Body, Call};
use crate::errors::{Refusal, refuse};

/// A file as it was uploaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) mime: Option<String>,
    pub(crate) bytes: Bytes,
}

/// The part named `media`.
///
/// # Errors
/// 43002 not a POST, 44002 no body, 41005 no such part or not one that WeChat recognises, 44001 an empty
/// file. `None` is a body too long to be kept.
pub(crate) fn media(call: &Call) -> Result<Option<Upload>, Refusal> {
    call.require_post()?;
    let body = match &call.body {
        Body::Whole(bytes) if bytes.is_empty() => return Err(refuse(44002)),
        Body::Whole(bytes) => bytes,
        Body::TooLarge => return Ok(None),
    };
    let kind = call.parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let upload = kind.and_then(boundary).and_then(|boundary| find(body, boundary)).ok_or(refuse(41005))?;
    if upload.bytes.is_empty() { Err(refuse(44001)) } else { Ok(Some(upload)) }
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty())
}

/// `name=value` or `name="value"` among parameters separated by semicolons.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

fn find(body: &Bytes, boundary: &str) -> Option<Upload> {
    let delimiter = format!("--{boundary}");
    let mut at = position(body, delimiter.as_bytes(), 0)? + delimiter.len();
    // Each turn stands behind a delimiter: `--` ends the body, CRLF begins a part.
    while body.get(at..at + 2)? == b"\r\n" {
        let content = at + 2;
        let end = position(body, format!("\r\n{delimiter}").as_bytes(), content)?;
        if let Some(upload) = part(&body.slice(content..end)) {
            return Some(upload);
        }
        at = end + 2 + delimiter.len();
    }
    None
}

fn part(bytes: &Bytes) -> Option<Upload> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let httparse::Status::Complete((start, headers)) = httparse::parse_headers(bytes, &mut headers).ok()?
    else {
        return None;
    };
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let disposition = header("content-disposition")?;
    let file_name = parameter(disposition, "filename")?;
    if parameter(disposition, "name") != Some("media") || file_name.is_empty() || !file_name.is_ascii() {
        return None;
    }
    Some(Upload { mime: header("content-type").map(str::to_owned), bytes: bytes.slice(start..) })
}

fn position(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = haystack.get(from..)?;
    let first = *needle.first()?;
    let mut at = 0;
    // Looking for the first byte alone is quick; comparing windows would cost seconds for 10 MB unoptimised.
    while let Some(step) = rest.get(at..)?.iter().position(|byte| *byte == first) {
        at += step;
        if rest[at..].starts_with(needle) {
            return Some(from + at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &str) -> Option<Upload> {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b\r\n{headers}\r\n\r\nab\r\ncd\r\n--b--\r\n"
        );
        find(&Bytes::from(body), "b")
    }

    #[test]
    fn only_a_part_that_wechat_recognises_is_a_file() {
        for (headers, is_file) in [
            ("Content-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"", true),
            ("content-disposition: form-data; filename=a.jpg; name=media", true),
            ("Content-Disposition: form-data; name=\"media\"", false),
            ("Content-Disposition: form-data; name=\"media\"; filename=\"\"", false),
            ("Content-Disposition: form-data; name=\"media\"; filename=\"图.jpg\"", false),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"", false),
            ("Content-Type: image/jpeg", false),
        ] {
            assert_eq!(found(headers).is_some(), is_file, "{headers}");
        }
    }

    #[test]
    fn the_file_is_taken_byte_for_byte() {
        let headers =
            "Content-Disposition: form-data; name=\"media\"; filename=\"a\"\r\nContent-Type: image/png";
        let upload = found(headers).unwrap();
        assert_eq!(upload, Upload { mime: Some("image/png".to_owned()), bytes: Bytes::from("ab\r\ncd") });
    }

    #[test]
    fn a_body_cut_short_holds_no_file() {
        let whole =
            "--b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a\"\r\n\r\nabc\r\n--b--";
        assert!(find(&Bytes::from(whole), "b").is_some());
        for end in 0..whole.len() - "--".len() - "b".len() {
            assert_eq!(find(&Bytes::from(whole[..end].to_owned()), "b"), None, "{end}");
        }
    }

    #[test]
    fn the_boundary_may_be_quoted() {
        assert_eq!(boundary("multipart/form-data; boundary=\"x y\""), Some("x y"));
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; boundary=x"), Some("x"));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("application/json; boundary=x"), None);
    }
}
