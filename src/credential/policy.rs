//! What distinguishes one kind of credential from another: data, no trait. The lifecycle serves all of them by it.
//!
//! A new kind is an entry here and an issuer's file. What an entry means is carried out elsewhere.

use std::time::Duration;

use super::issuer::{self, Issuer, IssuerClient};
use super::types::CredentialKind;
use crate::errcodes::Product;
use crate::store::StoreKey;
use crate::upstream::BaseUrl;

/// The ways in which the configuration can have an access token issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenApi {
    /// `GET /cgi-bin/token`.
    Token,
    /// `POST /cgi-bin/stable_token`.
    StableToken,
}

impl TokenApi {
    /// The word in the configuration and in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::StableToken => "stable_token",
        }
    }
}

/// How one kind of credential lives, and how one call issues it.
#[derive(Debug)]
pub struct Policy {
    /// The kind.
    pub kind: CredentialKind,
    /// Whose errcodes its issuer gets.
    pub product: Product,
    /// What configuration, logs and pages call the way in which it is issued.
    pub name: &'static str,
    /// Makes the issuer of one account.
    pub issuer: fn(IssuerClient) -> Box<dyn Issuer>,
    /// Several accounts may have the same appid, each with an application and a credential of its own.
    pub apps_share_appid: bool,
    /// The credential that a fetch needs first; fetches wait for it.
    pub needs: Option<CredentialKind>,
    /// A new one is fetched so long before the end …
    pub ahead: Duration,
    /// … but a life shorter than this many times `ahead` is used up to all but that part of it.
    pub ahead_part: u32,
    /// So long the previous one goes on working after a fetch in normal mode.
    pub overlap: Duration,
    /// A refusal with one of these errcodes proves nothing by itself: nodes that lag behind answer so too.
    pub doubtful: &'static [i64],
    /// Whether a refused credential can be replaced, and by what.
    pub force: Force,
    /// What limits the fetches that refusals cause.
    pub limit: Limit,
    /// Asked for when somebody wants it, and again after so long, never by itself; `None`: kept valid at all times.
    pub on_demand: Option<Duration>,
    /// Fetches a day that the upstream allows; `None` where the number means nothing in practice.
    pub daily_quota: Option<u32>,
}

impl Policy {
    /// Whose state is stored under this policy.
    pub fn store_key(&self, account: &str, appid: &str, upstream: &BaseUrl) -> StoreKey {
        StoreKey {
            // Names of accounts hold no `_`.
            appid: if self.apps_share_appid { format!("{appid}_{account}") } else { appid.to_owned() },
            kind: self.kind.as_str(),
            upstream: upstream.to_string(),
            issued_by: self.name,
        }
    }
}

/// What replaces a refused credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Nothing but its end: until then a fetch may hand out the refused one again.
    Never,
    /// Each fetch issues a new one.
    EachFetch,
    /// A fetch in forced mode, where the normal mode hands back the refused one.
    AfterNormal,
}

/// The limit on fetches that refusals cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A bucket: so many at once, one more after each `refill`.
    Bucket {
        /// How many it holds.
        size: u32,
        /// How long one takes to come back.
        refill: Duration,
        /// How many of them paths without an accepted call may take together.
        unknown_paths: u32,
    },
    /// So many fetches in forced mode in any 24 hours; those in normal mode are free.
    Daily {
        /// How many.
        count: usize,
        /// No two of them are closer together.
        apart: Duration,
        /// How many of them paths without an accepted call may cause together.
        unknown_paths: usize,
    },
}

impl Limit {
    /// The part of one of several replicas that share nothing: of what the upstream counts by the day, rounded down,
    /// at least one. A bucket has room enough for two.
    pub fn divided_by(self, replicas: usize) -> Self {
        let part = |count: usize| (count / replicas.max(1)).max(1);
        match self {
            Self::Bucket { .. } => self,
            Self::Daily { count, apart, unknown_paths } => {
                Self::Daily { count: part(count), apart, unknown_paths: part(unknown_paths) }
            }
        }
    }
}

/// `GET /cgi-bin/token`: each call ends the token before, after an overlap of five minutes.
pub static TOKEN: Policy = Policy {
    kind: CredentialKind::AccessToken,
    product: Product::Weixin,
    name: "token",
    issuer: issuer::token::issuer,
    apps_share_appid: false,
    needs: None,
    ahead: Duration::from_secs(300),
    ahead_part: 5,
    overlap: Duration::from_secs(300),
    doubtful: &[40001, 40014],
    force: Force::EachFetch,
    limit: Limit::Bucket { size: 10, refill: Duration::from_secs(60), unknown_paths: 3 },
    on_demand: None,
    daily_quota: Some(2000),
};

