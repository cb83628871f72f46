//! Which API hosts the configuration asks for. Connects to none.

use std::sync::Arc;

use super::StartError;
use crate::beside::{READING, beside};
use crate::config::Config;
use crate::upstream::ApiHost;
use crate::upstream::tls::Trust;

/// Whom all API hosts have to convince: the system's trust roots, which are read anew, and those of `upstream.ca`.
///
/// # Errors
/// When there are no trust roots, or they cannot be read in time.
pub(super) async fn trust(config: &Config) -> Result<Trust, StartError> {
    let ca = config.upstream.ca.clone();
    let trust = beside(READING, move || Trust::load(ca.as_ref())).await;
    let trust =
        trust.map_err(|e| StartError::because(format_args!("reading the system's trust roots: {e}")))?;
    trust.map_err(StartError::because)
}

/// The API host of each account, in their order. Accounts with the same endpoint share one, and one of `current` that
/// is still the same goes on: its connections are good.
pub(super) fn api_hosts(
    config: &Config,
    trust: &Trust,
    workers: usize,
    current: &[Arc<ApiHost>],
) -> Vec<Arc<ApiHost>> {
    let mut hosts: Vec<Arc<ApiHost>> = Vec::with_capacity(config.accounts.len());
    for account in &config.accounts {
        let (endpoint, fallbacks) = config.upstream.endpoints(account, trust);
        let wanted = ApiHost::new(endpoint, fallbacks, config.upstream.settings(workers));
        let known = hosts.iter().chain(current).find(|known| **known == wanted).cloned();
        hosts.push(known.unwrap_or(wanted));
    }
    hosts
}
