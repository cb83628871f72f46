//! The way of finished lines to the place where they are kept: gathered in memory, written by a thread of their
//! own. Knows nothing of what a line says.
//!
//! Whoever leaves a line never waits for the one who reads them: where more of them wait than there is room
//! for, further ones are counted instead, and the count is said as soon as there is room.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The pause between two writes: the first line after a quiet time is written at once, those that follow it
/// closely go together.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a line may wait for a reader that has stopped reading, once the process ends.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The pause after a full pipe that somebody has set to not waiting.
const FULL: Duration = Duration::from_millis(5);

/// What an emptied batch may keep of its memory for the next one.
const KEPT: usize = 1 << 20;

/// Takes lines from any thread.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

/// Ends the thread that writes, once it has written what there is.
#[derive(Debug)]
pub(super) struct SinkGuard {
    shared: Arc<Shared>,
    /// Ends with the thread.
    written: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// The most bytes that may wait.
    room: usize,
}

/// The lines that have not been written.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines for which there was no room, since the last count was taken.
    lost: usize,
    /// Whether the thread sleeps until there is a line.
    asleep: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that could panic runs under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes them, with the number of those that were lost behind them; `None` at the end.
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

    /// Lets lines gather, unless this is the end.
    fn pause(&self) {
        let go_on = |waiting: &mut Waiting| !waiting.ended;
        let _ = self.changed.wait_timeout_while(self.lock(), PAUSE, go_on);
    }
}

impl Sink {
    /// Starts the thread, which writes to `writer` and lets `say` say how many lines were lost.
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
                // Where nothing can be written, that would be lost as well, and be one more to say.
                if lost > 0 && failed == 0 {
                    say(std::mem::take(&mut lost));
                }
                source.pause();
                batch = lines;
            }
        })?;
        Ok((Self(Arc::clone(&shared)), SinkGuard { shared, written }))
    }

    /// Takes one line, whole.
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

/// Writes lines, and returns how many of them could not be written.
fn write_lines(writer: &mut impl Write, mut lines: &[u8]) -> usize {
    while !lines.is_empty() {
        match writer.write(lines) {
            Ok(0) => break,
            Ok(length) => lines = &lines[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL),
            Err(_) => break,
        }
    }
    memchr::memchr_iter(b'\n', lines).count()
}

impl Drop for SinkGuard {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        // Nothing is ever sent: this waits for the end of the thread.
        let _ = self.written.recv_timeout(LAST_WAIT);
    }
}
