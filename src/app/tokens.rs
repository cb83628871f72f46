//! The token tasks of all accounts, and what becomes of them when the configuration is read again.
//!
//! A task whose account has not changed goes on; its readers, and so the requests in flight, notice nothing.
//! Knows nothing of sockets and workers.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use super::StartError;
use crate::config::{self, Config};
use crate::credential::{
    self, CredentialId, CredentialKind, IssuerClient, Policy, Reader, StoreCounts, Task, TaskSpec, policy,
};
use crate::proxy::route::{Rules, table_of};
use crate::proxy::signing::Signing;
use crate::proxy::{Account, OwnToken};
use crate::secret::Secret;
use crate::store::file::FileStore;
use crate::store::redis::{Link, RedisSettings, RedisStore};
use crate::store::{Store, StoreKey, StoredState};
use crate::upstream::ApiHost;

/// All token tasks.
#[derive(Default)]
pub(super) struct Tokens {
    running: Vec<Running>,
    /// The way to the store that several wxgate share, where there is one.
    link: Option<Arc<Link>>,
    /// Of all accounts, those that have gone too.
    store_counts: Arc<StoreCounts>,
}

/// Where one account's state is.
enum Opened {
    File(Arc<FileStore>),
    Redis(Arc<RedisStore>),
}

impl Opened {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::File(store) => store.clone(),
            Self::Redis(store) => store.clone(),
        }
    }
}

/// One account's task and what it was started with.
struct Running {
    inputs: TaskInputs,
    store: Opened,
    task: Task,
    reader: Reader,
}

/// Everything that a token task depends on; with the same inputs a task can go on.
struct TaskInputs {
    id: CredentialId,
    appid: String,
    secret: Secret,
    policy: &'static Policy,
    /// How the token is issued that a ticket is asked for with.
    needs: Option<&'static str>,
    store: config::Store,
    state_dir: PathBuf,
    host: Arc<ApiHost>,
}

impl PartialEq for TaskInputs {
    fn eq(&self, other: &Self) -> bool {
        // There is one policy of each name.
        let Self { id, appid, secret, policy, needs, store, state_dir, host } = self;
        (id, appid, secret, policy.name) == (&other.id, &other.appid, &other.secret, other.policy.name)
            && (needs, store) == (&other.needs, &other.store)
            && (state_dir, host) == (&other.state_dir, &other.host)
    }
}

impl TaskInputs {
    /// Those of all tokens, then those of tickets, which need them.
    fn all(config: &Config, hosts: &[Arc<ApiHost>]) -> Vec<Self> {
        let inputs = |account: &config::Account, host: &Arc<ApiHost>, policy: &'static Policy| {
            let app = account.app.as_ref()?;
            Some(Self {
                id: CredentialId { account: account.name.as_str().into(), kind: policy.kind },
                appid: app.appid.clone(),
                secret: app.secret.clone(),
                policy,
                needs: policy.needs.and(account.policy()).map(|token| token.name),
                store: config.store.clone(),
                state_dir: config.state_dir.clone(),
                host: Arc::clone(host),
            })
        };
        let accounts = || config.accounts.iter().zip(hosts);
        let tokens = accounts().filter_map(|(account, host)| inputs(account, host, account.policy()?));
        let tickets = accounts().flat_map(|(account, host)| {
            tickets(account).filter_map(move |policy| inputs(account, host, policy))
        });
        tokens.chain(tickets).collect()
    }

    fn client(&self) -> IssuerClient {
        IssuerClient::new(&self.host, &self.appid, self.secret.clone())
    }

    fn key(&self) -> StoreKey {
        self.policy.store_key(&self.id.account, &self.appid, &self.host.endpoint().base)
    }

    fn start(
        self,
        client: IssuerClient,
        store: Opened,
        store_counts: Arc<StoreCounts>,
        inherited: Option<StoredState>,
    ) -> Running {
        // Replicas that share nothing have a part of the limit each.
        let limit = self.policy.limit.divided_by(self.store.divided_by());
        let spec = TaskSpec {
            id: self.id.clone(),
            appid: self.appid.clone(),
            policy: self.policy,
            limit,
            turn: fastrand::f64(),
            store_counts,
        };
        let issuer = Arc::from((self.policy.issuer)(client));
        let (reader, task) = credential::spawn(spec, issuer, store.store(), inherited);
        Running { inputs: self, store, task, reader }
    }
}

