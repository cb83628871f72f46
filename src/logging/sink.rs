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
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use super::*;

    /// Far more than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A place for lines that does with each write what it is told to, and takes the rest as it comes.
    #[derive(Clone, Default)]
    struct Place(Arc<Mutex<Kept>>);

    #[derive(Default)]
    struct Kept {
        failures: VecDeque<ErrorKind>,
        writes: Vec<Vec<u8>>,
    }

    impl Place {
        fn failing(errors: impl IntoIterator<Item = ErrorKind>) -> Self {
            Self(Arc::new(Mutex::new(Kept { failures: errors.into_iter().collect(), writes: Vec::new() })))
        }

        fn writes(&self) -> Vec<Vec<u8>> {
            self.0.lock().unwrap().writes.clone()
        }

        fn text(&self) -> String {
            String::from_utf8(self.writes().concat()).unwrap()
        }
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut kept = self.0.lock().unwrap();
            match kept.failures.pop_front() {
                Some(error) => Err(error.into()),
                None => {
                    kept.writes.push(bytes.to_vec());
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Hands over each write, and ends it when it is told to.
    struct Reader(mpsc::Sender<Vec<u8>>, Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            // The sender is gone: from now on it reads all.
            let _ = self.1.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink that reports losses to itself, as the log does.
    fn sink(writer: impl Write + Send + 'static, room: usize) -> (Sink, SinkGuard) {
        let own = Arc::new(Mutex::new(None::<Sink>));
        let itself = Arc::clone(&own);
        let say =
            move |lost| itself.lock().unwrap().as_ref().unwrap().push(format!("lost {lost}\n").as_bytes());
        let (sink, guard) = Sink::start(writer, room, say).unwrap();
        *own.lock().unwrap() = Some(sink.clone());
        (sink, guard)
    }

    #[test]
    fn at_the_end_every_line_has_been_written_once_whole_and_in_its_threads_order() {
        const LINES: usize = 2_000;
        let place = Place::default();
        let (sink, guard) = sink(place.clone(), 1 << 20);
        thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let sink = &sink;
                scope.spawn(move || {
                    for number in 0..LINES {
                        sink.push(format!("{name} {number} {}\n", "x".repeat(number % 50)).as_bytes());
                    }
                });
            }
        });
        drop(guard);
        let text = place.text();
        for name in ["a", "b", "c"] {
            let mut numbers = text.lines().filter_map(|line| line.strip_prefix(name));
            for number in 0..LINES {
                let right = format!(" {number} {}", "x".repeat(number % 50));
                assert_eq!(numbers.next(), Some(right.as_str()), "{name}");
            }
            assert_eq!(numbers.next(), None, "{name}");
        }
        let writes = place.writes();
        assert!(writes.iter().all(|write| write.ends_with(b"\n")));
        assert!(writes.len() < 3 * LINES / 10, "{} writes", writes.len());
    }

    #[test]
    fn a_line_after_a_quiet_time_waits_for_no_other() {
        let (written, writes) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let (sink, _guard) = sink(Reader(written, told), 1 << 20);
        drop(go_on);
        for line in ["one\n", "two\n"] {
            sink.push(line.as_bytes());
            assert_eq!(writes.recv_timeout(PATIENCE).unwrap(), line.as_bytes());
        }
    }

    #[test]
    fn a_reader_that_stopped_holds_nobody_up_and_what_it_missed_is_said() {
        let (written, writes) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let (sink, guard) = sink(Reader(written, told), 35);
        sink.push(b"stuck\n");
        assert_eq!(writes.recv_timeout(PATIENCE).unwrap(), b"stuck\n");
        // Eleven bytes each: three find room.
        for number in 0..8 {
            sink.push(format!("the line {number}\n").as_bytes());
        }
        drop(go_on);
        let begun = Instant::now();
        while sink.0.lock().lost > 0 || !sink.0.lock().asleep {
            assert!(begun.elapsed() < PATIENCE);
            thread::yield_now();
        }
        sink.push(b"after\n");
        drop(guard);
        let text: Vec<u8> = writes.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "the line 0\nthe line 1\nthe line 2\nlost 5\nafter\n");
    }

    #[test]
    fn a_reader_that_never_comes_back_does_not_hold_the_end_up() {
        let (written, writes) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let (sink, guard) = sink(Reader(written, told), 30);
        sink.push(b"stuck\n");
        writes.recv_timeout(PATIENCE).unwrap();
        let begun = Instant::now();
        drop(guard);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        drop(go_on);
    }

    #[test]
    fn lines_that_could_not_be_written_are_said_once_one_can_be() {
        let place = Place::failing([ErrorKind::StorageFull, ErrorKind::BrokenPipe]);
        let (sink, guard) = sink(place.clone(), 1 << 20);
        for line in ["a\n", "b\n", "c\n"] {
            sink.push(line.as_bytes());
            let begun = Instant::now();
            while !sink.0.lock().asleep {
                assert!(begun.elapsed() < PATIENCE);
                thread::yield_now();
            }
        }
        drop(guard);
        assert_eq!(place.text(), "c\nlost 2\n");
    }

    #[test]
    fn a_full_pipe_that_does_not_wait_is_tried_again() {
        let place = Place::failing([ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::WouldBlock]);
        let (sink, guard) = sink(place.clone(), 1 << 20);
        sink.push(b"a\n");
        drop(guard);
        assert_eq!(place.text(), "a\n");
    }

    #[test]
    fn whole_lines_are_written_at_once_as_long_as_they_stay_together() {
        let (short, long) = ("x".repeat(99) + "\n", "y".repeat(9_999) + "\n");
        for (lines, first) in [
            (short.clone(), 100),
            (short.repeat(40), 4_000),
            (short.repeat(41), 4_000),
            (short.clone() + &long, 100),
            (long.clone() + &short, 10_000),
            (long, 10_000),
        ] {
            assert_eq!(at_once(lines.as_bytes()).len(), first);
        }
    }
}
