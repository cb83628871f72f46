//! The thread that writes, with slow, broken and blocked outputs.

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
    let say = move |lost| itself.lock().unwrap().as_ref().unwrap().push(format!("lost {lost}\n").as_bytes());
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
