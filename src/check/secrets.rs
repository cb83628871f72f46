//! The secrets that the configuration names: that all could be read, and who else may read them.
//!
//! They have been read with the configuration, so one that could not be is no finding but exit code 2. Nothing here
//! shows a secret or the path of its file.

use super::Report;
use crate::config::Loaded;

/// Says how many secrets there are and where they come from.
pub(super) fn look(loaded: &Loaded, report: &mut Report<'_>) {
    let secrets = loaded.settings.iter().filter(|setting| setting.is_secret());
    let (mut files, mut elsewhere, mut plain) = (0, 0, 0);
    for secret in secrets {
        match secret.source_of_secret() {
            Some("file") => files += 1,
            Some(_) => elsewhere += 1,
            None => plain += 1,
        }
    }
    let all = files + elsewhere + plain;
    if all == 0 {
        return;
    }
    // Those that are open to others have been named above.
    let modes = if loaded.exposed {
        "some of their files are open to others (see above)"
    } else {
        "no other user can read their files"
    };
    report.ok(format_args!(
        "secrets: {all} read ({files} from files, {elsewhere} from the environment or systemd, {plain} from the \
         configuration itself); {modes}"
    ));
}
