//! Why a state directory cannot be used.

use std::io;
use std::path::PathBuf;

/// Why the state directory cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It would be part of a file name, and one with a slash or a dot could name any file.
    #[error("`{}` cannot be an appid", .0.escape_debug())]
    Appid(String),
    /// The folder is missing and cannot be made.
    #[error(
        "state_dir `{}` cannot be created: {source}; create it for wxgate's user, or set another `state_dir`",
        dir.display()
    )]
    NotCreated {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder is full, and there is no valid token in it to go on with.
    #[error(
        "state_dir `{}` is full, and it holds no valid token to go on with: {source}; make room there, or set another \
         `state_dir`",
        dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is there and cannot be written.
    #[error(
        "state_dir `{}` cannot be written: {source}; give it to wxgate's user (chown), or set another `state_dir`",
        dir.display()
    )]
    NotWritable {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The lock of another process.
    #[error(
        "another wxgate is running with the token file of {appid} in state_dir `{}`; stop it first, or give this appid \
         to one of the two alone: two would end each other's tokens",
        dir.display()
    )]
    InUse {
        /// Whose file.
        appid: String,
        /// The folder.
        dir: PathBuf,
    },
}
