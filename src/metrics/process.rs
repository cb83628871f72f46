//! The usual `process_*` figures, from `/proc`; nothing on a system without it.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the system says of this process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many there may be; `None` without a limit.
    pub max_fds: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// When it was started, in seconds since 1970.
    pub start_time: f64,
    /// Threads.
    pub threads: u64,
}

/// Asks the system.
pub fn process() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut process = parse(&stat, booted()?, clock_ticks_per_second() as f64, page_size() as u64)?;
    process.open_fds = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    process.max_fds = getrlimit(Resource::Nofile).current;
    Some(process)
}

/// When the machine was started, in seconds since 1970: the same at each call, so that the process' own start is, too.
/// Not the `btime` of `/proc/stat`, which a service of systemd with `ProcSubset=pid` does not see.
fn booted() -> Option<f64> {
    static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let up = clock_gettime(ClockId::Boottime);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(now.as_secs_f64() - (up.tv_sec as f64 + up.tv_nsec as f64 / 1e9))
    })
}

/// `/proc/self/stat` (proc_pid_stat(5)), on a machine that was started at `booted`.
fn parse(stat: &str, booted: f64, ticks: f64, page: u64) -> Option<Process> {
    // The second field is the program's name in brackets, which may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first one here is the third of the manual.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * page,
        start_time: booted + number(22)? as f64 / ticks,
        threads: number(20)?,
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_hides_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 1000 8192 3 18446744073709551615 1";
        let process = parse(stat, 1_700_000_000.0, 100.0, 4096).unwrap();
        assert_eq!(process.cpu_seconds, 2.0);
        assert_eq!(process.start_time, 1_700_000_010.0);
        assert_eq!((process.virtual_bytes, process.resident_bytes, process.threads), (8192, 12288, 5));
        assert_eq!(parse("nonsense", 0.0, 100.0, 1), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_files_memory_and_a_beginning() {
        let process = process().unwrap();
        assert!(process.open_fds > 2 && process.resident_bytes > 1 << 20, "{process:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.start_time > now - 86_400.0 && process.start_time <= now + 1.0, "{process:?}");
    }
}
