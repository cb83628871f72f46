//! Follows the frames that a caller sends over HTTP/2, on their way to h2.
//!
//! Two things are seen here that h2 does not look for: frames in a flood that ask for nothing, and a fragment in a
//! `:path` ([`super::fragment`]). Pure: neither sockets nor clocks are known here.

use super::fragment::PathScan;

/// Length of the preface.
const PREFACE: usize = 24;

/// Length of a frame's head.
const HEAD: usize = 9;

/// The largest frame that h2 takes by our settings.
const LARGEST: usize = 16 << 10;

/// A DATA frame below this brings less than it costs.
const SMALL: usize = 64;

/// Most bytes of a header block in several frames; more of them is not for h2 either.
const LONGEST_BLOCK: usize = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The field that is put into a head whose `:path` has a fragment. A caller that sends it is refused as well.
pub(super) const FRAGMENT_FIELD: &str = "wxgate-fragment";

/// Where the next byte of a caller stands, and what its frames have been.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface, or of the present frame, that are still to come.
    left: usize,
    scan: PathScan,
    /// The header block so far, where it comes in several frames.
    block: Vec<u8>,
    /// The preface has come.
    greeted: bool,
    /// A header block has begun whose last frame has not come.
    open: bool,
    /// A frame has come to its end outside of a header block since the last look.
    between: bool,
    /// How many requests have begun.
    requests: u32,
    /// How many frames have come that ask for nothing.
    idle: u32,
}

/// What may be done with bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// So many, from the first, may go to h2; behind them a head has begun that is not whole.
    pub(super) length: usize,
    /// A frame that goes behind them.
    pub(super) then: Option<Vec<u8>>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            left: PREFACE,
            scan: PathScan::default(),
            block: Vec::new(),
            greeted: false,
            open: false,
            between: false,
            requests: 0,
            idle: 0,
        }
    }

    /// Whether the rest of a head, or of the preface, has to come before anything else can.
    pub(super) fn awaits_head(&self) -> bool {
        self.open || !self.greeted
    }

    /// Whether a head, or another frame, has come to its end since the last look.
    pub(super) fn take_between(&mut self) -> bool {
        std::mem::take(&mut self.between)
    }

    /// How many requests have begun since the last look, and how many frames have come that ask for nothing.
    pub(super) fn take_counts(&mut self) -> (u32, u32) {
        (std::mem::take(&mut self.requests), std::mem::take(&mut self.idle))
    }

    /// Looks at bytes that follow those that passed. Those that did not are to be shown again, with more.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) -> Passed {
        let mut at = 0;
        loop {
            let here = self.left.min(bytes.len() - at);
            at += here;
            self.left -= here;
            self.greeted |= self.left == 0;
            let Some(head) = bytes[at..].first_chunk::<HEAD>() else { break };
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            // h2 takes no larger ones, so nothing has to wait for their ends.
            if !matches!(kind, HEADERS | CONTINUATION) || length > LARGEST {
                self.idle += u32::from(kind != DATA || (length < SMALL && flags & END_STREAM == 0));
                self.left = HEAD + length;
                self.between = true;
                continue;
            }
            let Some(frame) = bytes.get_mut(at..at + HEAD + length) else { break };
            match kind {
                HEADERS => self.requests += 1,
                _ => self.idle += 1,
            }
            at += frame.len();
            self.open = frame[4] & END_HEADERS == 0;
            self.between |= !self.open;
            if self.take_headers(frame) {
                frame[4] &= !END_HEADERS;
                return Passed { length: at, then: Some(fragment_frame(frame)) };
            }
        }
        Passed { length: at, then: None }
    }

    /// Takes a whole frame of a header block; whether the block is at its end and has a fragment.
    fn take_headers(&mut self, frame: &[u8]) -> bool {
        let (flags, mut part) = (frame[4], &frame[HEAD..]);
        if frame[3] == HEADERS {
            // Where the padding is longer than the frame, h2 ends the connection.
            let Some(unpadded) = unpadded(flags, part) else { return false };
            part = unpadded;
        }
        if flags & END_HEADERS == 0 {
            if self.block.len() < LONGEST_BLOCK {
                self.block.extend_from_slice(part);
            }
            return false;
        }
        if self.block.is_empty() {
            return self.scan.has_fragment(part);
        }
        let mut block = std::mem::take(&mut self.block);
        block.extend_from_slice(part);
        self.scan.has_fragment(&block)
    }
}

/// The header block within a HEADERS frame.
fn unpadded(flags: u8, mut part: &[u8]) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (&length, rest) = part.split_first()?;
        (padding, part) = (usize::from(length), rest);
    }
    if flags & PRIORITY != 0 {
        part = part.get(5..)?;
    }
    part.get(..part.len().checked_sub(padding)?)
}

