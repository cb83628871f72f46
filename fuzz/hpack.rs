//! A reader of header blocks by RFC 7541 that keeps whole entries in its table, as the oracle of several targets. Only its
//! Huffman decoder is another's. It is no target.

use std::cell::RefCell;
use std::collections::VecDeque;

use fluke_hpack::huffman::HuffmanDecoder;

/// What h2 keeps, by its settings.
const LARGEST_TABLE: usize = 4096;

/// What a caller's blocks have put into the dynamic table, the newest first.
pub struct Hpack {
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    room: usize,
}

impl Default for Hpack {
    fn default() -> Self {
        Self { table: VecDeque::new(), room: LARGEST_TABLE }
    }
}

impl Hpack {
    /// Whether a block has a `:path` with a `#`; `None` where it cannot be read.
    pub fn has_fragment(&mut self, mut block: &[u8]) -> Option<bool> {
        let mut found = false;
        while let Some(&first) = block.first() {
            let (name, value) = match first {
                0x80.. => self.entry(integer(&mut block, 0x7f)?)?,
                0x20..0x40 => {
                    self.room = integer(&mut block, 0x1f).filter(|room| *room <= LARGEST_TABLE)?;
                    self.evict();
                    continue;
                }
                _ => {
                    let indexed = first >= 0x40;
                    let name = match integer(&mut block, if indexed { 0x3f } else { 0xf })? {
                        0 => text(&mut block)?,
                        index => self.entry(index)?.0,
                    };
                    let field = (name, text(&mut block)?);
                    if indexed {
                        self.table.push_front(field.clone());
                        self.evict();
                    }
                    field
                }
            };
            found |= name == b":path" && value.contains(&b'#');
        }
        Some(found)
    }

    fn evict(&mut self) {
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 32;
        while self.table.iter().map(size).sum::<usize>() > self.room {
            self.table.pop_back();
        }
    }

    /// Of the static table only the two paths are told from the rest.
    fn entry(&self, index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        match index {
            0 => None,
            4 | 5 => Some((b":path".to_vec(), b"/".to_vec())),
            ..=61 => Some((b"another".to_vec(), Vec::new())),
            _ => self.table.get(index - 62).cloned(),
        }
    }
}

/// An integer whose first byte has it in these bits. h2 takes five bytes at most.
fn integer(block: &mut &[u8], mask: u8) -> Option<usize> {
    let mut value = usize::from(take(block)? & mask);
    if value == usize::from(mask) {
        let mut factor = 1;
        loop {
            let next = usize::from(take(block)?);
            value += next % 128 * factor;
            if next < 128 {
                break;
            }
            factor = Some(factor * 128).filter(|factor| *factor < 1 << 28)?;
        }
    }
    Some(value)
}

fn take(block: &mut &[u8]) -> Option<u8> {
    let (first, rest) = block.split_first()?;
    *block = rest;
    Some(*first)
}

fn text(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 0x7f)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if !coded {
        return Some(text.to_vec());
    }
    // To make one takes long.
    thread_local!(static HUFFMAN: RefCell<HuffmanDecoder> = RefCell::new(HuffmanDecoder::new()));
    HUFFMAN.with_borrow_mut(|huffman| huffman.decode(text).ok())
}
