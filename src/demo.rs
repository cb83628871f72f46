//! `wxgate demo`
use std::io::Write;
/// x
pub async fn command(_out: &mut dyn Write) -> u8 {
    0
}
