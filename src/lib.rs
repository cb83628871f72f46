//! wxgate: a reverse proxy that puts the WeChat `access_token` into calls and hides dead tokens from callers.

pub mod config;
pub mod sandbox;
pub mod secret;
pub mod token;
pub mod upstream;
