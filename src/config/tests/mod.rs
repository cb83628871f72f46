//! Tests of the reader as a whole. Nothing here touches the process's environment or working directory.

mod documents;
mod examples;
mod included;
mod leaks;
mod messages;
mod settings;
mod sources;
mod table_of_keys;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::*;

/// An account that nothing is wrong with.
const ACCOUNT: &str = "[[account]]\nappid = \"wx1\"\nsecret = \"s3cret\"\n";

/// The table of an account's keys for the API security mode; its files are those of the repository.
const SIGNING: &str = "[account.signing]\n\
    key_number = \"fa05fe1e5bcc79b81ad5ad4b58acf787\"\n\
    key = \"otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=\"\n\
    private_key = \"certs/signing/app.key\"\n\
    certificates = { 79ba700ea147819f640941bceb38b1d1 = \"certs/signing/platform.pem\" }\n";

/// An environment of its own; HOME is always there.
fn env_of(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let mut map = HashMap::from([("HOME".to_owned(), "/home/wx".to_owned())]);
    map.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    move |name| map.get(name).map(OsString::from)
}

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    Config::from_toml(text, Path::new("wxgate.toml"), &env_of(&[("WECHAT_SECRET", "s3cret")]))
}

/// What the first account's token is issued for.
fn app(config: &Config) -> &App {
    config.accounts[0].app.as_ref().unwrap()
}

/// What is wrong with a text, without the hint at the end.
fn complaints(text: &str) -> Vec<String> {
    match load_text(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(ToString::to_string).collect(),
    }
}
