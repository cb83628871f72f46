//! Which files of a state directory are wxgate's own, and what becomes of token files that are unusable.
//!
//! Such a file is quarantined as `wx1.json.damaged-1800000000`, for an operator to look at; it may hold a token that
//! still works, so only the newest one of each appid is kept. Names are all that is known here, not contents.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use tracing::warn;

use super::{folder, lock};
use crate::store::format::{DAMAGED, OTHER_APPID, OTHER_UPSTREAM, OTHER_VERSION};

const KINDS: [&str; 4] = [DAMAGED, OTHER_VERSION, OTHER_APPID, OTHER_UPSTREAM];

/// The name of an appid's file that is quarantined at this time (in seconds).
pub(super) fn name(appid: &str, kind: &str, at: u64) -> String {
    format!("{appid}.json.{kind}-{at}")
}

/// When a file of this name was quarantined, if it is one of this appid's.
fn quarantined_at(name: &str, appid: &str) -> Option<u64> {
    let rest = name.strip_prefix(appid)?.strip_prefix(".json.")?;
    let (kind, at) = rest.rsplit_once('-')?;
    (KINDS.contains(&kind) && at.bytes().all(|b| b.is_ascii_digit())).then(|| at.parse().ok()).flatten()
}

/// Whether a name is that of a new content that is still being written.
pub(super) fn is_temp(name: &str, appid: &str) -> bool {
    let rest = name.strip_prefix('.').and_then(|name| name.strip_prefix(appid));
    let middle = rest.and_then(|rest| rest.strip_prefix(".json.")).and_then(|rest| rest.strip_suffix(".tmp"));
    middle.is_some_and(|middle| !middle.is_empty() && middle.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether wxgate itself gives files this name. The appids of other accounts are not known here; WeChat's all
/// begin with `wx`, and WeCom's stem is `ww…_` and a name, so that somebody's `package.json` is not taken for one.
pub(super) fn is_ours(name: &OsStr, appid: &str) -> bool {
    let Some(name) = name.to_str() else { return false };
    let bare = name.strip_prefix('.').unwrap_or(name);
    let other = bare.split('.').next().filter(|other| {
        (other.starts_with("wx") || other.starts_with("ww") && other.contains('_'))
            && other.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    [Some(appid), other].into_iter().flatten().any(|appid| {
        name.strip_prefix(appid) == Some(".json")
            || quarantined_at(name, appid).is_some()
            || is_temp(name, appid)
            || name == lock::name(appid)
    })
}

/// Removes what a killed process left half written, and all quarantined files but the newest.
pub(super) fn clean(dir: &Path, appid: &str) {
    let Ok(names) = folder::names(dir) else { return };
    let newest = names.iter().filter_map(|name| Some((quarantined_at(name, appid)?, name))).max();
    for name in &*names {
        let old = quarantined_at(name, appid).is_some() && newest.is_none_or(|(_, newest)| newest != name);
        if (old || is_temp(name, appid))
            && let Err(e) = fs::remove_file(dir.join(name))
        {
            warn!("cannot remove the left-over file `{}`: {e}", dir.join(name).display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_wxgate_gives_are_its_own() {
        for (name, ours) in [
            ("my.json", true),
            (".ww1_a.lock", true),
            ("www.json", false),
            ("my.json.damaged-1800000000", true),
            ("my.json.other-upstream-1", true),
            (".my.json.Ab12.tmp", true),
            (".my.lock", true),
            ("wx2.json", true),
            (".wx2.lock", true),
            (".package.lock", false),
            (".wx2.json.Ab12.tmp", true),
            ("wx2.json.damaged-7", true),
            ("package.json", false),
            ("my.jsonl", false),
            ("my.json.bak", false),
            ("my.json.damaged-", false),
            ("my.json.damaged-7x", false),
            ("my.json.other-7", false),
            (".my.json..tmp", false),
            (".my.json.a/b.tmp", false),
            ("wx2.tar.json", false),
            ("wx2.json~", false),
            ("x.json.txt", false),
        ] {
            assert_eq!(is_ours(OsStr::new(name), "my"), ours, "{name}");
        }
    }
}
