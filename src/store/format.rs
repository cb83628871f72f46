//! How a state is spelled, in a file and (encrypted) in Redis: one JSON object, times in milliseconds since 1970.
//!
//! Whatever is not exactly as this version writes it is damage, said in words; none of the text is quoted, for it may
//! be the token. Reading, writing and encrypting it is not done here.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::{
    LONGEST_VALUE, StoreKey, StoredBlame, StoredBucket, StoredCredential, StoredForced, StoredLimits,
    StoredState,
};
use crate::secret::Secret;

/// No state is longer; a longer text is damaged.
pub(super) const LONGEST: usize = 64 * 1024;

/// It is not what wxgate writes.
pub(super) const DAMAGED: &str = "damaged";
/// It is of a format that this wxgate does not read.
pub(super) const OTHER_VERSION: &str = "other-version";
/// It belongs to another appid than its name says.
pub(super) const OTHER_APPID: &str = "other-appid";
/// `upstream.url` has been changed since.
pub(super) const OTHER_UPSTREAM: &str = "other-upstream";

/// Grows when an older wxgate could misread the file.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    appid: &'a str,
    upstream: &'a str,
    token_api: &'a str,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<WrittenToken<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<FileBucket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_paths: Option<FileBucket>,
    forced_ms: Vec<u64>,
    forced_by_unknown_paths_ms: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blame: Vec<FileBlame>,
    day: i64,
    fetches: u32,
}

#[derive(Serialize, Deserialize)]
struct FileBlame {
    path: String,
    granted: u64,
    counted: u64,
    in_a_row: u32,
    blocks: u32,
    blocked_until_ms: Option<u64>,
    at_ms: u64,
}

impl From<&StoredBlame> for FileBlame {
    fn from(blame: &StoredBlame) -> Self {
        let StoredBlame { path, granted, counted, in_a_row, blocks, blocked_until, at } = blame;
        Self {
            path: path.clone(),
            granted: *granted,
            counted: *counted,
            in_a_row: *in_a_row,
            blocks: *blocks,
            blocked_until_ms: blocked_until.map(to_ms),
            at_ms: to_ms(*at),
        }
    }
}

impl From<FileBlame> for StoredBlame {
    fn from(blame: FileBlame) -> Self {
        let FileBlame { path, granted, counted, in_a_row, blocks, blocked_until_ms, at_ms } = blame;
        let (blocked_until, at) = (blocked_until_ms.map(from_ms), from_ms(at_ms));
        Self { path, granted, counted, in_a_row, blocks, blocked_until, at }
    }
}

#[derive(Serialize)]
struct WrittenToken<'a> {
    access_token: &'a str,
    issued_at_ms: u64,
    expires_at_ms: u64,
    expires_in_ms: u64,
    began_ms: u64,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    appid: String,
    upstream: String,
    token_api: String,
    generation: u64,
    token: Option<ReadToken>,
    /// Missing in what an older wxgate wrote.
    #[serde(default, deserialize_with = "secret_if_any")]
    previous_token: Option<Secret>,
    bucket: Option<FileBucket>,
    /// Missing in what an older wxgate wrote.
    unknown_paths: Option<FileBucket>,
    #[serde(default)]
    forced_ms: Vec<u64>,
    #[serde(default)]
    forced_by_unknown_paths_ms: Vec<u64>,
    #[serde(default)]
    blame: Vec<FileBlame>,
    day: i64,
    fetches: u32,
}

#[derive(Deserialize)]
struct ReadToken {
    #[serde(deserialize_with = "secret")]
    access_token: Secret,
    issued_at_ms: u64,
    expires_at_ms: u64,
    expires_in_ms: u64,
    /// Missing in what an older wxgate wrote.
    began_ms: Option<u64>,
}

/// At once, so that it is wiped even if what follows it in the file is damaged.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(Secret::new)
}

fn secret_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}

#[derive(Serialize, Deserialize)]
struct FileBucket {
    level: u32,
    next_in_ms: u64,
    at_ms: u64,
}

impl From<StoredBucket> for FileBucket {
    fn from(bucket: StoredBucket) -> Self {
        Self { level: bucket.level, next_in_ms: millis(bucket.next_in), at_ms: to_ms(bucket.at) }
    }
}

impl From<FileBucket> for StoredBucket {
    fn from(bucket: FileBucket) -> Self {
        let next_in = Duration::from_millis(bucket.next_in_ms);
        Self { level: bucket.level, next_in, at: from_ms(bucket.at_ms) }
    }
}

/// A text that is unusable here.
#[derive(Debug)]
pub struct Unusable {
    /// What it is, in one word or two that may end a file name.
    pub kind: &'static str,
    /// In words.
    pub why: String,
}

impl Unusable {
    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Self { kind: DAMAGED, why: why.into() }
    }
}

