//! What a running process cannot change: keys that take effect with a restart alone.

use std::net::SocketAddr;

use crate::config::{AdminListen, Config, LogFormat};

/// The values of those keys.
pub(super) struct Fixed {
    listen: Vec<SocketAddr>,
    tls_listen: Option<Vec<SocketAddr>>,
    workers: usize,
    log_format: LogFormat,
    admin_listen: Option<AdminListen>,
    replay_total: usize,
}

impl Fixed {
    /// What a configuration says of them.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            tls_listen: config.tls.as_ref().map(|tls| tls.listen.clone()),
            workers: config.workers,
            log_format: config.log_format,
            admin_listen: config.admin.as_ref().map(|admin| admin.listen.clone()),
            replay_total: config.limits.replay_total,
        }
    }

    /// The keys that a new configuration changes in vain.
    pub(super) fn differs_from(&self, config: &Config) -> Vec<&'static str> {
        let new = Self::of(config);
        [
            ("listen", self.listen != new.listen),
            ("tls.listen", self.tls_listen != new.tls_listen),
            ("workers", self.workers != new.workers),
            ("log_format", self.log_format != new.log_format),
            ("admin.listen", self.admin_listen != new.admin_listen),
            ("limits.replay_total", self.replay_total != new.replay_total),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}
