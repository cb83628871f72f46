//! `POST /cgi-bin/stable_token`: the same token again in its normal mode, another one with `force_refresh`.

use super::{Issuer, IssuerClient};
use crate::credential::types::{FetchAnswer, FetchMode};
use crate::store::Pending;

/// One account's tokens by this call.
#[derive(Debug)]
struct StableToken(IssuerClient);

/// The issuer of one account.
pub fn issuer(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(StableToken(client))
}

#[derive(serde::Serialize)]
struct Ask<'a> {
    grant_type: &'a str,
    appid: &'a str,
    secret: &'a str,
    force_refresh: bool,
}

impl Issuer for StableToken {
    fn fetch(&self, mode: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async move {
            let IssuerClient { appid, secret, .. } = &self.0;
            let ask = Ask {
                grant_type: "client_credential",
                appid,
                secret: secret.expose(),
                force_refresh: mode == FetchMode::Forced,
            };
            self.0.post("/cgi-bin/stable_token", &ask).await
        })
    }
}
