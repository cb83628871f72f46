//! Searches everything that the other tests logged for every credential that they gave out.
//!
//! The other tests write their logs, at trace level, as `trace-*.log` and the credentials as
//! `credentials-*.txt` into `$WXGATE_TEST_LOGS`. The search is a test binary of its own, for it has to come
//! last; `tests/run` sees to that. It never skips: nothing to search is a failure too.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is said")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Shorter ones would be found by chance.
const SHORTEST: usize = 8;
/// A single test of a proxy logs more than this; far less means that the logs were not those of the tests.
const FEWEST_LINES: usize = 1_000;

/// All spellings of all credentials, found in one pass over a text.
struct Search {
    /// By their first eight bytes, which decide in nearly every place.
    by_beginning: HashMap<[u8; SHORTEST], Vec<Needle>>,
    /// Whether any begins with these two bytes: cheaper to ask than the map.
    may_begin: Vec<bool>,
    credentials: usize,
}

struct Needle {
    bytes: Vec<u8>,
    /// Which credential it is, by its number, and how it is spelled; the report must not repeat the credential.
    name: String,
}

impl Search {
    fn new<'a>(credentials: impl IntoIterator<Item = &'a str>) -> Self {
        let credentials: BTreeSet<&str> =
            credentials.into_iter().filter(|credential| credential.len() >= SHORTEST).collect();
        let mut search = Self {
            by_beginning: HashMap::new(),
            may_begin: vec![false; 1 << 16],
            credentials: credentials.len(),
        };
        for (number, credential) in credentials.iter().enumerate() {
            for (spelling, bytes) in spellings(credential) {
                search.may_begin[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))] = true;
                let name = format!("credential {number}, {spelling}, {} characters", credential.len());
                let beginning = bytes[..SHORTEST].try_into().unwrap();
                search.by_beginning.entry(beginning).or_default().push(Needle { bytes, name });
            }
        }
        search
    }

    /// Each credential that occurs in `text`, with its line, counted from 1.
    fn find(&self, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            for at in 0..line.len().saturating_sub(SHORTEST - 1) {
                if !self.may_begin[usize::from(u16::from_be_bytes([line[at], line[at + 1]]))] {
                    continue;
                }
                let beginning: [u8; SHORTEST] = line[at..at + SHORTEST].try_into().unwrap();
                let needles = self.by_beginning.get(&beginning).into_iter().flatten();
                for needle in needles.filter(|needle| line[at..].starts_with(&needle.bytes)) {
                    found.push(format!("line {}: {}", number + 1, needle.name));
                }
            }
        }
        found
    }
}

/// The ways in which a log could hold a credential.
fn spellings(credential: &str) -> Vec<(&'static str, Vec<u8>)> {
    let encoded = |unreserved: &str, upper: bool| {
        credential.bytes().fold(String::new(), |mut text, byte| {
            match byte {
                _ if byte.is_ascii_alphanumeric() || unreserved.as_bytes().contains(&byte) => {
                    text.push(char::from(byte));
                }
                _ if upper => write!(text, "%{byte:02X}").unwrap(),
                _ => write!(text, "%{byte:02x}").unwrap(),
            }
            text
        })
    };
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let form: String = form_urlencoded::byte_serialize(credential.as_bytes()).collect();
    let mut all = vec![
        ("as it is", credential.to_owned()),
        ("percent-encoded", encoded("-._~", true)),
        ("percent-encoded in small letters", encoded("-._~", false)),
        ("percent-encoded but for what a query may hold", encoded("-._~!$'()*+,;:@/?", true)),
        ("as a form", form),
        ("escaped for JSON", json(credential)),
        // What Rust's {:?} and a JSON line around it make of it.
        ("escaped for Rust", credential.escape_debug().to_string()),
        ("escaped twice for JSON", json(&json(credential))),
        ("escaped for Rust and JSON", json(&credential.escape_debug().to_string())),
    ];
    let mut seen = BTreeSet::new();
    all.retain(|(_, text)| seen.insert(text.clone()));
    all.into_iter().map(|(spelling, text)| (spelling, text.into_bytes())).collect()
}

