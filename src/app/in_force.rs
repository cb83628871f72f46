//! What the parts get of a configuration: the workers' state, what the admin listener shows, how robots are told.

use std::sync::Arc;

use super::listening::Listening;
use super::tokens::Tokens;
use crate::admin::sources::{self, InForce};
use crate::admin::view::PlatformCertificate;
use crate::alert::Sender;
use crate::config::{self, Config, Setting};
use crate::metrics::Metrics;
use crate::proxy::budget::Budget;
use crate::proxy::signing::Signing;
use crate::proxy::{Account, ProxyState};
use crate::upstream::ApiHost;
use crate::upstream::tls::Trust;

/// What workers serve by.
pub(super) fn state(
    config: &Config,
    accounts: Vec<Account>,
    budget: &Arc<Budget>,
    metrics: &Metrics,
) -> ProxyState {
    let mut state = ProxyState::new(
        accounts,
        config.callers.clone(),
        config.limits.clone(),
        Arc::clone(budget),
        config.access_log,
        metrics,
    );
    state.strip.clone_from(&config.upstream.strip);
    state
}

/// What the admin listener shows.
pub(super) fn in_force(
    config: &Config,
    accounts: &[Account],
    hosts: &[Arc<ApiHost>],
    listening: &[Listening],
    tokens: &Tokens,
    settings: Vec<serde_json::Value>,
) -> InForce {
    let token_apis = config.accounts.iter().map(config::Account::token_api);
    let accounts = accounts.iter().zip(hosts).zip(token_apis);
    InForce {
        accounts: accounts.map(|((one, host), token_api)| account(one, host, token_api)).collect(),
        egress_ip: config.upstream.egress_ip,
        listening: listening.iter().map(ToString::to_string).collect(),
        shared_store: tokens.link().cloned(),
        store_counts: Arc::clone(tokens.store_counts()),
        callers_need_key: config.callers.iter().any(|caller| !caller.keys.is_empty()),
        callers_need_certificate: config.tls.as_ref().is_some_and(|tls| tls.pem.client_ca.is_some()),
        settings,
    }
}

fn account(account: &Account, host: &Arc<ApiHost>, token_api: &'static str) -> sources::Account {
    let certificate = |(number, expires_at)| PlatformCertificate { number, expires_at };
    sources::Account {
        name: Arc::clone(&account.name),
        product: account.product,
        appid: account.token.as_ref().map(|token| token.appid.clone()),
        token_api,
        token: account.token.as_ref().map(|token| token.reader.clone()),
        tickets: account.token.as_ref().map(|token| token.tickets.clone()).unwrap_or_default(),
        certificates: account.signing.iter().flat_map(Signing::certificates).map(certificate).collect(),
        host: Arc::clone(host),
        prefix: account.rules.prefix.clone(),
        host_name: account.rules.hosts.first().cloned(),
        paths: account.rules.paths.clone(),
    }
}

/// Settings as JSON.
pub(super) fn values(settings: &[Setting]) -> Vec<serde_json::Value> {
    settings.iter().filter_map(|setting| serde_json::to_value(setting).ok()).collect()
}

/// What messages to robots go out by.
pub(super) fn sender(config: &Config, trust: &Trust) -> Sender {
    let (egress, proxy) = (config.upstream.egress_ip, config.upstream.proxy.clone());
    Sender { trust: trust.clone(), egress, proxy }
}