impl Tokens {
    /// Starts, keeps and ends tasks until they are those of the configuration; `hosts` has the API host of each
    /// account. Returns what requests need of each account, in the order of the configuration.
    ///
    /// # Errors
    /// When a state file cannot be opened. Then nothing has changed.
    pub(super) async fn apply(
        &mut self,
        config: &Config,
        hosts: &[Arc<ApiHost>],
    ) -> Result<Vec<Account>, StartError> {
        let link = match &config.store {
            config::Store::File { .. } => None,
            config::Store::Redis(settings) => {
                let same = self.link.as_ref().filter(|link| *link.settings() == **settings);
                Some(same.cloned().unwrap_or_else(|| Link::open(RedisSettings::clone(settings))))
            }
        };
        // First everything that may fail and touches nobody.
        let mut fresh = TaskInputs::all(config, hosts);
        let keep: Vec<bool> = self.running.iter().map(|running| fresh.contains(&running.inputs)).collect();
        fresh.retain(|inputs| self.running.iter().all(|running| running.inputs != *inputs));
        // All together: a folder's disk takes many writes in the time of one.
        let stores = try_join_all(fresh.iter().map(|inputs| self.store(inputs, link.as_ref()))).await?;
        let fresh: Vec<_> = fresh.into_iter().zip(stores).collect();
        // From here on nothing fails: an account whose task has ended gets its new one.
        let mut keep = keep.into_iter();
        let (kept, ended) = self.running.drain(..).partition(|_| keep.next() == Some(true));
        self.running = kept;
        let left = shut_down(ended).await.into_iter().map(|(inputs, state)| (inputs.key(), state));
        let mut left: Vec<_> = left.collect();
        for (inputs, store) in fresh {
            let key = inputs.key();
            let same = left.iter().position(|(before, _)| *before == key);
            let inherited = same.and_then(|at| left.swap_remove(at).1);
            let token = inputs.policy.needs.and_then(|kind| self.reader(&inputs.id.account, kind));
            let client = match token {
                Some(token) => inputs.client().with_token(token),
                None => inputs.client(),
            };
            self.running.push(inputs.start(client, store, Arc::clone(&self.store_counts), inherited));
        }
        self.link = link;
        Ok(config.accounts.iter().map(|account| self.account(account)).collect())
    }

    /// What came of the operations on all stores.
    pub(super) fn store_counts(&self) -> &Arc<StoreCounts> {
        &self.store_counts
    }

    /// The way to the shared store.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    /// The state of an account: in the shared store, or in a file, under the lock of the task that it replaces, where
    /// that has the same file.
    async fn store(&self, inputs: &TaskInputs, link: Option<&Arc<Link>>) -> Result<Opened, StartError> {
        if let Some(link) = link {
            let store = RedisStore::new(link, &inputs.id.account, inputs.key(), &inputs.secret);
            let store = store.ok_or_else(|| StartError::because("the system gives no random numbers"))?;
            return Ok(Opened::Redis(Arc::new(store)));
        }
        let same = |running: &&Running| {
            (&running.inputs.appid, &running.inputs.state_dir) == (&inputs.appid, &inputs.state_dir)
        };
        let mut before = self.running.iter().filter(same);
        let rekeyed = before.find_map(|running| match &running.store {
            Opened::File(file) => file.rekeyed(inputs.key()),
            Opened::Redis(_) => None,
        });
        if let Some(store) = rekeyed {
            return Ok(Opened::File(Arc::new(store)));
        }
        let store = FileStore::open(&inputs.state_dir, inputs.key()).await.map_err(StartError::because)?;
        Ok(Opened::File(Arc::new(store)))
    }

    fn account(&self, account: &config::Account) -> Account {
        let reader = self.reader(&account.name, CredentialKind::AccessToken);
        let token = account.app.as_ref().zip(reader).map(|(app, reader)| OwnToken {
            appid: app.appid.clone(),
            secret: app.secret.clone(),
            refresh_on: account.refresh_on.clone(),
            reader,
            tickets: tickets(account).filter_map(|p| self.reader(&account.name, p.kind)).collect(),
        });
        Account {
            name: account.name.as_str().into(),
            product: account.kind,
            rules: Rules {
                hosts: account.hosts.clone(),
                prefix: account.prefix.clone(),
                paths: account.paths.clone(),
                untouched: account.untouched.clone(),
                secret_paths: account.secret_paths.clone(),
                tickets: account.tickets,
                sealed: account.signing.as_ref().map(|keys| keys.paths.clone()).unwrap_or_default(),
                table: table_of(account.kind, token.is_some()),
            },
            token,
            signing: account.signing.clone().map(Signing::new),
        }
    }

    fn reader(&self, account: &str, kind: CredentialKind) -> Option<Reader> {
        let of =
            |running: &&Running| *running.inputs.id.account == *account && running.inputs.id.kind == kind;
        self.running.iter().find(of).map(|running| running.reader.clone())
    }

    /// Ends all tasks; each stores its state first.
    pub(super) async fn end(self) {
        shut_down(self.running).await;
    }
}

/// The tickets that the account asks for.
fn tickets(account: &config::Account) -> impl Iterator<Item = &'static Policy> {
    policy::tickets(account.kind).iter().copied().filter(|_| account.tickets)
}

/// Each gives itself a few seconds at most, and all of them the same ones. The last state of each is returned.
async fn shut_down(ended: Vec<Running>) -> Vec<(TaskInputs, Option<StoredState>)> {
    let ending: JoinSet<_> = ended
        .into_iter()
        .map(|Running { inputs, task, .. }| async move { (inputs, task.shutdown().await) })
        .collect();
    ending.join_all().await
}
