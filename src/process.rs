//! What wxgate asks of the system for its own process: no core dumps, and enough open files.
//!
//! Memory holds AppSecrets and tokens, and a core file would hold them too, on disk and for longer. None of this
//! is worth a refusal to start: what could not be had is a warning.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What a process holds open besides those connections: logs, listeners, epoll instances, token files; the connections
/// of the admin listener (`admin/server.rs`); and 640 callers who are being told that there are too many
/// (`listener/connections.rs`).
const BESIDES: u64 = 64 + 256 + 640;

/// What came of [`core_dumps_off`]; it runs before there is a log.
#[derive(Debug)]
#[must_use]
pub struct CoreDumps {
    failed: Vec<String>,
}

/// From here on the process leaves no core file, and nobody but root can attach to it or read its memory. To be
/// called before the first secret is read.
pub fn core_dumps_off() -> CoreDumps {
    let mut failed = Vec::new();
    // The limit alone does not keep the kernel from feeding a program such as systemd-coredump; the flag does.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        failed.push(format!("PR_SET_DUMPABLE: {error}"));
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        failed.push(format!("RLIMIT_CORE: {error}"));
    }
    CoreDumps { failed }
}

impl CoreDumps {
    /// Says in the log what came of it.
    pub fn say(&self) {
        for error in &self.failed {
            tracing::warn!(%error, "core dumps cannot be switched off; a crash may write secrets to a file");
        }
        if self.failed.is_empty() {
            tracing::debug!("core dumps are off");
        }
    }
}

/// Makes room for that many connections, of callers and to API hosts, where the limit of open files is too low for them: the soft
/// limit is raised as far as the hard one goes. A warning says when that is not far enough.
pub fn allow_open_files(connections: usize) {
    let (needed, now) = (files_needed(connections), getrlimit(Resource::Nofile));
    let Some(soft) = now.current.filter(|soft| *soft < needed) else { return };
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => now.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            soft
        }
    };
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "the hard limit of open files is too low for {connections} connections (limits.max_connections, and \
             upstream.max_connections for each API host); raise it (systemd: LimitNOFILE={needed}), or lower one of the \
             two"
        );
    } else {
        tracing::debug!(from = soft, to = limit, "the limit of open files has been raised");
    }
}

/// How many files a process with so many connections needs.
pub fn files_needed(connections: usize) -> u64 {
    u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDES)
}

/// How many files `wxgate serve` may have open here, once it has raised its soft limit; `None`: any number.
pub fn files_allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_needs_a_file() {
        assert_eq!(files_needed(10_000), 10_960);
        assert_eq!(files_needed(usize::MAX), u64::MAX);
    }
}
