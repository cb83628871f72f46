//! Where log lines go and what they look like: stderr, text for people or JSON for machines. docs/en/logging.md has the keys.
//!
//! Lines are written by a thread of their own, so that a slow terminal or a full pipe never holds a request;
//! when that thread cannot keep up, lines are dropped rather than requests. Only wxgate's own events are
//! written: HTTP and TLS crates log URLs, and a URL holds the token.

mod access;
mod keys;
mod level;
mod line;
mod repeats;
mod sink;

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::time::{Instant, SystemTime};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use self::line::Format;
use self::repeats::{MOST, Repeats, Verdict};
use self::sink::{Sink, SinkGuard};
pub use crate::stats::path_only;
pub use access::log_request;
pub use level::{raise, reset};
pub use sink::lost_lines;

/// The environment variable that chooses the level: error, warn, info (the default), debug or trace.
pub const LEVEL_VARIABLE: &str = "WXGATE_LOG";

/// The target of the lines that say where wxgate listens. They are written at every level: who starts wxgate with port 0, or
/// waits until it is there, reads them.
pub const LISTENING: &str = "wxgate::listening";

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
    /// The same in the names of the Elastic Common Schema.
    Ecs,
}

/// Keeps the log alive; what is still unwritten is written when it is dropped.
#[derive(Debug)]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop")] SinkGuard);

/// Starts logging to stderr. A second call in one process changes nothing.
pub fn start(format: LogFormat) -> LogGuard {
    let asked = std::env::var_os(LEVEL_VARIABLE);
    let level = level(asked.as_deref());
    let terminal = std::io::stderr().is_terminal();
    let text = Format::Text { color: terminal };
    let format = match format {
        LogFormat::Auto if terminal => text,
        LogFormat::Text => text,
        LogFormat::Auto | LogFormat::Json => Format::Json,
        LogFormat::Ecs => Format::Ecs,
    };
    let guard = begin(std::io::stderr(), format, level.unwrap_or(Level::INFO), Some(Repeats::default()));
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

/// Starts to log everything to any writer, as JSON and without a limit on repeated warnings: for tests that read what was
/// logged.
pub fn start_to(writer: impl Write + Send + 'static) -> LogGuard {
    begin(writer, Format::Json, Level::TRACE, None)
}

fn begin(
    writer: impl Write + Send + 'static,
    format: Format,
    level: Level,
    repeats: Option<Repeats>,
) -> LogGuard {
    let say = |lines| {
        tracing::warn!(
            lines,
            "lines were lost before this one: the log was not read, or not kept, fast enough"
        )
    };
    let (sink, guard) =
        Sink::start(writer, ROOM, say).expect("a process that gets no thread cannot serve either");
    level::begin(level);
    // A test binary starts the log once for all its tests; later calls find it running.
    let _ = tracing::subscriber::set_global_default(Log { format, sink, repeats });
    LogGuard(guard)
}

/// Makes lines of events.
struct Log {
    format: Format,
    sink: Sink,
    repeats: Option<Repeats>,
}

impl Log {
    /// Whether an event is one too many of its kind; the first that is gets a line in its place.
    fn leaves_out(&self, event: &Event<'_>) -> bool {
        let (Some(repeats), true) = (&self.repeats, *event.metadata().level() <= Level::WARN) else {
            return false;
        };
        match repeats.count(event.metadata(), Instant::now()) {
            Verdict::Log { left_out: 0 } => false,
            Verdict::Log { left_out } => {
                tracing::warn!(lines = left_out, "lines like the next one were left out in the last minute");
                false
            }
            Verdict::First => {
                tracing::warn!(
                    "a line was repeated more than {MOST} times within a minute; further ones like it are left out until \
                     the minute is over: {}",
                    event.metadata().target()
                );
                true
            }
            Verdict::LeftOut => true,
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().strip_prefix("wxgate");
        metadata.is_event()
            && (*metadata.level() <= level::current() || metadata.target() == LISTENING)
            && own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Those of `LISTENING` have to come through; each other event keeps whether it is wanted.
        Some(LevelFilter::from_level(level::current().max(Level::INFO)))
    }

    fn event(&self, event: &Event<'_>) {
        if self.leaves_out(event) {
            return;
        }
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
