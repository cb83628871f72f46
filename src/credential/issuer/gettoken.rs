//! `GET /cgi-bin/gettoken` of WeCom: the same token until it ends, then another.

use zeroize::Zeroizing;

use super::{Issuer, IssuerClient};
use crate::credential::types::{FetchAnswer, FetchMode};
use crate::http1::percent;
use crate::store::Pending;

/// One application's tokens by this call, which knows no forced mode.
#[derive(Debug)]
struct GetToken(IssuerClient);

/// The issuer of one account.
pub fn issuer(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(GetToken(client))
}

impl Issuer for GetToken {
    fn fetch(&self, _: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async {
            let IssuerClient { appid: corpid, secret, .. } = &self.0;
            let room = 3 * (corpid.len() + secret.expose().len()) + 64;
            let mut call = Zeroizing::new(String::with_capacity(room));
            call.push_str("/cgi-bin/gettoken?corpid=");
            percent::encode(corpid, &mut call);
            call.push_str("&corpsecret=");
            percent::encode(secret.expose(), &mut call);
            self.0.get(&call).await
        })
    }
}
