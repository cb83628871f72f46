//! Counts interim (1xx) answers in what an upstream sends: hyper reads over any number of them without a word.

/// How many interim answers may come before the final one.
pub(super) const MOST: u8 = 16;

/// Where the beginning of an answer has got to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InterimCount {
    count: u8,
    line: Line,
    /// Bytes of the line so far, up to a few.
    column: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Line {
    #[default]
    Status,
    Field,
    /// The head of the final answer has begun: nothing more is counted.
    Final,
}

/// `HTTP/1.1 1xx`: where the first digit of the status stands.
const DIGIT: u8 = 9;

impl InterimCount {
    /// Looks at the next bytes; whether there are no more than [`MOST`] interim answers.
    pub(super) fn allows(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match (self.line, byte) {
                (Line::Final, _) => return true,
                // An empty line ends a head; before a status line it is skipped.
                (_, b'\n') if self.column == 0 => self.line = Line::Status,
                (_, b'\n') => (self.line, self.column) = (Line::Field, 0),
                (_, b'\r') => {}
                (Line::Status, digit) if self.column == DIGIT => {
                    if *digit != b'1' {
                        self.line = Line::Final;
                        return true;
                    }
                    self.count += 1;
                    if self.count > MOST {
                        return false;
                    }
                    self.column += 1;
                }
                _ => self.column = self.column.saturating_add(1).min(DIGIT + 1),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: &str, pieces: usize) -> bool {
        let mut count = InterimCount::default();
        answer.as_bytes().chunks(pieces).all(|piece| count.allows(piece))
    }

    #[test]
    fn sixteen_interim_answers_pass_and_seventeen_do_not() {
        const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for (interim, ends) in
            [("HTTP/1.1 100 Continue\r\n\r\n", ""), (EARLY, ""), ("HTTP/1.1 100\n\n", "\r\n")]
        {
            for pieces in [1, 2, 7, 10_000] {
                let of = |count| format!("{}{ends}HTTP/1.1 200 OK\r\nA: b\r\n\r\n", interim.repeat(count));
                assert!(verdict(&of(0), pieces) && verdict(&of(16), pieces), "{interim}");
                assert!(!verdict(&of(17), pieces), "{interim}");
            }
        }
    }

    #[test]
    fn what_follows_a_final_head_is_not_counted() {
        let body = "HTTP/1.1 100 Continue\r\n\r\n".repeat(40);
        for pieces in [1, 3, 10_000] {
            assert!(verdict(&format!("HTTP/1.1 200 OK\r\nX: 1\r\n\r\n{body}"), pieces));
        }
    }
}
