//! Follows the heads that an upstream sends, below hyper: counts interim (1xx) answers, of which hyper reads over any
//! number without a word, and notes how the names of the final head are spelled.

use crate::header_case::{HeaderCase, is_title_case, title_case_length};

/// How many interim answers may come before the final one.
pub(super) const MOST: u8 = 16;

/// Names of so many bytes make a head that is too large for hyper, which ends the connection.
const LONGEST: usize = super::connection::BUFFER;

/// So much memory a connection keeps for the names of its next answer.
const KEPT: usize = 512;

/// `HTTP/1.1 1xx`: where the first digit of the status stands.
const DIGIT: usize = 9;

/// Where the answer of one exchange has got to.
#[derive(Debug, Default)]
pub(super) struct AnswerHead {
    place: Place,
    interim: u8,
    /// Those of this head, each with its colon.
    names: Vec<u8>,
    /// Whether all of them are spelled as hyper spells them, so far.
    usual: bool,
    /// Whether another head follows this one.
    is_interim: bool,
    case: Option<HeaderCase>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// This byte of a status line.
    Status {
        at: usize,
        interim: bool,
    },
    /// A name, which begins here among the names.
    Name {
        begin: usize,
    },
    Value,
    /// Behind the final head.
    Body,
}

impl Default for Place {
    fn default() -> Self {
        Self::Status { at: 0, interim: false }
    }
}

impl AnswerHead {
    /// An answer is awaited.
    pub(super) fn begin(&mut self) {
        self.names.clear();
        self.names.shrink_to(KEPT);
        (self.place, self.interim, self.case) = (Place::default(), 0, None);
    }

    /// Looks at the next bytes; whether there are no more than [`MOST`] interim answers.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        if self.place == Place::default() && is_usual(bytes) {
            self.place = Place::Body;
            return true;
        }
        while !bytes.is_empty() {
            let used = match self.place {
                Place::Status { at, interim } => self.follow_status(at, interim, bytes),
                Place::Name { begin } => self.follow_name(begin, bytes),
                Place::Value => self.follow_value(bytes),
                Place::Body => return true,
            };
            if self.interim > MOST {
                return false;
            }
            bytes = &bytes[used..];
        }
        true
    }

    fn follow_status(&mut self, mut at: usize, mut interim: bool, bytes: &[u8]) -> usize {
        for (used, byte) in bytes.iter().enumerate() {
            match byte {
                b'\r' => {}
                // Empty lines before a status line are skipped.
                b'\n' if at == 0 => {}
                b'\n' => {
                    self.interim += u8::from(interim);
                    self.is_interim = interim;
                    (self.place, self.usual) = (Place::Name { begin: 0 }, true);
                    self.names.clear();
                    return used + 1;
                }
                byte => {
                    interim |= at == DIGIT && *byte == b'1';
                    at += 1;
                }
            }
        }
        self.place = Place::Status { at, interim };
        bytes.len()
    }

    fn follow_name(&mut self, begin: usize, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|byte| matches!(byte, b':' | b'\n'));
        self.names.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.names.len() > LONGEST {
            self.place = Place::Body;
            return bytes.len();
        }
        let Some(end) = end else { return bytes.len() };
        let name = &self.names[begin..];
        if bytes[end] == b':' {
            self.usual &= is_title_case(name);
            self.names.push(b':');
            self.place = Place::Value;
        } else if matches!(name, [] | [b'\r']) {
            self.names.truncate(begin);
            self.end_head();
        } else {
            // No field.
            self.names.truncate(begin);
        }
        end + 1
    }

    fn follow_value(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return bytes.len() };
        self.place = Place::Name { begin: self.names.len() };
        end + 1
    }

    fn end_head(&mut self) {
        if self.is_interim {
            self.place = Place::default();
            return;
        }
        self.place = Place::Body;
        self.case = (!self.usual).then(|| HeaderCase::noted(&self.names));
    }

    /// How the names of the final head are spelled, unless all of them are spelled as hyper spells them.
    pub(super) fn take_case(&mut self) -> Option<HeaderCase> {
        self.case.take()
    }
}

