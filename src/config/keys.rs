//! The one table of keys: name, type, default and text of each key of the configuration file.
//!
//! Everything that tells about a key takes it from here: the reader its defaults, ranges and hints at misspelt
//! keys, `wxgate config print` and `wxgate config schema` what they show, and the generated documents
//! (`examples/full.toml`, `docs/en/configuration.md`). What a value means to the program is the business of the readers
//! beside it.
//!
//! A new key takes an entry here, a line in the reader of its section, and
//! `WXGATE_WRITE_DOCUMENTS=1 cargo test --lib documents_are_made`, which writes the documents anew.

mod account;
mod admin;
mod alert;
mod caller;
mod forms;
mod limits;
mod signing;
mod store;
mod tls;
mod top;
mod upstream;

use std::collections::HashMap;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::DeValue;

pub(super) use forms::Form;

/// The name of the section that stands before the first header.
pub(super) const TOP: &str = "";

/// All sections, in the order in which documents show them.
pub(super) static SECTIONS: &[Section] = &[
    top::SECTION,
    tls::SECTION,
    admin::SECTION,
    upstream::SECTION,
    limits::SECTION,
    account::SECTION,
    signing::SECTION,
    caller::SECTION,
    alert::SECTION,
    store::SECTION,
];

/// One table of the file.
pub(super) struct Section {
    /// Its name in the header, [`TOP`] for the keys before the first one.
    pub(super) name: &'static str,
    pub(super) header: Header,
    pub(super) text: Text,
    pub(super) keys: &'static [Key],
}

/// How often a section may stand in the file, and so what its header looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    /// The keys at the top; no header.
    None,
    /// `[name]`; without it all its defaults hold.
    Once,
    /// `[name]`; without it there is no such thing.
    Optional,
    /// `[[name]]`, at least one.
    Many,
    /// `[[name]]`, perhaps none.
    Any,
    /// `[name.inner]` behind a `[[name]]`; without it there is no such thing.
    Inner,
}

/// One text in the two languages of the documents. Plain text; Markdown's backticks for code.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) en: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read where documents are made, in a test"))]
    pub(super) zh: &'static str,
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// A value in TOML that shows what the key is for; empty: the default does.
    pub(super) example: &'static str,
    pub(super) text: Text,
}

/// What holds when the file leaves a key out.
#[derive(Clone, Copy)]
pub(super) enum Default {
    /// This value, in TOML.
    Is(&'static str),
    /// No value; the text says what that comes to.
    Unset(Text),
    /// The file must have it.
    Required,
    /// The file must have it unless that key of the same table has that value.
    RequiredUnless(&'static str, &'static str),
}

/// What a key takes.
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number, from and to.
    Number(i64, i64),
    /// Bytes as a number or a text like "16MiB", from and to.
    Size(u64, u64),
    /// A text like "30s"; from and to in milliseconds.
    Time(u64, u64),
    /// A text that looks like this.
    Text(Form),
    /// A path that takes the AppSecret, or a table that says how it names it.
    SecretPath,
    /// A table of PEM files, or of tables that say where the PEM is, by the numbers of the certificates in it.
    Certificates,
    /// A path; a relative one starts from the file's folder.
    Path,
    /// A text in quotes, or a table that says where the text is.
    Secret,
    /// The path of a PEM file, or a table that says where the PEM is.
    Pem,
    /// An array of these.
    List(&'static Kind),
    /// An array of these, or a single one.
    OneOrMore(&'static Kind),
}

const DAY: u64 = 24 * 60 * 60 * 1000;

/// A time of at least a millisecond, at most a day: keeps sums of times far from overflow.
const TIME: Kind = Kind::Time(1, DAY);
/// A time that may be none at all.
const TIME_OR_NONE: Kind = Kind::Time(0, DAY);

/// A key with a default.
const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    en: &'static str,
    zh: &'static str,
) -> Key {
    let (default, text) = (Default::Is(default), Text { en, zh });
    Key { name, kind, default, example: "", text }
}

/// A key without a default; `unset` says what holds without it.
const fn unset(name: &'static str, kind: Kind, unset: Text, en: &'static str, zh: &'static str) -> Key {
    let (default, text) = (Default::Unset(unset), Text { en, zh });
    Key { name, kind, default, example: "", text }
}

/// A key that the file must have.
const fn required(
    name: &'static str,
    kind: Kind,
    example: &'static str,
    en: &'static str,
    zh: &'static str,
) -> Key {
    Key { name, kind, default: Default::Required, example, text: Text { en, zh } }
}

/// What an unset key comes to.
const fn without(en: &'static str, zh: &'static str) -> Text {
    Text { en, zh }
}

const NONE: Text = without("none", "无");

impl Key {
    /// The same with a value to show.
    const fn such_as(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// The same, but that the file need not have it where another key of its table has this value.
    const fn unless(mut self, (other, value): (&'static str, &'static str)) -> Self {
        self.default = Default::RequiredUnless(other, value);
        self
    }

    /// The value that holds when the file leaves the key out.
    pub(super) fn default_value(&'static self) -> Option<&'static Spanned<DeValue<'static>>> {
        static PARSED: LazyLock<HashMap<&'static str, Spanned<DeValue<'static>>>> = LazyLock::new(|| {
            let texts =
                SECTIONS.iter().flat_map(|section| section.keys).filter_map(|key| match key.default {
                    Default::Is(text) => Some(text),
                    Default::Unset(_) | Default::Required | Default::RequiredUnless(..) => None,
                });
            texts.map(|text| (text, DeValue::parse(text).expect("a test parses all defaults"))).collect()
        });
        match self.default {
            Default::Is(text) => PARSED.get(text),
            Default::Unset(_) | Default::Required | Default::RequiredUnless(..) => None,
        }
    }
}

/// The section of that name.
pub(super) fn section(name: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.name == name).expect("readers name sections of the table alone")
}

impl Section {
    /// The key of that name, if the section has it.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// What may stand in it: the names of its keys, and at the top those of the other sections.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let outer = SECTIONS.iter().map(|section| section.name);
        let outer = outer.filter(|name| self.name == TOP && *name != TOP && !name.contains('.'));
        self.keys.iter().map(|key| key.name).chain(outer).chain(self.inner().map(|(name, _)| name))
    }

    /// The tables within one of it, by their names there: `signing` of `[account.signing]`.
    pub(super) fn inner(&self) -> impl Iterator<Item = (&'static str, &'static Section)> {
        let inner = |section: &'static Section| {
            let (outer, inner) = section.name.split_once('.')?;
            (outer == self.name).then_some((inner, section))
        };
        SECTIONS.iter().filter_map(inner)
    }

    /// Its header as a file has it: `[upstream]`, `[[account]]`.
    pub(super) fn shown(&self) -> String {
        match self.header {
            Header::None => String::new(),
            Header::Once | Header::Optional | Header::Inner => format!("[{}]", self.name),
            Header::Many | Header::Any => format!("[[{}]]", self.name),
        }
    }
}
