//! What holds where the configuration leaves it to the system: threads, and the folder of the state.

use std::path::PathBuf;

use super::Env;

/// The number of threads that `workers` asks for; 0 is one for each CPU this process may use.
pub(super) fn workers(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    }
}

/// Where state goes unless the configuration says so: systemd's folder, else the XDG one, else the home's. With the
/// variable that decides.
pub(super) fn state_dir(env: Env<'_>) -> Result<(PathBuf, &'static str), String> {
    const SYSTEMD: &str = "STATE_DIRECTORY";
    // systemd lists several folders with `:` between them; ours is the first.
    if let Some(folders) = env(SYSTEMD)
        && let Some(first) =
            std::env::split_paths(&folders).next().filter(|first| !first.as_os_str().is_empty())
    {
        return Ok((first, SYSTEMD));
    }
    // A relative path in an XDG variable is invalid and to be ignored, says its specification.
    let folder = |name| env(name).map(PathBuf::from).filter(|folder| folder.is_absolute()).map(|f| (f, name));
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|(home, name)| (home.join(".local/state"), name)))
        .map(|(state, name)| (state.join("wxgate"), name))
        .ok_or_else(|| {
            "no default, for neither STATE_DIRECTORY nor XDG_STATE_HOME nor HOME is set; want a folder that \
             wxgate may write to"
                .to_owned()
        })
}
