//! Which API hosts the configuration asks for. Connects to none.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::upstream::ApiHost;
use crate::upstream::tls::Trust;

/// The API host of each account, in their order. Accounts with the same endpoint share one, and one of `current` that
/// is still the same goes on: its connections are good.
///
/// # Errors
/// When there are no trust roots, or those of `upstream.ca` cannot be read.
pub(super) fn api_hosts(
    config: &Config,
    workers: usize,
    current: &[Arc<ApiHost>],
) -> Result<Vec<Arc<ApiHost>>, StartError> {
    let trust = Trust::load(config.upstream.ca.as_deref()).map_err(StartError::because)?;
    let mut hosts: Vec<Arc<ApiHost>> = Vec::with_capacity(config.accounts.len());
    for account in &config.accounts {
        let endpoint = config.upstream.endpoint(account, &trust);
        let wanted = ApiHost::new(endpoint, config.upstream.settings(workers));
        let known = hosts.iter().chain(current).find(|known| **known == wanted).cloned();
        hosts.push(known.unwrap_or(wanted));
    }
    Ok(hosts)
}
