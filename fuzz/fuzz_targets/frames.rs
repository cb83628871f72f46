//! HTTP/2 frames on their way to h2: no byte is lost, added or changed but for the mark of a fragment; how the bytes are
//! cut makes no difference; and the mark stands behind those heads whose `:path` has a `#`, and no others.
//!
//! The oracle takes the bytes apart as a whole, and reads header blocks with a reader of their
//! own. The first two bytes say how the bytes are cut, and whether the rest are bytes as they come (0) or frames:
//! kind, flags, stream, length, and so much of what follows; a length above 250 stands for that many times more.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/listener/http2/fragment.rs"]
mod fragment;
#[path = "../../src/listener/http2/frames.rs"]
mod frames;
#[path = "../hpack.rs"]
mod hpack;

use frames::{FRAGMENT_FIELD, Frames, Passed};
use hpack::Hpack;

const PREFACE: usize = 24;
const HEAD: usize = 9;
const LARGEST: usize = 16384;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The bytes of a connection.
fn connection(input: &[u8]) -> Vec<u8> {
    let (choice, mut rest) = input.split_first().unwrap_or((&0, &[]));
    let mut bytes = vec![b'p'; PREFACE];
    if *choice == 0 {
        bytes.extend_from_slice(rest);
        return bytes;
    }
    while let [kind, flags, stream, length, more @ ..] = rest {
        let payload;
        (payload, rest) = more.split_at(usize::from(*length).min(more.len()));
        let times = if *length > 250 { usize::from(*length) } else { 1 };
        let size = (payload.len() * times).to_be_bytes();
        bytes.extend_from_slice(&[size[5], size[6], size[7], kind % 11, *flags, 0, 0, 0, *stream]);
        bytes.extend_from_slice(&payload.repeat(times));
    }
    bytes
}

/// What came of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    /// The frames that were put in, each with how many of the caller's bytes stand before it.
    marks: Vec<(usize, Vec<u8>)>,
    /// How many of the caller's bytes have passed.
    passed: usize,
    counts: (u32, u32),
    /// Whether a head has not come to its end; and whether anything has.
    ends: (bool, bool),
}

fn follow(bytes: &[u8], heads: &[Frame], step: usize) -> Followed {
    let mut frames = Frames::new();
    let (mut waiting, mut marks, mut passed) = (Vec::new(), Vec::new(), 0);
    for piece in bytes.chunks(step) {
        waiting.extend_from_slice(piece);
        loop {
            let Passed { length, then } = frames.follow(&mut waiting);
            let mut done: Vec<u8> = waiting.drain(..length).collect();
            let right = &bytes[passed..passed + length];
            passed += length;
            let Some(then) = then else {
                assert_eq!(done, right, "bytes were changed");
                break;
            };
            // The block goes on in the mark, so it does not end in the frame before.
            let frame = heads.iter().find(|frame| frame.end == passed).expect("a whole frame");
            let flags = done.len() - frame.size + 4;
            assert_eq!(done[flags] & END_HEADERS, 0);
            done[flags] |= END_HEADERS;
            assert_eq!(done, right, "bytes were changed");
            marks.push((passed, then));
        }
    }
    assert!(waiting.len() <= HEAD + LARGEST, "{} bytes wait", waiting.len());
    let ends = (frames.awaits_head(), frames.take_between());
    Followed { marks, passed, counts: frames.take_counts(), ends }
}

/// A frame that has begun.
struct Frame {
    /// Where it ends.
    end: usize,
    /// How long it is, with its head.
    size: usize,
    head: [u8; HEAD],
}

impl Frame {
    /// Whether it is a part of a block of fields that h2 would take.
    fn is_of_block(&self) -> bool {
        matches!(self.head[3], HEADERS | CONTINUATION) && self.size <= HEAD + LARGEST
    }
}

fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let (mut end, mut all) = (PREFACE, Vec::new());
    while let Some(head) = bytes.get(end..end + HEAD) {
        let size = HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        end += size;
        all.push(Frame { end, size, head: head.try_into().expect("nine bytes") });
    }
    all
}

/// The frames of the caller's that are to be marked, by where they end, as far as h2 would read them; and where it stops.
fn slowly(bytes: &[u8], frames: &[Frame]) -> (Vec<usize>, usize) {
    let mut reader = Hpack::default();
    let mut marked = Vec::new();
    let mut block: Option<Vec<u8>> = None;
    for frame in frames.iter().filter(|frame| frame.end <= bytes.len()) {
        let (begin, kind, flags) = (frame.end - frame.size, frame.head[3], frame.head[4]);
        let mut payload = &bytes[begin + HEAD..frame.end];
        match (kind, &block) {
            // h2 takes no other frame within a block, and no larger ones.
            (HEADERS, None) | (CONTINUATION, Some(_)) if frame.is_of_block() => {}
            (HEADERS | CONTINUATION, _) | (_, Some(_)) => return (marked, begin),
            _ => continue,
        }
        if kind == HEADERS {
            let padding =
                if flags & 8 == 0 { 0 } else { payload.first().copied().map_or(usize::MAX, usize::from) };
            let front = usize::from(flags & 8 != 0) + if flags & 0x20 == 0 { 0 } else { 5 };
            let Some(length) = payload.len().checked_sub(front).and_then(|left| left.checked_sub(padding))
            else {
                return (marked, begin);
            };
            payload = &payload[front..front + length];
        }
        let whole = block.get_or_insert_default();
        whole.extend_from_slice(payload);
        if flags & END_HEADERS != 0 {
            let Some(found) = reader.has_fragment(whole) else { return (marked, begin) };
            if found {
                marked.push(frame.end);
            }
            block = None;
        }
    }
    (marked, usize::MAX)
}

fuzz_target!(|input: &[u8]| {
    let Some((step, input)) = input.split_first() else { return };
    let bytes = connection(input);
    let frames = frames_of(&bytes);
    let followed = follow(&bytes, &frames, usize::MAX);
    // So that it stays quick with large frames.
    let step = usize::from(*step).max(1 + bytes.len() / 1024);
    assert_eq!(follow(&bytes, &frames, step), followed, "it depends on the cut");

    for (end, mark) in &followed.marks {
        let frame = frames.iter().find(|frame| frame.end == *end).expect("a whole frame");
        let name = FRAGMENT_FIELD.as_bytes();
        let field = [&[0, name.len() as u8], name, &[0]].concat();
        let right =
            [&[0, 0, field.len() as u8, CONTINUATION, END_HEADERS], &frame.head[5..], &field].concat();
        assert_eq!(*mark, right);
    }
    let (marked, stop) = slowly(&bytes, &frames);
    let found: Vec<_> = followed.marks.iter().map(|(end, _)| *end).filter(|end| *end <= stop).collect();
    assert_eq!(found, marked, "{}", input.escape_ascii());

    // Only a head waits for its end, and what is in heads and what asks for nothing is counted.
    let is_here = |frame: &&Frame| frame.end <= bytes.len() || !frame.is_of_block();
    let here = frames.iter().filter(is_here);
    let right = here.clone().last().map_or(PREFACE.min(bytes.len()), |frame| frame.end.min(bytes.len()));
    assert_eq!(followed.passed, right);
    let requests = here.clone().filter(|frame| frame.head[3] == HEADERS && frame.is_of_block()).count();
    let small = |frame: &&Frame| frame.size < HEAD + 64 && frame.head[4] & 1 == 0;
    let content = here.clone().filter(|frame| frame.head[3] == DATA && !small(frame)).count();
    let idle = here.count() - requests - content;
    assert_eq!(followed.counts, (requests as u32, idle as u32));
});
