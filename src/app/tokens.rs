//! The token tasks of all accounts, and what becomes of them when the configuration is read again.
//!
//! A task whose account has not changed goes on; its readers, and so the requests in flight, notice nothing.
//! Knows nothing of sockets and workers.

use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};

use super::StartError;
use crate::config::{self, Config, TokenApi};
use crate::credential::{self, CredentialId, Issuer, Reader, Store, Task, TaskSpec};
use crate::proxy::Account;
use crate::proxy::route::{Rules, WEIXIN};
use crate::secret::Secret;
use crate::upstream::ApiHost;

/// All token tasks.
#[derive(Default)]
pub(super) struct Tokens(Vec<Running>);

/// One account's task and what it was started with.
struct Running {
    inputs: TaskInputs,
    task: Task,
    reader: Reader,
}

/// Everything that a token task depends on; with the same inputs a task can go on.
#[derive(PartialEq)]
struct TaskInputs {
    name: String,
    appid: String,
    secret: Secret,
    token_api: TokenApi,
    state_dir: std::path::PathBuf,
    host: Arc<ApiHost>,
}

impl TaskInputs {
    fn all(config: &Config, hosts: &[Arc<ApiHost>]) -> Vec<Self> {
        let inputs = |(account, host): (&config::Account, &Arc<ApiHost>)| Self {
            name: account.name.clone(),
            appid: account.appid.clone(),
            secret: account.secret.clone(),
            token_api: account.token_api,
            state_dir: config.state_dir.clone(),
            host: Arc::clone(host),
        };
        config.accounts.iter().zip(hosts).map(inputs).collect()
    }

    fn issuer(&self) -> Result<Issuer, StartError> {
        Issuer::new(&self.host, &self.appid, self.secret.clone()).map_err(StartError::because)
    }

    /// On another thread: this one runs all token tasks, and the lock of a state file may be some seconds away.
    async fn store(&self) -> Result<Store, StartError> {
        let (dir, appid, api) = (self.state_dir.clone(), self.appid.clone(), self.token_api);
        let upstream = self.host.endpoint().base.to_string();
        let opened = spawn_blocking(move || Store::open(&dir, &appid, &upstream, api)).await;
        opened.map_err(StartError::because)?.map_err(StartError::because)
    }

    fn start(self, issuer: Issuer, store: Store) -> Running {
        let spec = TaskSpec {
            id: CredentialId::access_token(&self.name),
            appid: self.appid.clone(),
            token_api: self.token_api,
        };
        let (reader, task) = credential::spawn(spec, issuer, Arc::new(store));
        Running { inputs: self, task, reader }
    }
}

impl Tokens {
    /// Starts, keeps and ends tasks until they are those of the configuration; `hosts` has the API host of each
    /// account. Returns what requests need of each account, in the order of the configuration.
    ///
    /// # Errors
    /// When a state file cannot be opened. Then nothing has changed, except where an account was to be
    /// started anew in place: its task has ended, and its requests go on with its last token.
    pub(super) async fn apply(
        &mut self,
        config: &Config,
        hosts: &[Arc<ApiHost>],
    ) -> Result<Vec<Account>, StartError> {
        // First everything that may fail and touches nobody.
        let mut fresh = Vec::new();
        for inputs in TaskInputs::all(config, hosts) {
            if self.0.iter().any(|running| running.inputs == inputs) {
                continue;
            }
            let issuer = inputs.issuer()?;
            let in_use = self.0.iter().any(|running| running.inputs.appid == inputs.appid);
            // A state file that is in use is opened when its task has ended and stored its state.
            let store = if in_use { None } else { Some(inputs.store().await?) };
            fresh.push((inputs, issuer, store));
        }
        let wanted = TaskInputs::all(config, hosts);
        let (kept, ended): (Vec<_>, Vec<_>) =
            self.0.drain(..).partition(|running| wanted.contains(&running.inputs));
        self.0 = kept;
        shut_down(ended).await;
        for (inputs, issuer, store) in fresh {
            let store = match store {
                Some(store) => store,
                None => inputs.store().await?,
            };
            self.0.push(inputs.start(issuer, store));
        }
        Ok(config.accounts.iter().filter_map(|account| self.account(account)).collect())
    }

    fn account(&self, account: &config::Account) -> Option<Account> {
        let running = self.0.iter().find(|running| running.inputs.appid == account.appid)?;
        Some(Account {
            name: account.name.as_str().into(),
            appid: account.appid.clone(),
            rules: Rules {
                hosts: account.hosts.clone(),
                prefix: account.prefix.clone(),
                paths: account.paths.clone(),
                untouched: account.untouched.clone(),
                table: &WEIXIN,
            },
            refresh_on: account.refresh_on.clone(),
            token: running.reader.clone(),
        })
    }

    /// Ends all tasks; each stores its state first.
    pub(super) async fn end(self) {
        shut_down(self.0).await;
    }
}

/// Each gives itself a few seconds at most, and all of them the same ones.
async fn shut_down(ended: Vec<Running>) {
    let ending: JoinSet<()> = ended.into_iter().map(|running| running.task.shutdown()).collect();
    ending.join_all().await;
}
