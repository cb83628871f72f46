//! Where log lines go and what they look like: stderr, text for people or JSON for machines.
//!
//! Lines are written by a thread of their own, so that a slow terminal or a full pipe never holds a request;
//! when that thread cannot keep up, lines are dropped rather than requests. Only wxgate's own events are
//! written: HTTP and TLS crates log URLs, and a URL holds the token.

mod access;
mod line;
mod sink;

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use self::line::Format;
use self::sink::{Sink, SinkGuard};
pub use crate::stats::path_only;
pub use access::log_request;

/// Log lines that were lost since the process was started: stderr was too slow for them, or gone.
pub fn lost_lines() -> u64 {
    sink::lost_lines()
}

/// The environment variable that chooses the level: error, warn, info (the default), debug or trace.
pub const LEVEL_VARIABLE: &str = "WXGATE_LOG";

/// The most bytes of lines that wait for a slow reader.
const ROOM: usize = 16 << 20;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when stderr is a terminal, JSON otherwise.
    Auto,
    /// Always text.
    Text,
    /// Always one JSON object per line.
    Json,
}

/// Keeps the log alive; what is still unwritten is written when it is dropped.
#[derive(Debug)]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop")] SinkGuard);

/// Starts logging to stderr. A second call in one process changes nothing.
pub fn start(format: LogFormat) -> LogGuard {
    let asked = std::env::var_os(LEVEL_VARIABLE);
    let level = level(asked.as_deref());
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let guard = start_with(std::io::stderr(), json, terminal, level.unwrap_or(Level::INFO));
    if level.is_none() {
        // The value is not shown: who knows what was meant to go elsewhere.
        tracing::warn!("{LEVEL_VARIABLE} is none of error, warn, info, debug and trace; info is used");
    }
    guard
}

/// The level that the variable asks for; unset or empty is the default, `None` something else.
fn level(asked: Option<&OsStr>) -> Option<Level> {
    let asked = asked.unwrap_or_default().to_str()?.trim().to_ascii_lowercase();
    match asked.as_str() {
        "" | "info" => Some(Level::INFO),
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

/// Starts logging to any writer; for tests that read what was logged.
pub fn start_with(writer: impl Write + Send + 'static, json: bool, color: bool, level: Level) -> LogGuard {
    let say = |lines| {
        tracing::warn!(
            lines,
            "lines were lost before this one: the log was not read, or not kept, fast enough"
        )
    };
    let (sink, guard) =
        Sink::start(writer, ROOM, say).expect("a process that gets no thread cannot serve either");
    let format = if json { Format::Json } else { Format::Text { color } };
    // A test binary starts the log once for all its tests; later calls find it running.
    let _ = tracing::subscriber::set_global_default(Log { level, format, sink });
    LogGuard(guard)
}

/// Makes lines of events.
struct Log {
    level: Level,
    format: Format,
    sink: Sink,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().strip_prefix("wxgate");
        metadata.is_event()
            && *metadata.level() <= self.level
            && own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn event(&self, event: &Event<'_>) {
        thread_local! {
            static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let mut line = LINE.take();
        self.format.write(&mut line, SystemTime::now(), event);
        self.sink.push(&line);
        line.clear();
        LINE.set(line);
    }

    // wxgate has no spans, and those of other crates are not enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_five_words() {
        for (asked, right) in [
            (None, Some(Level::INFO)),
            (Some(""), Some(Level::INFO)),
            (Some("warn"), Some(Level::WARN)),
            (Some(" DEBUG "), Some(Level::DEBUG)),
            (Some("trace"), Some(Level::TRACE)),
            (Some("error"), Some(Level::ERROR)),
            (Some("warning"), None),
            (Some("wxgate=debug"), None),
        ] {
            assert_eq!(level(asked.map(OsStr::new)), right, "{asked:?}");
        }
    }
}
