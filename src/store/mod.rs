//! Where the state of a credential outlives the process.

pub(crate) mod file;