/// `POST /cgi-bin/stable_token`: its normal mode ends no one's token.
pub static STABLE_TOKEN: Policy = Policy {
    name: "stable_token",
    issuer: issuer::stable::issuer,
    force: Force::AfterNormal,
    // WeChat allows 20 a day, and refreshes nothing within 30 s of the last one.
    limit: Limit::Daily { count: 18, apart: Duration::from_secs(30), unknown_paths: 6 },
    // The 500,000 of its normal mode are out of reach.
    daily_quota: None,
    ..TOKEN
};

/// `GET /cgi-bin/gettoken` of WeCom: the same token until it ends, and there is no way to ask for another one. Each
/// application of a company has a token of its own.
pub static GETTOKEN: Policy = Policy {
    product: Product::Wecom,
    name: "gettoken",
    issuer: issuer::gettoken::issuer,
    apps_share_appid: true,
    // A new token is issued when the one before it has ended, and hardly sooner.
    ahead: Duration::from_secs(60),
    overlap: Duration::ZERO,
    doubtful: &[],
    force: Force::Never,
    // WeCom blocks for an hour after 2,000 refused fetches in one hour; this allows 390.
    limit: Limit::Bucket { size: 30, refill: Duration::from_secs(10), unknown_paths: 10 },
    daily_quota: None,
    ..TOKEN
};

/// `GET /cgi-bin/ticket/getticket?type=jsapi`. Each answer says 7200 s, whatever is left (users' reports, 2020 to 2025;
/// the real life is not published), so it is asked again long before. Nothing replaces one that a page finds refused:
/// nobody here hears of it.
pub static JSAPI_TICKET: Policy = Policy {
    kind: CredentialKind::JsapiTicket,
    name: "getticket",
    issuer: issuer::ticket::jsapi,
    needs: Some(CredentialKind::AccessToken),
    overlap: Duration::ZERO,
    doubtful: &[],
    on_demand: Some(Duration::from_secs(300)),
    daily_quota: None,
    ..TOKEN
};

/// The same with `type=wx_card`.
pub static CARD_TICKET: Policy =
    Policy { kind: CredentialKind::CardTicket, issuer: issuer::ticket::card, ..JSAPI_TICKET };

/// `GET /cgi-bin/get_jsapi_ticket` of WeCom: the company's. WeCom allows 400 an hour for a company, 100 for an
/// application.
pub static COMPANY_TICKET: Policy = Policy {
    product: Product::Wecom,
    name: "get_jsapi_ticket",
    issuer: issuer::ticket::company,
    apps_share_appid: true,
    ..JSAPI_TICKET
};

/// `GET /cgi-bin/ticket/get?type=agent_config` of WeCom: the application's.
pub static AGENT_TICKET: Policy = Policy {
    kind: CredentialKind::AgentTicket,
    name: "ticket/get",
    issuer: issuer::ticket::agent,
    ..COMPANY_TICKET
};

/// The tickets of a product.
pub fn tickets(product: Product) -> &'static [&'static Policy] {
    static WEIXIN: [&Policy; 2] = [&JSAPI_TICKET, &CARD_TICKET];
    static WECOM: [&Policy; 2] = [&COMPANY_TICKET, &AGENT_TICKET];
    match product {
        Product::Weixin => &WEIXIN,
        Product::Wecom => &WECOM,
    }
}

/// The policy that a configuration asks for.
pub fn of(product: Product, api: TokenApi) -> &'static Policy {
    match (product, api) {
        (Product::Wecom, _) => &GETTOKEN,
        (Product::Weixin, TokenApi::Token) => &TOKEN,
        (Product::Weixin, TokenApi::StableToken) => &STABLE_TOKEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forced_refreshes_of_a_day_are_divided_rounded_down_and_one_at_least() {
        for (replicas, count, unknown) in
            [(0, 18, 6), (1, 18, 6), (2, 9, 3), (4, 4, 1), (5, 3, 1), (18, 1, 1), (1000, 1, 1)]
        {
            let apart = Duration::from_secs(30);
            let part = Limit::Daily { count, apart, unknown_paths: unknown };
            assert_eq!(STABLE_TOKEN.limit.divided_by(replicas), part, "{replicas}");
        }
        assert_eq!(TOKEN.limit.divided_by(2), TOKEN.limit);
    }
}
