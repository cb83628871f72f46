//! The heads of answers as they are followed below hyper: how many interim ones there are, and how the names of the final
//! one are spelled, whether they come at once (a shorter way then) or in pieces.
//!
//! The oracle is `httparse`, with which hyper reads them. The first byte says how the bytes are cut.
#![no_main]

use http::HeaderName;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/upstream/answer_head.rs"]
mod answer_head;
#[expect(dead_code, reason = "it writes heads, too")]
#[path = "../../src/header_case.rs"]
mod header_case;

/// What the file takes from its neighbour.
mod connection {
    pub const BUFFER: usize = 64 << 10;
}

use answer_head::{AnswerHead, MOST};
use header_case::HeaderCase;

/// Whether so many interim answers are allowed, and the case of the final head.
fn follow(bytes: &[u8], step: usize) -> (bool, Option<HeaderCase>) {
    let mut head = AnswerHead::default();
    head.begin();
    let allowed = bytes.chunks(step).all(|piece| head.follow(piece));
    (allowed, head.take_case())
}

/// The final head behind the interim ones: how many there are, its names, and what it looks like when hyper writes it.
fn by_httparse(bytes: &[u8]) -> Option<(usize, Vec<Vec<u8>>)> {
    let (mut at, mut interim) = (0, 0);
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = head.parse(&bytes[at..]) else { return None };
        if head.code.is_some_and(|code| !(100..200).contains(&code)) {
            return Some((
                interim,
                head.headers.iter().map(|field| field.name.as_bytes().to_vec()).collect(),
            ));
        }
        (at, interim) = (at + length, interim + 1);
    }
}

/// A name as hyper writes it.
fn title_case(name: &[u8]) -> Vec<u8> {
    let mut name = HeaderName::from_bytes(name).expect("a name").as_str().as_bytes().to_vec();
    let mut begins = true;
    for byte in &mut name {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b'-';
    }
    name
}

fn head(names: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let lines = names.flat_map(|name| [name, b": a:b\r\n".to_vec()].concat());
    b"HTTP/1.1 200 OK\r\n".iter().copied().chain(lines).collect()
}

fuzz_target!(|input: &[u8]| {
    let Some((step, bytes)) = input.split_first() else { return };
    let (allowed, case) = follow(bytes, usize::MAX);
    let (cut_allowed, cut_case) = follow(bytes, usize::from(*step).max(1));
    let shown = bytes.escape_ascii();
    // At a head that is none hyper ends the connection.
    let Some((interim, names)) = by_httparse(bytes) else { return };
    assert_eq!((allowed, &case), (cut_allowed, &cut_case), "{shown}");
    assert_eq!(allowed, interim <= usize::from(MOST), "{shown}");
    if !allowed {
        return;
    }
    let mut written = head(names.iter().map(|name| title_case(name)));
    if let Some(case) = &case {
        case.restore(&mut written);
    }
    let as_sent = head(names.iter().cloned());
    assert_eq!(written.escape_ascii().to_string(), as_sent.escape_ascii().to_string(), "{shown}");
});
