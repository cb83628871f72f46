//! The scripts that the store runs: each is whole or not at all. Every key is in KEYS, and they share one hash slot;
//! nothing is loaded before, and nothing is published from inside: not every offer of Redis can do that.

use redis::{Cmd, RedisError, Value, from_redis_value};

/// KEYS: state, lock. ARGV: the state as it is known here, the owner, the lock's life in ms.
const ACQUIRE: &str = "\
local state = redis.call('GET', KEYS[1]) or ''
if state ~= ARGV[1] then return {'changed', state} end
local owner = redis.call('GET', KEYS[2])
if not owner or owner == ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  return {'granted', ''}
end
if string.sub(owner, 1, 12) ~= 'wxgate-lock ' or redis.call('PTTL', KEYS[2]) < 0 then
  return {'foreign', ''}
end
return {'held', ''}";

/// KEYS: lock. ARGV: the owner, the lock's life in ms.
const RENEW: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0";

/// KEYS: lock. ARGV: the owner.
const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// KEYS: state, lock. ARGV: the state as it is known here, the new one, its life in ms, the owner, whether to release.
const PUBLISH: &str = "\
local state = redis.call('GET', KEYS[1]) or ''
if state ~= ARGV[1] then return {'changed', state} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[5] == '1' and redis.pcall('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
return {'stored', ''}";

/// So long a lock lives that its holder does not renew, in ms.
pub(super) const LOCK_LIFE_MS: u64 = 2500;

/// What a script said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is done.
    Done,
    /// The state in the store is another than the one known here; empty where there is none.
    Changed(Vec<u8>),
    /// Another has the lock.
    Held,
    /// Under the lock's key stands what wxgate did not write.
    Foreign,
}

impl redis::FromRedisValue for Said {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let (word, state): (String, Vec<u8>) = from_redis_value(value)?;
        Ok(match word.as_str() {
            "changed" => Self::Changed(state),
            "held" => Self::Held,
            "foreign" => Self::Foreign,
            _ => Self::Done,
        })
    }
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(script).arg(keys.len());
    for key in keys {
        cmd.arg(*key);
    }
    cmd
}

pub(super) fn acquire(state: &str, lock: &str, known: &[u8], owner: &str) -> Cmd {
    let mut cmd = eval(ACQUIRE, &[state, lock]);
    cmd.arg(known).arg(owner).arg(LOCK_LIFE_MS);
    cmd
}

pub(super) fn renew(lock: &str, owner: &str) -> Cmd {
    let mut cmd = eval(RENEW, &[lock]);
    cmd.arg(owner).arg(LOCK_LIFE_MS);
    cmd
}

pub(super) fn release(lock: &str, owner: &str) -> Cmd {
    let mut cmd = eval(RELEASE, &[lock]);
    cmd.arg(owner);
    cmd
}

pub(super) struct Publication<'a> {
    pub(super) state: &'a str,
    pub(super) lock: &'a str,
    pub(super) known: &'a [u8],
    pub(super) new: &'a [u8],
    pub(super) life_ms: u64,
    pub(super) owner: &'a str,
    pub(super) release: bool,
}

pub(super) fn publish(it: &Publication<'_>) -> Cmd {
    let mut cmd = eval(PUBLISH, &[it.state, it.lock]);
    cmd.arg(it.known).arg(it.new).arg(it.life_ms).arg(it.owner).arg(u8::from(it.release));
    cmd
}

/// KEYS: what proves it. ARGV: its value.
const BEAT: &str = "\
local was = redis.pcall('GET', KEYS[1])
if type(was) == 'table' and not string.find(was.err, 'WRONGTYPE', 1, true) then return was end
if was and was ~= ARGV[1] then
  return redis.error_reply('FOREIGN `' .. KEYS[1] .. '` holds what wxgate did not write; remove it, or set another `store.key_prefix`')
end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)";

/// The value under [`alive`].
pub(super) const ALIVE: &str = "wxgate-alive";

/// The key that is written to prove that there can be written.
pub(super) fn alive(key_prefix: &str) -> String {
    format!("{key_prefix}alive")
}

/// Proves that scripts can write, and takes nobody's key.
pub(super) fn beat(key_prefix: &str) -> Cmd {
    let mut cmd = eval(BEAT, &[&alive(key_prefix)]);
    cmd.arg(ALIVE);
    cmd
}

/// What the scripts above call, each once: a user may have EVAL and lack one of these.
const PROBE: &str = r"
redis.call('SET', KEYS[1], ARGV[1], 'PX', 5000)
redis.call('PTTL', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 5000)
local value = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return value
";

/// For `wxgate check`: a script that calls whatever the others call.
pub(super) fn probe(key: &str) -> Cmd {
    let mut cmd = eval(PROBE, &[key]);
    cmd.arg("wxgate");
    cmd
}

/// Whether a command failed because its key holds another type.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.detail().is_some_and(|detail| detail.contains("WRONGTYPE"))
}

/// Whether a connection is of no more use: it is broken, or leads to a server that cannot serve.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    const WORDS: [&str; 8] =
        ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS", "CLUSTERDOWN", "NOREPLICAS", "MISCONF"];
    let said = |text: &str| WORDS.iter().any(|word| text.contains(word));
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || error.code().is_some_and(said)
        || error.detail().is_some_and(said)
}
