//! Finds a `#` in the `:path` of a header block.
//!
//! h2 makes a URI of the path, which drops a fragment without a word, and shows the path to nobody before. So header
//! blocks (RFC 7541) are scanned on their way to it. The scan decodes no more than it must: it knows which entries of
//! the dynamic table have the name `:path`, and which of those a fragment; all else of a block is stepped over.

/// `:path`, and the same in Huffman coding.
const NAME: &[u8] = b":path";
const NAME_CODED: &[u8] = b"\xb9\x58\xd3\x3f";

/// Entries of the static table come first; of those, 4 and 5 are `:path`.
const STATIC: u32 = 61;

/// What is known of the entries that the caller's blocks have put into the dynamic table: a bit for each, the newest
/// first. Evicted ones are not taken out, for a block that refers to one is an error to h2. A table of 4 KiB, which
/// is all that h2 allows, has 128 entries at most.
#[derive(Debug, Default)]
pub(super) struct PathScan {
    is_path: u128,
    has_fragment: u128,
}

/// The block is malformed, and h2 ends the connection.
#[derive(Debug)]
struct Malformed;

impl PathScan {
    /// Whether a header block has a `:path` with a `#`. To be asked about every block, in their order.
    pub(super) fn has_fragment(&mut self, block: &[u8]) -> bool {
        self.scan(block).unwrap_or(false)
    }

