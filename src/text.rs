//! Texts of others that are kept or shown: cut where they are too long.

/// The beginning of a text, of at most so many bytes, cut between characters.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (bytes, right) in [(0, ""), (1, "a"), (2, "a"), (3, "a"), (4, "a中"), (5, "a中b"), (9, "a中b")]
        {
            assert_eq!(beginning("a中b", bytes), right, "{bytes}");
        }
    }
}