/// Whether a whole final head is here, all of whose names are spelled as hyper spells them, as of most answers.
fn is_usual(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"HTTP/1.1 ") || bytes.get(DIGIT) == Some(&b'1') {
        return false;
    }
    let line_end = |bytes| memchr::memchr(b'\n', bytes);
    let Some(status) = line_end(bytes) else { return false };
    let mut rest = &bytes[status + 1..];
    while let Some(name) = title_case_length(rest)
        && rest.get(name) == Some(&b':')
    {
        let value = &rest[name..];
        let Some(end) = line_end(value) else { return false };
        rest = &value[end + 1..];
    }
    rest.starts_with(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(answer: &str, pieces: usize) -> (bool, Option<HeaderCase>) {
        let mut head = AnswerHead::default();
        let allowed = answer.as_bytes().chunks(pieces).all(|piece| head.follow(piece));
        (allowed, head.take_case())
    }

    #[test]
    fn sixteen_interim_answers_pass_and_seventeen_do_not() {
        const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for (interim, ends) in [
            ("HTTP/1.1 100 Continue\r\n\r\n", ""),
            ("\r\nHTTP/1.1 100 Continue\r\n\r\n", ""),
            (EARLY, ""),
            ("HTTP/1.1 100\n\n", "\r\n"),
        ] {
            for pieces in [1, 2, 7, 10_000] {
                let of = |count| format!("{}{ends}HTTP/1.1 200 OK\r\nA: b\r\n\r\n", interim.repeat(count));
                let allowed = |count| followed(&of(count), pieces).0;
                assert!(allowed(0) && allowed(16) && !allowed(17), "{interim}");
            }
        }
    }

    #[test]
    fn only_a_whole_final_head_with_usual_names_is_passed_over() {
        for (head, usual) in [
            ("HTTP/1.1 200 OK\r\nDate: a\r\nX-Wx: b:c\r\n\r\n{}", true),
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nDate: a\r\nserver: b\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nDate: a\r\n", false),
            ("HTTP/1.1 100 Continue\r\n\r\n", false),
            ("\r\n\r\nHTTP/1.1 200 OK\r\nserver: a\r\n\r\n", false),
        ] {
            assert_eq!(is_usual(head.as_bytes()), usual, "{head}");
            let names = head.lines().filter_map(|line| Some(line.split_once(": ")?.0.as_bytes()));
            let whole = head.ends_with("\r\n\r\n");
            assert_eq!(followed(head, 1000), (true, HeaderCase::of(names).filter(|_| whole)), "{head}");
        }
    }

    #[test]
    fn what_follows_a_final_head_is_not_counted() {
        let body = "HTTP/1.1 100 Continue\r\n\r\n".repeat(40);
        for pieces in [1, 3, 10_000] {
            assert!(followed(&format!("HTTP/1.1 200 OK\r\nX: 1\r\n\r\n{body}"), pieces).0);
        }
    }

    #[test]
    fn the_case_is_that_of_the_final_head_however_its_bytes_come() {
        let answer = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\nETag: a:b\r\nDate: c\nserver: d\r\n\r\nx-not: 1\r\n";
        let right = HeaderCase::of([&b"ETag"[..], b"Date", b"server"].into_iter());
        for pieces in 1..answer.len() {
            assert_eq!(followed(answer, pieces), (true, right.clone()), "{pieces}");
        }
        assert_eq!(followed("HTTP/1.1 200 OK\r\nEtag: a\r\n\r\nx: y\r\n", 9), (true, None));
        // A value that looks like a head, in a piece of its own.
        let mut head = AnswerHead::default();
        for piece in ["HTTP/1.1 200 OK\r\nvia: ", "HTTP/1.1 proxy\r\nDate: c\r\n\r\n"] {
            assert!(head.follow(piece.as_bytes()));
        }
        assert_eq!(head.take_case(), HeaderCase::of([&b"via"[..], b"Date"].into_iter()));
    }

    #[test]
    fn what_a_head_without_an_end_takes_has_a_bound() {
        for piece in [&b"0123456789abcdef"[..], b"Name: value\r\n", b"\r\n", b"name\n"] {
            let mut head = AnswerHead::default();
            head.follow(b"HTTP/1.1 200 OK\r\n");
            for _ in 0..LONGEST {
                assert!(head.follow(piece));
            }
            assert!(head.names.capacity() <= 4 * LONGEST, "{}", piece.escape_ascii());
            head.begin();
            assert!(head.names.capacity() <= KEPT);
        }
    }
}
