//! `GET /cgi-bin/token`: each call issues another token.

use zeroize::Zeroizing;

use super::{Issuer, IssuerClient};
use crate::credential::types::{FetchAnswer, FetchMode};
use crate::http1::percent;
use crate::store::Pending;

/// One account's tokens by this call, whose two modes are the same.
#[derive(Debug)]
struct Token(IssuerClient);

/// The issuer of one account.
pub fn issuer(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(Token(client))
}

impl Issuer for Token {
    fn fetch(&self, _: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async {
            let IssuerClient { appid, secret, .. } = &self.0;
            let room = 3 * (appid.len() + secret.expose().len()) + 96;
            let mut call = Zeroizing::new(String::with_capacity(room));
            call.push_str("/cgi-bin/token?grant_type=client_credential&appid=");
            percent::encode(appid, &mut call);
            call.push_str("&secret=");
            percent::encode(secret.expose(), &mut call);
            self.0.get(&call).await
        })
    }
}
