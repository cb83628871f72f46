//! Where log lines go and what they look like: stderr, text for people or JSON for machines.
//!
//! Lines are written by a thread of their own, so that a slow terminal or a full pipe never holds a request;
//! when that thread cannot keep up, lines are dropped rather than requests. Only wxgate's own events are
//! written: HTTP and TLS crates log URLs, and a URL holds the token.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};

use tracing::Level;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::LogFormat;

/// The environment variable that chooses the level: error, warn, info (the default), debug or trace.
pub const LEVEL_VARIABLE: &str = "WXGATE_LOG";

/// Keeps the log alive; what is still unwritten is written when it is dropped.
#[derive(Debug)]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop")] WorkerGuard);

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
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(writer);
    let own_events = Targets::new().with_target("wxgate", level);
    let registry = tracing_subscriber::registry();
    // A test binary starts the log once for all its tests; later calls find it running.
    let _ = registry.with(lines(writer, json, color).with_filter(own_events)).try_init();
    LogGuard(guard)
}

/// The part of a path that may stand in a log line: up to its first `=`.
///
/// A caller that forgets the `?`, or encodes it, makes its token or secret a part of the path.
pub fn path_only(path: &str) -> &str {
    let plain = path.find('=').map(|at| at + "=".len());
    let encoded = ["%3D", "%3d"].into_iter().filter_map(|sign| path.find(sign)).map(|at| at + "%3D".len());
    &path[..plain.into_iter().chain(encoded).min().unwrap_or(path.len())]
}

fn lines<S>(writer: NonBlocking, json: bool, color: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    if json {
        fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer).boxed()
    } else {
        fmt::layer().with_ansi(color).with_writer(writer).boxed()
    }
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

    #[test]
    fn a_query_that_slipped_into_the_path_is_cut_before_its_first_value() {
        for (path, shown) in [
            ("/cgi-bin/user/get", "/cgi-bin/user/get"),
            ("/cgi-bin/user/get&access_token=x", "/cgi-bin/user/get&access_token="),
            ("/cgi-bin/user/get%3Faccess_token%3Dx&a=b", "/cgi-bin/user/get%3Faccess_token%3D"),
            ("/cgi-bin/user/get%3faccess_token=x%3D", "/cgi-bin/user/get%3faccess_token="),
            ("/a%3dx%3Dy", "/a%3d"),
            ("", ""),
        ] {
            assert_eq!(path_only(path), shown);
        }
    }
}