    fn scan(&mut self, mut block: &[u8]) -> Result<bool, Malformed> {
        let mut found = false;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    found |= bit(self.has_fragment, index);
                }
                // The table's size.
                0x20..0x40 => _ = integer(&mut block, 5)?,
                _ => {
                    let indexed = first >= 0x40;
                    let is_path = match integer(&mut block, if indexed { 6 } else { 4 })? {
                        0 => matches!(string(&mut block)?, (false, NAME) | (true, NAME_CODED)),
                        4 | 5 => true,
                        index => bit(self.is_path, index),
                    };
                    let (coded, value) = string(&mut block)?;
                    let has_fragment = is_path
                        && match coded {
                            false => value.contains(&b'#'),
                            true => may_have_fragment(value) && coded_has_fragment(value),
                        };
                    found |= has_fragment;
                    if indexed {
                        self.is_path = self.is_path << 1 | u128::from(is_path);
                        self.has_fragment = self.has_fragment << 1 | u128::from(has_fragment);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The bit of a dynamic entry; none of a static one is set.
fn bit(bits: u128, index: u32) -> bool {
    index > STATIC && bits.checked_shr(index - STATIC - 1).is_some_and(|bits| bits & 1 == 1)
}

/// An integer whose first byte has so many bits of it (RFC 7541 section 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Result<u32, Malformed> {
    let (&first, mut rest) = block.split_first().ok_or(Malformed)?;
    let mask = (1 << bits) - 1;
    let mut value = u32::from(first) & mask;
    if value == mask {
        for shift in [0, 7, 14, 21] {
            let (&next, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            value += u32::from(next & 0x7f) << shift;
            if next < 0x80 {
                *block = rest;
                return Ok(value);
            }
        }
        return Err(Malformed);
    }
    *block = rest;
    Ok(value)
}

/// A string, and whether it is in Huffman coding.
fn string<'b>(block: &mut &'b [u8]) -> Result<(bool, &'b [u8]), Malformed> {
    let coded = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(block, 7)? as usize;
    let (string, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    Ok((coded, string))
}

/// Whether the bits of the code of `#` stand anywhere in a text: nine that are set, and 0, 1, 0. Without a branch, so that
/// several places are looked at together.
fn may_have_fragment(coded: &[u8]) -> bool {
    let code_in = |three: &[u8]| {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        let two = bits & bits >> 1;
        let four = two & two >> 2;
        let eight = four & four >> 4;
        let nine = eight & bits >> 8;
        nine >> 3 & !(bits >> 2) & bits >> 1 & !bits
    };
    coded.len() < 3 || coded.windows(3).fold(0, |found, three| found | code_in(three)) != 0
}

/// The Huffman code of RFC 7541 is canonical: for each length, its first code and how many there are.
const CODES: [(u32, u32, u32); 21] = [
    (5, 0x0, 10),
    (6, 0x14, 26),
    (7, 0x5c, 32),
    (8, 0xf8, 6),
    (10, 0x3f8, 5),
    (11, 0x7fa, 3),
    (12, 0xffa, 2),
    (13, 0x1ff8, 6),
    (14, 0x3ffc, 2),
    (15, 0x7ffc, 3),
    (19, 0x7_fff0, 3),
    (20, 0xf_ffe6, 8),
    (21, 0x1f_ffdc, 13),
    (22, 0x3f_ffd2, 26),
    (23, 0x7f_ffd8, 29),
    (24, 0xff_ffea, 12),
    (25, 0x1ff_ffec, 4),
    (26, 0x3ff_ffe0, 15),
    (27, 0x7ff_ffde, 19),
    (28, 0xfff_ffe2, 29),
    (30, 0x3fff_fffc, 4),
];

/// The length and the code of `#`.
const FRAGMENT: (u32, u32) = (12, 0xffa);

/// Whether a text in Huffman coding has a `#`.
fn coded_has_fragment(coded: &[u8]) -> bool {
    let mut bytes = coded.iter();
    // The bits that have been read and not been taken, the first of them on the left.
    let (mut bits, mut count) = (0_u64, 0);
    loop {
        while count <= 56
            && let Some(&byte) = bytes.next()
        {
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        let code = |length: u32| (bits >> (64 - length)) as u32;
        let next = CODES.iter().find(|(length, first, codes)| code(*length).wrapping_sub(*first) < *codes);
        match next {
            Some((length, ..)) if *length <= count => {
                if (*length, code(*length)) == FRAGMENT {
                    return true;
                }
                bits <<= length;
                count -= length;
            }
            // What is left is padding.
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/a#b` in Huffman coding.
    const CODED: &[u8] = b"\x60\x7f\xf5\x1f";

    fn literal(kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
        [&[kind, name.len() as u8], name, &[value.len() as u8], value].concat()
    }

    fn coded(prefix: &[u8], value: &[u8]) -> Vec<u8> {
        [prefix, &[0x80 | value.len() as u8], value].concat()
    }

    #[test]
    fn a_fragment_is_found_in_every_form_of_a_path_and_nowhere_else() {
        let plain = |prefix: u8, value: &[u8]| [&[prefix, value.len() as u8], value].concat();
        for (block, right) in [
            (literal(0x00, b":path", b"/a#b"), true),
            (literal(0x10, b":path", b"/a#b"), true),
            (literal(0x40, b":path", b"/a#b"), true),
            (literal(0x00, b":path", b"/a"), false),
            (literal(0x00, b"referer", b"/a#b"), false),
            // By its index in the static table, in all three kinds of literals.
            (plain(0x04, b"/a#b"), true),
            (plain(0x14, b"/#"), true),
            (plain(0x44, b"#"), true),
            (plain(0x45, b"/a"), false),
            (plain(0x41, b"h#"), false),
            (coded(&[0x04], CODED), true),
            (coded(&[0x44], CODED), true),
            (coded(b"\x00\x84\xb9\x58\xd3\x3f", CODED), true),
            (coded(b"\x00\x07referer", CODED), false),
            // Looks like one at first.
            (coded(&[0x04], b"\xff\xe8\x3f"), false),
            // The last entry of the static table.
            (vec![0xbd], false),
            // h2 refuses two of them, and not because of this.
            ([plain(0x04, b"/#"), plain(0x04, b"/#")].concat(), true),
            // Behind what is stepped over: indexed fields, a change of the table's size, a long integer.
            ([&[0x82, 0x87, 0x3f, 0xe1, 0x1f][..], &plain(0x04, b"/a#b")].concat(), true),
            ([literal(0x00, b"x", &[b'#'; 126]), plain(0x04, b"/a#b")].concat(), true),
            ([b"\x00\x01x\x7f\x80\x01", &[b'x'; 255][..], &plain(0x04, b"/a#b")].concat(), true),
            ([b"\x00\x01x\x7f\x81\x01", &[b'x'; 256][..], &plain(0x04, b"/a#b")].concat(), true),
            // Malformed: cut off, or without an end.
            (vec![0x04, 0x05, b'#'], false),
            (vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false),
            (vec![0x44], false),
            (vec![], false),
        ] {
            assert_eq!(PathScan::default().has_fragment(&block), right, "{}", block.escape_ascii());
        }
    }

    #[test]
    fn entries_of_the_dynamic_table_are_remembered() {
        let mut scan = PathScan::default();
        assert!(!scan.has_fragment(&literal(0x40, b":path", b"/a")));
        // By the name of the newest entry, and then as an entry of its own.
        assert!(scan.has_fragment(b"\x7e\x02/#"));
        assert!(scan.has_fragment(b"\xbe"));
        assert!(!scan.has_fragment(b"\xbf"));
        assert!(scan.has_fragment(b"\xbe\xbe"));
        assert!(scan.has_fragment(b"\x0f\x30\x02/#"), "by the name of the one before it");
        for number in 0..100_u8 {
            assert!(!scan.has_fragment(&literal(0x40, b"x", &[number])));
            let index = 63 + number;
            let (short, long) = ([0x80 | index.min(126)], [0xff, index.saturating_sub(127)]);
            let block: &[u8] = if index < 127 { &short } else { &long };
            assert!(scan.has_fragment(block), "{number}");
        }
        for _ in 0..50 {
            assert!(!scan.has_fragment(&literal(0x40, b"x", b"y")));
        }
        assert_eq!(scan.has_fragment, 0, "what no table can hold is forgotten");
    }

    #[test]
    fn every_byte_is_told_from_a_fragment_in_huffman_coding() {
        // Coded with the tables of another implementation.
        for (text, right) in [
            (CODED, true),
            (b"\xff\xaf", true),                 // #
            (b"\x18\xc6\x3f\xfa", true),         // aaaa#, without padding
            (b"\xff\xa1\x8c\x63\xff\xaf", true), // #aaaa#
            (b"\xff\xe8\x3f", false),            // ~0, with the bits of a # from the second on
            (b"\xff\xbf", false),                // >
            (b"\xff\xc7", false),                // NUL
            (b"\xff\xef\xff\x7f", false),        // ~~, with more than nine bits in a row
            (b"\xff\xef\xfd\x7f", true),         // ~#
            (b"\xff\xef\xff\x7f\xeb", true),     // ~~#
            (b"\xff\xef\xff\x3f", false),        // ~], with the bits of a # between two codes
            (b"\xfd\xf8\xf8", false),            // Z&&
            (b"\x60\x93\x19\x68\xcd\x53\x1e\x7f\xc1\xc0\xa8\x99\xff\xec\x7f\x04\x83\xf7\xff\xbf", false),
            (b"", false),
            (b"\xff", false),
        ] {
            assert_eq!(coded_has_fragment(text), right, "{}", text.escape_ascii());
            assert!(may_have_fragment(text) || !right, "{}", text.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_with_a_fragment_is_passed_over(text in proptest::collection::vec(0_u8.., 0..12), at in 0_usize..12) {
            let mut text = text;
            // Texts of random bytes have few.
            text.splice(at.min(text.len())..at.min(text.len()), CODED.iter().copied());
            for shift in 0..8 {
                let shifted: Vec<u8> = text.windows(2).map(|two| (two[0] << shift) | (two[1] >> 1 >> (7 - shift))).collect();
                proptest::prop_assert!(may_have_fragment(&shifted) || !coded_has_fragment(&shifted));
            }
        }
    }
}
