//! The paths of an account whose callers keep their own token: all of them are forwarded as they are.

use super::action::PathTable;

/// Nothing stands out.
pub(super) static EGRESS_ONLY: PathTable = PathTable {
    local: &[],
    pass_through: &["*"],
    either_token: &[],
    reveals: &[],
    tickets: &[],
    signatures: &[],
    secret_paths: &[],
    sealed: &[],
};