/// A frame that ends the header block of `frame` with [`FRAGMENT_FIELD`].
fn fragment_frame(frame: &[u8]) -> Vec<u8> {
    let name = FRAGMENT_FIELD.as_bytes();
    let field = [&[0, name.len() as u8], name, &[0]].concat();
    let head = [0, 0, field.len() as u8, CONTINUATION, END_HEADERS];
    [&head, &frame[5..HEAD], &field].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What goes to h2 when bytes come in pieces of this size, and what was counted.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, (u32, u32)) {
        let mut frames = Frames::new();
        let (mut out, mut waiting) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            waiting.extend_from_slice(piece);
            loop {
                let Passed { length, then } = frames.follow(&mut waiting);
                out.extend(waiting.drain(..length));
                let Some(then) = then else { break };
                out.extend(then);
            }
        }
        out.extend(waiting);
        (out, frames.take_counts())
    }

    const GOOD: &[u8] = b"\x04\x02/a";
    const BAD: &[u8] = b"\x04\x02/#";

    #[test]
    fn frames_pass_unchanged_and_are_counted_however_they_are_cut() {
        let preface = vec![b'p'; PREFACE];
        for (frames, counts) in [
            (vec![frame(4, 0, &[0; 12]), frame(8, 0, &[0; 4])], (0, 2)),
            (vec![frame(HEADERS, 5, GOOD), frame(HEADERS, 4, GOOD), frame(DATA, 1, b"a")], (2, 0)),
            (vec![frame(DATA, 0, b""), frame(DATA, 0, &[0; 63]), frame(DATA, 0, &[0; 64])], (0, 2)),
            (
                vec![frame(6, 0, &[0; 8]), frame(2, 0, &[0; 5]), frame(3, 0, &[0; 4]), frame(77, 0, b"")],
                (0, 4),
            ),
            (vec![frame(HEADERS, 0, GOOD), frame(CONTINUATION, 0, b""), frame(CONTINUATION, 4, b"")], (1, 2)),
            (vec![frame(HEADERS, 4 | PADDED | PRIORITY, b"\x01\0\0\0\0\0\x04\x01/\0")], (1, 0)),
            (vec![frame(HEADERS, 4 | PADDED, b"\xff\x04\x01/")], (1, 0)),
            (vec![frame(HEADERS, 4, &vec![0x82; LARGEST])], (1, 0)),
            // Larger than h2 takes: nothing waits for its end.
            (vec![frame(HEADERS, 4, &vec![0x82; LARGEST + 1])], (0, 1)),
            (vec![frame(HEADERS, 4, &vec![0; 1 << 16])], (0, 1)),
        ] {
            let bytes = [preface.clone(), frames.concat()].concat();
            for piece in [1, 2, 7, 30, 100_000] {
                let (out, counted) = passed(&bytes, piece);
                assert!(out == bytes, "{piece}: {frames:?}");
                assert_eq!(counted, counts, "{piece}: {frames:?}");
            }
        }
    }

    #[test]
    fn a_head_with_a_fragment_gets_a_field_that_says_so() {
        let preface = vec![b'p'; PREFACE];
        let marked = frame(CONTINUATION, 4, b"\0\x0fwxgate-fragment\0");
        for (before, after) in [
            (vec![frame(HEADERS, 5, BAD)], vec![frame(HEADERS, 1, BAD), marked.clone()]),
            (
                vec![
                    frame(HEADERS, 1, &BAD[..2]),
                    frame(CONTINUATION, 4, &BAD[2..]),
                    frame(HEADERS, 5, GOOD),
                ],
                vec![
                    frame(HEADERS, 1, &BAD[..2]),
                    frame(CONTINUATION, 0, &BAD[2..]),
                    marked.clone(),
                    frame(HEADERS, 5, GOOD),
                ],
            ),
            // Padding and priority are of the first frame alone.
            (
                vec![frame(HEADERS, 0x2d, b"\x01\0\0\0\0\0\x04\x02/#\0")],
                vec![frame(HEADERS, 0x29, b"\x01\0\0\0\0\0\x04\x02/#\0"), marked.clone()],
            ),
            (
                vec![frame(HEADERS, 1, &BAD[..2]), frame(CONTINUATION, 0x2c, &BAD[2..])],
                vec![frame(HEADERS, 1, &BAD[..2]), frame(CONTINUATION, 0x28, &BAD[2..]), marked.clone()],
            ),
            (
                vec![frame(HEADERS, 5, BAD), frame(HEADERS, 5, BAD)],
                vec![frame(HEADERS, 1, BAD), marked.clone(), frame(HEADERS, 1, BAD), marked.clone()],
            ),
        ] {
            for piece in [1, 3, 100_000] {
                let (out, _) = passed(&[preface.clone(), before.concat()].concat(), piece);
                assert_eq!(out, [preface.clone(), after.concat()].concat(), "{piece}: {before:?}");
            }
        }
    }
}
