//! The search for a `#` in the `:path` of header blocks (HPACK), against a reader that shares nothing with it: whatever
//! that one reads, from plain and Huffman-coded literals and from the dynamic table, has the same verdict.
//!
//! The input is one caller's blocks in their order, each behind a byte with its length.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/listener/http2/fragment.rs"]
mod fragment;
#[path = "../hpack.rs"]
mod hpack;

use fragment::PathScan;
use hpack::Hpack;

fuzz_target!(|input: &[u8]| {
    let mut scan = PathScan::default();
    let mut reader = Hpack::default();
    let mut rest = input;
    while let [length, more @ ..] = rest {
        let (block, behind) = more.split_at(usize::from(*length).min(more.len()));
        rest = behind;
        let found = scan.has_fragment(block);
        // h2 ends the connection at a block that cannot be read.
        let Some(right) = reader.has_fragment(block) else { return };
        assert_eq!(found, right, "{} of {}", block.escape_ascii(), input.escape_ascii());
    }
});
