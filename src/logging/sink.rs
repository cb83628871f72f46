//! Buffers finished log lines and writes them on a thread of its own. Knows nothing of what a line says.
//!
//! A thread that logs never waits for whoever reads the log: when the buffer is full, further lines are dropped and
//! counted, and the count is logged as soon as there is room again.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The pause between two writes: the first line after an idle time is written at once, those that follow closely are
/// written together.
const PAUSE: Duration = Duration::from_millis(50);

/// At the end of the process, how long the last lines wait for a reader that has stopped reading.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The pause before a non-blocking pipe that is full is tried again.
const FULL: Duration = Duration::from_millis(5);

/// What Linux writes to a pipe atomically, also when other processes write to it (`PIPE_BUF`).
const UNMIXED: usize = 4096;

/// The capacity that a buffer keeps for reuse once it has been written.
const KEPT: usize = 1 << 20;

/// Lines that were lost since the process was started.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Log lines that were lost since the process was started: stderr was too slow for them, or gone.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The side that logs; any thread may use it.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

/// Ends the writing thread when dropped, once the buffer is written.
#[derive(Debug)]
pub(super) struct SinkGuard {
    shared: Arc<Shared>,
    /// Disconnects when the thread ends. The lock is uncontended: it makes the guard `Sync`, to be kept in a static.
    written: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// The buffer's size in bytes.
    room: usize,
}

/// The lines that have not been written.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines that were dropped since the last batch was taken.
    lost: usize,
    /// Whether the writing thread sleeps until there is a line.
    asleep: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that could panic runs under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes them, with the number of lines that were dropped after them; `None` at the end.
    fn next(&self, mut emptied: Vec<u8>) -> Option<(Vec<u8>, usize)> {
        emptied.clear();
        emptied.shrink_to(KEPT);
        let mut waiting = self.lock();
        while waiting.lines.is_empty() && waiting.lost == 0 {
            if waiting.ended {
                return None;
            }
            waiting.asleep = true;
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        Some((std::mem::replace(&mut waiting.lines, emptied), std::mem::take(&mut waiting.lost)))
    }

    /// Lets lines accumulate, unless this is the end.
    fn pause(&self) {
        let go_on = |waiting: &mut Waiting| !waiting.ended;
        let _ = self.changed.wait_timeout_while(self.lock(), PAUSE, go_on);
    }
}

impl Sink {
    /// Starts the thread, which writes to `writer` and has `say` log how many lines were dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        mut writer: impl Write + Send + 'static,
        room: usize,
        say: impl Fn(usize) + Send + 'static,
    ) -> io::Result<(Self, SinkGuard)> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), room });
        let (end, written) = mpsc::channel();
        let source = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _end = end;
            let mut batch = Vec::new();
            let mut lost = 0;
            while let Some((lines, no_room)) = source.next(batch) {
                let failed = write_lines(&mut writer, &lines);
                lost += no_room + failed;
                LOST.fetch_add((no_room + failed) as u64, Ordering::Relaxed);
                // While writes fail, that line would be lost as well, and be one more to report.
                if lost > 0 && failed == 0 {
                    say(std::mem::take(&mut lost));
                }
                source.pause();
                batch = lines;
            }
        })?;
        Ok((Self(Arc::clone(&shared)), SinkGuard { shared, written: Mutex::new(written) }))
    }

    /// Buffers one whole line, or drops it when the buffer is full.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > self.0.room {
            waiting.lost += 1;
        } else {
            waiting.lines.extend_from_slice(line);
        }
        if std::mem::take(&mut waiting.asleep) {
            drop(waiting);
            self.0.changed.notify_one();
        }
    }
}

/// Writes lines; returns how many could not be written.
fn write_lines(writer: &mut impl Write, mut lines: &[u8]) -> usize {
    while !lines.is_empty() {
        match writer.write(at_once(lines)) {
            Ok(0) => break,
            Ok(length) => lines = &lines[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(_) => break,
        }
    }
    memchr::memchr_iter(b'\n', lines).count()
}

/// What one write takes: as many whole lines as the kernel does not interleave with those of other processes.
fn at_once(lines: &[u8]) -> &[u8] {
    if lines.len() <= UNMIXED {
        return lines;
    }
    let end = memchr::memrchr(b'\n', &lines[..UNMIXED]).or_else(|| memchr::memchr(b'\n', lines));
    &lines[..end.map_or(lines.len(), |end| end + 1)]
}

impl Drop for SinkGuard {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        // Nothing is ever sent: this waits for the end of the thread.
        let written = self.written.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = written.recv_timeout(LAST_WAIT);
    }
}

#[cfg(test)]
mod tests;
