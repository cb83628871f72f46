//! Failures that a test ordered: which request they strike, and how.
//!
//! How a connection is reset or an answer held back is the server's business.

use std::time::Duration;

use serde_json::Value;

/// What happens instead of the answer, or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// This errcode with WeChat's text, HTTP 200.
    Errcode(i64),
    /// This HTTP status with an empty body.
    Status(u16),
    /// The true answer, after this time.
    Hang(Duration),
    /// The TCP connection is reset and there is no answer.
    Reset,
    /// This errcode as soon as 64 KiB of the body have come, or all of it; then the connection is closed.
    Early(i64),
}

/// An order to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many requests it strikes.
    pub count: u64,
    /// The one path it strikes; without it, every API and token call.
    pub path: Option<String>,
    /// What happens to them.
    pub how: How,
}

const FORM: &str = r#"{"count": 3, "path": "/cgi-bin/user/get", "how": {"errcode": 45009}}"#;

impl Failure {
    /// Reads the body of `POST /sandbox/fail`.
    ///
    /// # Errors
    /// What is wrong with it and what would be right, in words.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|e| format!("the body is not JSON ({e}); expected {FORM}"))?;
        let object = value.as_object().ok_or(format!("the body is not a JSON object; expected {FORM}"))?;
        if let Some(key) = object.keys().find(|key| !["count", "path", "how"].contains(&key.as_str())) {
            return Err(format!("unknown key `{key}`; expected {FORM}"));
        }
        let count = match object.get("count") {
            None => 1,
            Some(count) => count.as_u64().ok_or("`count` must be a whole number")?,
        };
        let path = match object.get("path") {
            None | Some(Value::Null) => None,
            Some(Value::String(path)) if path.starts_with('/') => Some(path.clone()),
            Some(_) => return Err("`path` must be a text that begins with `/`".to_owned()),
        };
        Ok(Self { count, path, how: how(object.get("how"))? })
    }
}

fn how(value: Option<&Value>) -> Result<How, String> {
    const KINDS: &str = r#"`how` must be one of {"errcode": N}, {"status": N}, {"hang_ms": N}, {"reset": true} and {"early_errcode": N}"#;
    let (kind, value) = match value {
        Some(Value::String(kind)) if kind == "reset" => return Ok(How::Reset),
        Some(Value::Object(object)) if object.len() == 1 => object.iter().next().ok_or(KINDS)?,
        _ => return Err(KINDS.to_owned()),
    };
    let number = |range: std::ops::RangeInclusive<i64>| {
        let number = value.as_i64().filter(|number| range.contains(number));
        number.ok_or(format!("`{kind}` must be a whole number from {} to {}", range.start(), range.end()))
    };
    match kind.as_str() {
        "errcode" => Ok(How::Errcode(number(-1..=i64::from(i32::MAX))?)),
        "early_errcode" => Ok(How::Early(number(-1..=i64::from(i32::MAX))?)),
        "status" => Ok(How::Status(u16::try_from(number(200..=599)?).map_err(|e| e.to_string())?)),
        "hang_ms" => Ok(How::Hang(Duration::from_millis(number(0..=86_400_000)?.unsigned_abs()))),
        "reset" if value != &Value::Bool(false) => Ok(How::Reset),
        _ => Err(KINDS.to_owned()),
    }
}

/// The orders that are still to be carried out, oldest first.
#[derive(Default)]
pub(crate) struct Failures(Vec<Failure>);

impl Failures {
    pub(crate) fn order(&mut self, failure: Failure) {
        if failure.count > 0 {
            self.0.push(failure);
        }
    }

    /// What is to happen to a request for this path; it counts as struck.
    pub(crate) fn strike(&mut self, path: &str) -> Option<How> {
        self.take(path, |how| !matches!(how, How::Early(_)))
    }

    /// The errcode with which a request for this path is answered before its body has been read; it counts as struck.
    pub(crate) fn strike_early(&mut self, path: &str) -> Option<i64> {
        match self.take(path, |how| matches!(how, How::Early(_)))? {
            How::Early(code) => Some(code),
            _ => None,
        }
    }

    fn take(&mut self, path: &str, wanted: impl Fn(How) -> bool) -> Option<How> {
        let strikes = |failure: &Failure| {
            wanted(failure.how) && failure.path.as_deref().is_none_or(|only| only == path)
        };
        let index = self.0.iter().position(strikes)?;
        let failure = &mut self.0[index];
        let how = failure.how;
        failure.count -= 1;
        if failure.count == 0 {
            self.0.remove(index);
        }
        Some(how)
    }

    pub(crate) fn left(&self) -> u64 {
        self.0.iter().map(|failure| failure.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_documented() {
        for (json, expected) in [
            (
                FORM,
                Failure { count: 3, path: Some("/cgi-bin/user/get".to_owned()), how: How::Errcode(45009) },
            ),
            (r#"{"how":{"status":502}}"#, Failure { count: 1, path: None, how: How::Status(502) }),
            (r#"{"how":{"reset":true}}"#, Failure { count: 1, path: None, how: How::Reset }),
            (r#"{"how":{"early_errcode":40009}}"#, Failure { count: 1, path: None, how: How::Early(40009) }),
            (r#"{"how":"reset"}"#, Failure { count: 1, path: None, how: How::Reset }),
            (
                r#"{"how":{"hang_ms":250}}"#,
                Failure { count: 1, path: None, how: How::Hang(Duration::from_millis(250)) },
            ),
        ] {
            assert_eq!(Failure::from_json(json.as_bytes()).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn a_wrong_order_is_refused_in_words() {
        for (json, word) in [
            ("", "not JSON"),
            ("[]", "not a JSON object"),
            (r#"{"how":{"errcode":1},"cuont":1}"#, "`cuont`"),
            (r#"{"count":-1,"how":{"errcode":1}}"#, "`count`"),
            (r#"{"path":"cgi-bin","how":{"errcode":1}}"#, "`path`"),
            (r#"{"count":1}"#, "`how`"),
            (r#"{"how":{"errcode":1,"status":2}}"#, "`how`"),
            (r#"{"how":{"status":99}}"#, "`status`"),
            (r#"{"how":{"explode":1}}"#, "`how`"),
        ] {
            let said = Failure::from_json(json.as_bytes()).unwrap_err();
            assert!(said.contains(word), "{json}: {said}");
        }
    }

    #[test]
    fn a_failure_strikes_its_own_path_as_often_as_ordered() {
        let mut failures = Failures::default();
        failures.order(Failure { count: 2, path: Some("/a".to_owned()), how: How::Reset });
        failures.order(Failure { count: 1, path: None, how: How::Status(500) });
        assert_eq!(failures.strike("/b"), Some(How::Status(500)));
        assert_eq!(failures.strike("/b"), None);
        assert_eq!(failures.strike("/a"), Some(How::Reset));
        assert_eq!(failures.left(), 1);
        assert_eq!(failures.strike("/a"), Some(How::Reset));
        assert_eq!(failures.strike("/a"), None);
    }
}
