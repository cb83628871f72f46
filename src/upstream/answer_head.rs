//! Follows the heads that an upstream sends, below hyper: counts interim (1xx) answers, of which hyper reads over any
//! number without a word, and notes how the names of the final head are spelled.

use crate::header_case::HeaderCase;

/// How many interim answers may come before the final one.
pub(super) const MOST: u8 = 16;

/// A head of so many bytes is too large for hyper, which ends the connection.
const LONGEST: usize = super::connection::BUFFER;

/// `HTTP/1.1 1xx`: where the first digit of the status stands.
const DIGIT: usize = 9;

/// Where the answer of one exchange has got to.
#[derive(Debug, Default)]
pub(super) struct AnswerHead {
    interim: u8,
    /// The beginning of a head that has not come to its end.
    partial: Vec<u8>,
    /// How much of it has been searched for its end.
    searched: usize,
    /// The final head has come.
    over: bool,
    case: Option<HeaderCase>,
}

impl AnswerHead {
    /// Looks at the next bytes; whether there are no more than [`MOST`] interim answers.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> bool {
        if self.over {
            return true;
        }
        if self.partial.is_empty() {
            return self.follow_heads(bytes);
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        self.follow_heads(&all)
    }

    fn follow_heads(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(end) = end_of_head(bytes, std::mem::take(&mut self.searched)) {
            let (head, rest) = bytes.split_at(end);
            bytes = rest;
            match head.get(DIGIT) {
                // An empty line before a status line is skipped.
                None => {}
                Some(b'1') if self.interim == MOST => return false,
                Some(b'1') => self.interim += 1,
                Some(_) => {
                    self.over = true;
                    self.case = HeaderCase::of(names(head));
                    return true;
                }
            }
        }
        self.searched = bytes.len();
        self.over = bytes.len() > LONGEST;
        if !self.over {
            self.partial = bytes.to_vec();
        }
        true
    }

    /// How the names of the final head are spelled, unless all of them are spelled as hyper spells them.
    pub(super) fn take_case(&mut self) -> Option<HeaderCase> {
        self.case.take()
    }
}

/// Where the first head ends, its empty line included; a line may end in a bare line feed. `from`: the line feeds
/// before it are known not to end it.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = |at: &usize| matches!(&bytes[..*at], [] | [b'\r'] | [.., b'\n'] | [.., b'\n', b'\r']);
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at).find(ends).map(|at| at + 1)
}

/// What stands before the colon of each line but the first.
fn names(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = head;
    std::iter::from_fn(move || {
        rest = &rest[memchr::memchr(b'\n', rest)? + 1..];
        let name = &rest[..memchr::memchr(b':', rest)?];
        Some(name)
    })
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
        for (interim, ends) in
            [("HTTP/1.1 100 Continue\r\n\r\n", ""), (EARLY, ""), ("HTTP/1.1 100\n\n", "\r\n")]
        {
            for pieces in [1, 2, 7, 10_000] {
                let of = |count| format!("{}{ends}HTTP/1.1 200 OK\r\nA: b\r\n\r\n", interim.repeat(count));
                let allowed = |count| followed(&of(count), pieces).0;
                assert!(allowed(0) && allowed(16) && !allowed(17), "{interim}");
            }
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
    }

    #[test]
    fn a_head_without_an_end_is_kept_up_to_a_bound() {
        let mut head = AnswerHead::default();
        for _ in 0..LONGEST / 16 + 9 {
            assert!(head.follow(b"0123456789abcdef"));
        }
        assert!(head.over && head.partial.capacity() <= 2 * LONGEST);
    }
}
