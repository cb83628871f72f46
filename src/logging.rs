//! Where log lines go and what they look like: stderr, text for people or JSON for machines.
//!
//! Lines are written by a thread of their own, so that a slow terminal or a full pipe never holds a request;
//! when that thread cannot keep up, lines are dropped rather than requests. Only wxgate's own events are
//! written: HTTP and TLS crates log URLs, and a URL holds the token.

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
    let level = std::env::var(LEVEL_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(Level::INFO);
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    start_with(std::io::stderr(), json, terminal, level)
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
    use super::path_only;

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
