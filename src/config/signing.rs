//! Reads `[account.signing]`: keys and certificates of WeChat's API security mode.
//!
//! Whether they are the ones that the console has is known to WeChat alone; here they are whole and of the right kinds.

use toml::de::DeValue;

use super::keys::Kind;
use super::table::Table;
use super::value::Value;
use super::{Product, SigningKeys, account, pem, secret, upstream};
use crate::proxy::route::{PathPattern, table_of};
use crate::proxy::signing::keys::{PlatformCertificate, PrivateKey, SymmetricKey, is_number};
use crate::tls::Pem;

const NUMBER_WANTED: &str = r#"the number that the console shows, like "fa05fe1e5bcc79b81ad5ad4b58acf787""#;

const CERTIFICATES_WANTED: &str =
    r#"a table with at least one certificate: { NUMBER = "PATH" }, with the number that the console shows"#;

/// The table of an account, read.
pub(super) struct Signing<'r> {
    table: Table<'r>,
    keys: Option<SigningKeys>,
}

/// The table, if the account has it; `paths` is what the account allows.
pub(super) fn read<'r>(
    account: &Table<'r>,
    kind: Product,
    keeps_token: bool,
    paths: &[String],
) -> Option<Signing<'r>> {
    let mut table = account.inner("signing")?;
    let useless = match kind {
        _ if !keeps_token => {
            Some("of no use with token_api = \"none\": calls are forwarded as they are; remove it")
        }
        Product::Wecom => Some("of no use with kind = \"wecom\": WeCom has no API security mode; remove it"),
        Product::Weixin => None,
    };
    if let Some(words) = useless {
        account.problem("signing", words);
    }
    table.key("encryption", |v| algorithm(v, "AES256_GCM", "SM4_GCM"));
    table.key("signature", |v| algorithm(v, "RSAwithSHA256", "SM2withSM3"));
    let key_number = table.required("key_number", number);
    let key = table.required("key", |value| {
        let text = secret::read(value, secret::SIGNING_KEY)?;
        SymmetricKey::from_base64(text.expose())
            .map_or_else(|error| value.secret().say(error.to_string()), Some)
    });
    let private_key_number = table.optional("private_key_number", number);
    let private_key = table.required("private_key", private_key);
    let certificates = table.required("certificates", certificates);
    let own = table.optional("paths", |v| patterns(v, paths));
    let url = table.key("url", upstream::url);
    let documented = || table_of(kind, keeps_token).sealed.iter().filter_map(|text| PathPattern::parse(text));
    let paths = own.unwrap_or_else(|| documented().collect());
    let keys = match (key_number, key, private_key, certificates) {
        (Some(key_number), Some(key), Some(private_key), Some(certificates)) => Some(SigningKeys {
            key_number,
            key,
            private_key_number,
            private_key,
            certificates,
            // As it is signed.
            url: url.shortest(),
            paths,
        }),
        _ => None,
    };
    Some(Signing { table, keys })
}

impl Signing<'_> {
    /// Notes what is in force, once the account's own keys have been; the keys, where nothing is wrong with them.
    pub(super) fn finish(self) -> Option<SigningKeys> {
        let paths = self.keys.iter().flat_map(|keys| &keys.paths).map(ToString::to_string);
        self.table.finish_with(&[("paths", paths.collect())]);
        self.keys
    }
}

/// One of WeChat's names for an algorithm; the other one is refused in words of its own.
fn algorithm(value: &Value<'_>, known: &str, other: &str) -> Option<()> {
    let want = format!("\"{known}\"");
    match value.text(&want)? {
        text if text == known => Some(()),
        text if text.eq_ignore_ascii_case(other) => value.wrong(format!(
            "{want}: wxgate does not speak {other}; choose {known} in the console (API安全), and use its keys"
        )),
        _ => value.wrong(want),
    }
}

fn number(value: &Value<'_>) -> Option<String> {
    value.parsed(NUMBER_WANTED, |text| match is_number(text) {
        true => Ok(text.to_owned()),
        false => Err(NUMBER_WANTED.to_owned()),
    })
}

fn private_key(value: &Value<'_>) -> Option<PrivateKey> {
    let pem = pem::read_key(value)?;
    let der = pem.private_key().map_or_else(|error| value.secret().say(error.to_string()), Some)?;
    PrivateKey::from_der(&der).map_or_else(|error| value.secret().say(error.to_string()), Some)
}

fn certificates(value: &Value<'_>) -> Option<Vec<PlatformCertificate>> {
    let DeValue::Table(entries) = value.toml() else { return value.wrong(CERTIFICATES_WANTED) };
    if entries.is_empty() {
        return value.wrong_as("an empty table", CERTIFICATES_WANTED);
    }
    let mut all = Some(Vec::new());
    for (number, toml) in entries {
        let number = number.get_ref().as_ref();
        if !is_number(number) {
            all = value.say(format!("a key that is no number of a certificate; want {CERTIFICATES_WANTED}"));
            continue;
        }
        let inside = Value::new(toml, format!("{}.{number}", value.key()), &Kind::Pem, value.report);
        all = all.zip(certificate(&inside, number)).map(|(mut all, certificate)| {
            all.push(certificate);
            all
        });
    }
    all
}

fn certificate(value: &Value<'_>, number: &str) -> Option<PlatformCertificate> {
    let pem: Pem = pem::read(value)?;
    let found = pem.certificates().map_or_else(|error| value.say(error.to_string()), Some)?;
    let [der] = found.as_slice() else {
        return value.say(format!(
            "`{}` holds {} certificates; want the one that the number is of",
            pem.name(),
            found.len()
        ));
    };
    PlatformCertificate::from_der(number.to_owned(), der)
        .map_or_else(|error| value.say(error.to_string()), Some)
}

fn patterns(value: &Value<'_>, paths: &[String]) -> Option<Vec<PathPattern>> {
    let patterns = account::patterns(value, paths, r#"an array of paths like ["/wxa/getuserriskrank"]"#)?;
    match patterns.is_empty() {
        true => value.wrong_as("an empty array", "at least one path: nothing would be encrypted"),
        false => Some(patterns),
    }
}
