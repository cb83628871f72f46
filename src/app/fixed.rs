//! What a running process cannot change: keys that take effect with a restart alone.

use crate::config::{Config, Setting};

/// A key's value in a configuration, as a text that tells two values apart.
type Value = fn(&Config) -> String;

const KEYS: [(&str, Value); 6] = [
    ("listen", |config| format!("{:?}", config.listen)),
    ("tls.listen", |config| format!("{:?}", config.tls.as_ref().map(|tls| &tls.listen))),
    ("workers", |config| format!("{:?}", config.workers)),
    ("log_format", |config| format!("{:?}", config.log_format)),
    ("admin.listen", |config| format!("{:?}", config.admin.as_ref().map(|admin| &admin.listen))),
    ("limits.replay_total", |config| format!("{:?}", config.limits.replay_total)),
];

/// The values of those keys, in their order.
pub(super) struct Fixed([String; KEYS.len()]);

impl Fixed {
    /// What a configuration says of them.
    pub(super) fn of(config: &Config) -> Self {
        Self(KEYS.map(|(_, value)| value(config)))
    }

    /// The keys that a new configuration changes in vain.
    pub(super) fn differs_from(&self, config: &Config) -> Vec<&'static str> {
        let keys = KEYS.iter().zip(&self.0);
        keys.filter(|((_, value), here)| value(config) != **here).map(|((key, _), _)| *key).collect()
    }
}

/// The settings that are in force after a reload: a new configuration's, but for those keys, which stay as they are `now`.
pub(crate) fn in_force(new: Vec<Setting>, now: &[Setting]) -> Vec<Setting> {
    let is_fixed = |setting: &&Setting| KEYS.iter().any(|(key, _)| *key == setting.key);
    let same_in = |all: &[Setting], one: &Setting| all.iter().find(|setting| setting.key == one.key).cloned();
    let gone: Vec<_> =
        now.iter().filter(is_fixed).filter(|one| same_in(&new, one).is_none()).cloned().collect();
    let stays = |setting: Setting| match is_fixed(&&setting) {
        true => same_in(now, &setting),
        false => Some(setting),
    };
    new.into_iter().filter_map(stays).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_new_configuration_is_in_force_but_for_what_takes_a_restart() {
        let read = |text: &str| {
            let text = format!("state_dir = 's'\n{text}\n[[account]]\nappid = 'wx1'\nsecret = 's'\n");
            Config::from_toml(&text, Path::new("wxgate.toml"), &|_| None).unwrap().settings
        };
        let shown = |settings: &[Setting], key: &str| {
            settings.iter().find(|setting| setting.key == key).map(|setting| setting.value.clone())
        };
        let now = read("workers = 1\nwatch = true\n[admin]\nlisten = '127.0.0.1:1'");
        let other = read("workers = 2\nwatch = false\n[admin]\nlisten = '127.0.0.1:2'");
        let bare = read("workers = 3");
        for (new, watch) in [(&now, true), (&other, false), (&bare, false)] {
            let merged = in_force(new.clone(), &now);
            assert_eq!(shown(&merged, "workers"), shown(&now, "workers"));
            assert_eq!(shown(&merged, "admin.listen"), shown(&now, "admin.listen"));
            assert_eq!(shown(&merged, "watch"), Some(watch.into()));
        }
        let merged = in_force(other, &bare);
        assert_eq!(shown(&merged, "admin.listen"), shown(&bare, "admin.listen"), "it does not listen");
    }

    #[test]
    fn each_of_these_keys_is_told_by_its_name() {
        let read = |keys: &[&str]| {
            let chosen =
                |key: &str, value: &str| if keys.contains(&key) { value.to_owned() } else { String::new() };
            let text = format!(
                "state_dir = 's'\n{}{}{}[limits]\n{}{}{}[[account]]\nappid = 'wx1'\nsecret = 's'\n",
                chosen("listen", "listen = '127.0.0.1:1'\n"),
                chosen("workers", "workers = 77\n"),
                chosen("log_format", "log_format = 'ecs'\n"),
                chosen("limits.replay_total", "replay_total = '65MiB'\n"),
                chosen("admin.listen", "[admin]\nlisten = '127.0.0.1:2'\n"),
                chosen(
                    "tls.listen",
                    "[tls]\nlisten = '127.0.0.1:3'\ncert = 'certs/server.pem'\nkey = 'certs/server.key'\n"
                ),
            );
            Config::from_toml(&text, Path::new("wxgate.toml"), &|_| None)
                .unwrap_or_else(|e| panic!("{e}"))
                .config
        };
        let running = Fixed::of(&read(&[]));
        let keys = KEYS.map(|(key, _)| key);
        for key in keys {
            assert_eq!(running.differs_from(&read(&[key])), [key]);
        }
        assert_eq!(running.differs_from(&read(&keys)), keys);
    }
}