/// A text that is usable.
#[derive(Debug)]
pub struct Parsed {
    pub state: StoredState,
    /// Why its credential is left out, if it is.
    pub credential_ignored: Option<String>,
}

/// The text, wiped after use.
pub fn render(state: &StoredState, key: &StoreKey) -> Zeroizing<Vec<u8>> {
    let unknown = state.limits.forced.iter().filter(|forced| forced.unknown_path);
    let written = Written {
        version: VERSION,
        appid: &key.appid,
        upstream: &key.upstream,
        token_api: key.issued_by,
        generation: state.generation,
        token: state.credential.as_ref().map(|token| WrittenToken {
            access_token: token.value.expose(),
            issued_at_ms: to_ms(token.issued_at),
            expires_at_ms: to_ms(token.expires_at),
            expires_in_ms: millis(token.expires_in),
            began_ms: to_ms(token.began_at),
        }),
        previous_token: state.previous.as_ref().map(Secret::expose),
        bucket: state.limits.bucket.map(FileBucket::from),
        unknown_paths: state.limits.unknown_paths.map(FileBucket::from),
        // An older wxgate reads this list alone, so it has all of them.
        forced_ms: state.limits.forced.iter().map(|forced| to_ms(forced.at)).collect(),
        forced_by_unknown_paths_ms: unknown.map(|forced| to_ms(forced.at)).collect(),
        blame: state.limits.blame.iter().map(FileBlame::from).collect(),
        day: state.day,
        fetches: state.fetches,
    };
    // Room for two tokens of control characters, six bytes each: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * 6 * LONGEST_VALUE + 4096));
    // Writing plain numbers and strings to memory cannot fail; an empty file would be quarantined as damaged.
    let _ = serde_json::to_writer(&mut *text, &written);
    text.push(b'\n');
    text
}

/// Reads a text.
///
/// # Errors
/// Why it is damaged, or whose it is instead.
pub fn parse(text: &[u8], key: &StoreKey) -> Result<Parsed, Unusable> {
    if text.len() > LONGEST {
        return Err(Unusable::damaged("it is far too long"));
    }
    // serde_json's own message may quote the text, so it is not shown.
    let read: Read = serde_json::from_slice(text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Unusable::damaged(format!("it is damaged (line {line}, column {column}: not what wxgate writes)"))
    })?;
    if read.version != VERSION {
        let why = format!("it is of format version {}, this wxgate reads version {VERSION}", read.version);
        return Err(Unusable { kind: OTHER_VERSION, why });
    }
    if read.appid != key.appid {
        return Err(Unusable { kind: OTHER_APPID, why: "it belongs to another appid".to_owned() });
    }
    if read.upstream != key.upstream {
        let why = format!("its token and its counts are of another upstream, not of {}", key.upstream);
        return Err(Unusable { kind: OTHER_UPSTREAM, why });
    }
    let token = read.token.map(|token| StoredCredential {
        value: token.access_token,
        issued_at: from_ms(token.issued_at_ms),
        expires_at: from_ms(token.expires_at_ms),
        expires_in: Duration::from_millis(token.expires_in_ms),
        began_at: from_ms(token.began_ms.unwrap_or(token.issued_at_ms)),
    });
    if token.as_ref().is_some_and(|t| t.value.is_empty() || t.value.expose().len() > LONGEST_VALUE) {
        return Err(Unusable::damaged("its token is empty or longer than 2048 bytes"));
    }
    // More than were ever allowed in a day say nothing more.
    let unknown = read.forced_by_unknown_paths_ms;
    let forced = read.forced_ms.into_iter().take(64);
    let forced =
        forced.map(|ms| StoredForced { at: from_ms(ms), unknown_path: unknown.contains(&ms) }).collect();
    let other_api = read.token_api != key.issued_by;
    let state = StoredState {
        generation: read.generation,
        // The two calls issue independent tokens; the counters still hold.
        credential: token.filter(|_| !other_api),
        previous: read.previous_token.filter(|v| !v.is_empty() && v.expose().len() <= LONGEST_VALUE),
        limits: StoredLimits {
            bucket: read.bucket.map(StoredBucket::from),
            unknown_paths: read.unknown_paths.map(StoredBucket::from),
            forced,
            blame: read.blame.into_iter().take(64).map(StoredBlame::from).collect(),
        },
        day: read.day,
        fetches: read.fetches,
    };
    let credential_ignored =
        other_api.then(|| format!("it was issued by another call than token_api = \"{}\"", key.issued_by));
    Ok(Parsed { state, credential_ignored })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn to_ms(at: SystemTime) -> u64 {
    millis(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A time beyond what the clock can hold is as good as the year 2500: the checks against now deal with it.
fn from_ms(ms: u64) -> SystemTime {
    const YEAR_2500: u64 = 16_725_225_600_000;
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(YEAR_2500))
}
