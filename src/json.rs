//! A lenient reader of the top level of a JSON object, without a tree and without a copy.
//!
//! WeChat's bodies have been seen with raw control characters and broken UTF-8 in them; a strict parser would hide
//! their errcode. So this reader minds strings and nesting and nothing else. Pure: bytes in, slices out.

use std::borrow::Cow;

use memchr::memchr2;
use zeroize::Zeroizing;

/// A text that begins as a JSON object, behind white space and a byte order mark.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a>(&'a [u8]);

/// What a text begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing but white space and (part of) a byte order mark so far.
    Undecided,
    /// An object.
    Object,
    /// Something else.
    Other,
}

/// What the text that begins so is, as far as that can be said.
pub fn beginning(text: &[u8]) -> Beginning {
    let text = skip_space_and_mark(text);
    match text {
        [b'{', ..] => Beginning::Object,
        [] | [0xef] | [0xef, 0xbb] => Beginning::Undecided,
        _ => Beginning::Other,
    }
}

/// Every control character counts as white space.
fn skip_space_and_mark(mut text: &[u8]) -> &[u8] {
    loop {
        let start = text.iter().position(|b| *b > b' ').unwrap_or(text.len());
        match text[start..].strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => text = rest,
            None => return &text[start..],
        }
    }
}

impl<'a> Object<'a> {
    /// The object that a text begins with; it may be cut off.
    pub fn find(text: &'a [u8]) -> Option<Self> {
        skip_space_and_mark(text).strip_prefix(b"{").map(Self)
    }

    /// Whether it comes to its end.
    pub fn is_whole(self) -> bool {
        let mut members = self.members();
        while members.next().is_some() {}
        members.ended
    }

    /// Its members, up to the first byte that makes no sense.
    pub fn members(self) -> Members<'a> {
        Members { text: self.0, at: 0, ended: false }
    }

    /// The same object without the members of these names, and without white space between those that are left.
    pub fn without(self, names: &[&str]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        for member in self.members().filter(|member| !names.iter().any(|name| member.is(name))) {
            out.push(if out.is_empty() { b'{' } else { b',' });
            for piece in [b"\"".as_slice(), member.name, b"\":", member.value] {
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
        out
    }

    /// The raw value of a member; as in PHP's `json_decode`, the last of several.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.members().filter(|member| member.is(name)).last().map(|member| member.value)
    }
}

/// A name and a value as they stand in the text.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Without its quotes, escapes as they are.
    name: &'a [u8],
    /// With its quotes, nested values included; an unfinished one is what there is of it.
    pub value: &'a [u8],
    /// Where the value begins, counted from behind the object's brace.
    at: usize,
}

impl Member<'_> {
    /// Whether it has this name, escaped or not.
    pub fn is(&self, name: &str) -> bool {
        if !self.name.contains(&b'\\') {
            return self.name == name.as_bytes();
        }
        unescaped(self.name) == name
    }
}

/// Walks through an object's members.
#[derive(Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    at: usize,
    ended: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        loop {
            self.skip_space();
            match self.byte()? {
                b'"' => break,
                b',' => {}
                byte => {
                    self.ended = byte == b'}';
                    self.at = self.text.len();
                    return None;
                }
            }
        }
        let name = self.string()?;
        self.skip_space();
        if self.byte()? != b':' {
            self.at = self.text.len();
            return None;
        }
        self.skip_space();
        let at = self.at;
        Some(Member { name, value: self.value(), at })
    }
}

impl<'a> Members<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| *b <= b' ') {
            self.at += 1;
        }
    }

    /// The raw inside of a string whose opening quote has been read; `None` when it never ends.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            match memchr2(b'"', b'\\', &self.text[self.at..]) {
                Some(found) => self.at += found,
                None => self.at = self.text.len(),
            }
            match self.byte()? {
                b'"' => return Some(&self.text[start..self.at - 1]),
                // Whatever is escaped does not end the string.
                _ => self.byte()?,
            };
        }
    }

    /// The raw text of one value, nested ones included; an unfinished one is what there is of it.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    if self.string().is_none() {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                b',' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let value = &self.text[start..self.at.min(self.text.len())];
        // As behind a comma, every control character is white space.
        let length = value.iter().rposition(|b| *b > b' ').map_or(0, |last| last + 1);
        &value[..length]
    }
}

/// The text of an object in which each of these members, given as name and raw value, has this value: wherever it
/// stands at the top level (a parser may take the first or the last of several), or else as its first member.
/// Everything else stays byte for byte. `None` for what is no whole object.
pub fn with_members(text: &[u8], members: &[(&str, &str)]) -> Option<Vec<u8>> {
    let object = Object::find(text).filter(|object| object.is_whole())?;
    let room: usize = members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut out = Vec::with_capacity(text.len() + room);
    out.extend_from_slice(&text[..text.len() - object.0.len()]);
    let mut is_empty = object.members().next().is_none();
    let mut copied = 0;
    let missing = members.iter().rev().filter(|(name, _)| object.get(name).is_none());
    let mut first = Vec::new();
    for (name, value) in missing {
        let comma = if is_empty { "" } else { "," };
        first.insert(0, format!("\"{name}\":{value}{comma}"));
        is_empty = false;
    }
    first.iter().for_each(|member| out.extend_from_slice(member.as_bytes()));
    for member in object.members() {
        if let Some((_, value)) = members.iter().find(|(name, _)| member.is(name)) {
            out.extend_from_slice(&object.0[copied..member.at]);
            out.extend_from_slice(value.as_bytes());
            copied = member.at + member.value.len();
        }
    }
    out.extend_from_slice(&object.0[copied..]);
    Some(out)
}

/// The integer that a raw value is: a number, or a string of digits. Fractions are cut off; what does not fit
/// becomes the nearest that does.
pub fn integer(value: &[u8]) -> Option<i64> {
    if let Some(digits) = inside_of_string(value) {
        let digits = std::str::from_utf8(digits).ok()?.trim();
        let bare = digits.strip_prefix('-').unwrap_or(digits);
        if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        return Some(digits.parse().unwrap_or(if digits.starts_with('-') { i64::MIN } else { i64::MAX }));
    }
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().or_else(|| {
        // Rust reads `inf` and `nan` too.
        let number = value.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-');
        let float = text.parse::<f64>().ok().filter(|_| number)?;
        // 40001.0 and 4.0001e4 are the same number to every JSON reader.
        #[expect(clippy::cast_possible_truncation, reason = "saturating is what is wanted")]
        Some(float as i64)
    })
}

/// The text that a raw value is, if it is a string; bytes that are no UTF-8 are replaced.
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let raw = inside_of_string(value)?;
    if !raw.contains(&b'\\') {
        return Some(String::from_utf8_lossy(raw));
    }
    Some(Cow::Owned(unescaped(raw)))
}

fn inside_of_string(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Escapes decoded; where one is broken, the text as it is. The text may be a token: no copy of it is left behind.
fn unescaped(raw: &[u8]) -> String {
    let mut quoted = Zeroizing::new(String::with_capacity(3 * raw.len() + 2));
    quoted.push('"');
    // Raw control characters would end a strict reading.
    quoted.extend(String::from_utf8_lossy(raw).chars().map(|c| if c < ' ' { ' ' } else { c }));
    quoted.push('"');
    serde_json::from_str(&quoted).unwrap_or_else(|_| quoted[1..quoted.len() - 1].to_owned())
}

#[cfg(test)]
mod tests;