/// The files in `dir` whose names begin and end like this.
fn files(dir: &Path, beginning: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(beginning) && name.ends_with(end)
        })
        .collect();
    files.sort();
    files
}

/// What was searched, or why that does not count.
fn search_through(dir: &Path) -> Result<String, String> {
    let lists: Vec<String> = files(dir, "credentials-", ".txt")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let search = Search::new(lists.iter().flat_map(|list| list.lines()));
    if search.credentials == 0 {
        return Err(format!("no credentials in {}", dir.display()));
    }
    let (mut found, mut lines, mut bytes) = (Vec::new(), 0, 0);
    let logs = files(dir, "trace-", ".log");
    for path in &logs {
        let text = std::fs::read(path).unwrap();
        lines += text.iter().filter(|byte| **byte == b'\n').count();
        bytes += text.len();
        found.extend(search.find(&text).into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    if !found.is_empty() {
        return Err(format!("credentials in the logs:\n{}", found.join("\n")));
    }
    if lines < FEWEST_LINES {
        return Err(format!(
            "only {lines} lines in {} logs in {}: are these the logs of all tests?",
            logs.len(),
            dir.display()
        ));
    }
    Ok(format!(
        "{} credentials in none of {lines} lines, {bytes} bytes, {} logs",
        search.credentials,
        logs.len()
    ))
}

#[test]
#[ignore = "run by tests/run after all others"]
fn no_log_holds_a_credential() {
    let dir = std::env::var_os("WXGATE_TEST_LOGS")
        .expect("WXGATE_TEST_LOGS must name the folder that the other tests have logged to");
    match search_through(Path::new(&dir)) {
        Ok(searched) => println!("{searched}"),
        Err(why) => panic!("{why}"),
    }
}

const ODD: &str = "odd token+/=&\"\\票\u{7f}";

/// A folder as the tests leave it, with one more line in its log.
fn logs(last_line: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let innocent = "{\"message\":\"odd tokens are no secrets\",\"path\":\"/cgi-bin/user/get\"}\n";
    std::fs::write(dir.path().join("trace-1.log"), innocent.repeat(FEWEST_LINES)).unwrap();
    std::fs::write(dir.path().join("trace-child-2.log"), format!("{last_line}\n")).unwrap();
    std::fs::write(dir.path().join("credentials-1.txt"), format!("s3cr3t-value\nshort\n{ODD}\n")).unwrap();
    dir
}

#[test]
fn a_planted_credential_is_found_however_it_is_spelled() {
    for planted in [
        "s3cr3t-value".to_owned(),
        ODD.to_owned(),
        "odd%20token%2B%2F%3D%26%22%5C%E7%A5%A8%7F".to_owned(),
        "odd%20token%2b%2f%3d%26%22%5c%e7%a5%a8%7f".to_owned(),
        "odd+token%2B%2F%3D%26%22%5C%E7%A5%A8%7F".to_owned(),
        serde_json::json!({ "message": ODD }).to_string(),
        format!("{ODD:?}"),
        serde_json::json!({ "message": format!("{ODD:?}") }).to_string(),
    ] {
        let said = search_through(logs(&format!("GET /x?access_token={planted}&a=1")).path()).unwrap_err();
        assert!(said.contains("trace-child-2.log: line 1: credential"), "{planted}: {said}");
        assert!(!said.contains("s3cr3t") && !said.contains("odd"), "the report repeats it: {said}");
    }
}

#[test]
fn clean_logs_pass_and_say_what_was_searched() {
    let said = search_through(logs("short, s3cr3t and odd+token, but no credential").path()).unwrap();
    assert!(said.starts_with("2 credentials in none of 1001 lines, "), "{said}");
}

#[test]
fn too_little_to_search_is_a_failure() {
    let empty = tempfile::tempdir().unwrap();
    assert!(search_through(empty.path()).unwrap_err().contains("no credentials"));
    std::fs::write(empty.path().join("credentials-1.txt"), "s3cr3t-value\n").unwrap();
    std::fs::write(empty.path().join("trace-1.log"), "one line\n").unwrap();
    assert!(search_through(empty.path()).unwrap_err().contains("only 1 lines in 1 logs"));
}
