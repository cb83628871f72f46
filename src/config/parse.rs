//! What single texts must look like, for the file and the environment alike: sizes, times, names; addresses and
//! paths in files of their own. Each function answers with the value or with the words that follow "want".
//!
//! Pure: no file, no environment, no name lookup.

pub(super) mod address;
pub(super) mod path;
pub(super) mod proxy_url;

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::Rate;

/// What a time looks like.
pub(super) const TIME_WANTED: &str = r#"a time like "3s" or "500ms""#;
/// What an appid looks like.
pub(super) const APPID_WANTED: &str =
    r#"an appid like "wx0123456789abcdef": letters, digits, `-`, `_`, at most 64"#;

/// Bytes, `"16MiB"` or a plain number.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    match text.trim().parse::<ByteSize>() {
        Ok(ByteSize(bytes)) if range.contains(&bytes) => Ok(bytes),
        _ => Err(size_wanted(range)),
    }
}

pub(super) fn size_wanted(range: &RangeInclusive<u64>) -> String {
    let (low, high) = (bytes(*range.start()), bytes(*range.end()));
    format!("a size like \"16MiB\", from {low} to {high}")
}

/// A size as a user would write it.
pub(super) fn bytes(size: u64) -> String {
    let units = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = units.iter().find(|(_, bits)| size != 0 && size.trailing_zeros() >= *bits);
    exact.map_or_else(|| size.to_string(), |(unit, bits)| format!("{}{unit}", size >> bits))
}

/// A time with its unit.
pub(super) fn time(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| TIME_WANTED.to_owned())?;
    if range.contains(&time) {
        return Ok(time);
    }
    let shown = humantime::format_duration;
    Err(format!("a time from {} to {}", shown(*range.start()), shown(*range.end())))
}

/// What a rate looks like.
pub(super) const RATE_WANTED: &str = r#"a rate like "50/s" or "600/min", from 1 to 1000000"#;

/// So many calls a second or a minute.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wanted = || RATE_WANTED.to_owned();
    let (calls, unit) = text.split_once('/').ok_or_else(wanted)?;
    let per = match unit.trim() {
        "s" => Duration::from_secs(1),
        "min" => Duration::from_secs(60),
        _ => return Err(wanted()),
    };
    match calls.trim().parse() {
        Ok(calls @ 1..=1_000_000) => Ok(Rate { calls, per }),
        _ => Err(wanted()),
    }
}

/// The name of an account or a caller.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let right = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
    right
        .then(|| text.to_owned())
        .ok_or_else(|| r#"a name like "main": lower-case letters, digits and `-`, at most 64"#.to_owned())
}

/// The appid; it names the token's file, so nothing but these characters may be in it.
pub(crate) fn appid(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let right = !text.is_empty() && text.len() <= 64 && text.chars().all(fits);
    right.then(|| text.to_owned()).ok_or_else(|| APPID_WANTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let of = |calls, secs| Some(Rate { calls, per: Duration::from_secs(secs) });
        for (text, right) in [
            ("50/s", of(50, 1)),
            ("1/min", of(1, 60)),
            ("1000000/s", of(1_000_000, 1)),
            ("0/s", None),
            ("1000001/s", None),
            ("50", None),
            ("50/h", None),
            ("-1/s", None),
            ("1.5/s", None),
            ("", None),
        ] {
            assert_eq!(rate(text).ok(), right, "{text}");
        }
    }

    #[test]
    fn sizes() {
        let any = 0..=1 << 50;
        for (text, bytes) in [
            ("16MiB", Some(16 << 20)),
            ("64KiB", Some(64 << 10)),
            ("1GiB", Some(1 << 30)),
            ("500KB", Some(500_000)),
            ("4096", Some(4096)),
            ("0", Some(0)),
            ("-1", None),
            ("", None),
            ("16 parsec", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text, &any).ok(), bytes, "{text}");
        }
        assert_eq!(bytes(16 << 20), "16MiB");
        assert_eq!(bytes(1000), "1000");
    }
}
