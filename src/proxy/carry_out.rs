//! Carries an action out: the rest of a request's life, once its account, its caller and its body are known. Ordinary
//! calls of callers do not come by here (`mod.rs`), those of the console do.

use std::net::IpAddr;
use std::sync::Arc;

use http::Response;

use super::answer::{AnswerBody, own};
use super::buffer::Buffered;
use super::central::{self, Recipient};
use super::inject::{Call, Head};
use super::refusal::Refusal;
use super::retry::marked;
use super::route::{Action, LocalAnswer};
use super::send::token_of;
use super::settings::Caller;
use super::state::{Account, OwnToken};
use super::tally::Tally;
use super::{Proxy, ticket, token_answer};
use crate::secret::Secret;
use crate::upstream::Upstream;

/// A request that may be made.
pub(super) struct Granted<'r> {
    pub(super) account: &'r Account,
    pub(super) upstream: &'r Upstream,
    pub(super) action: Action,
    pub(super) head: Head<'r>,
    /// Without the account's prefix.
    pub(super) path: &'r str,
    pub(super) query: Option<&'r str>,
    pub(super) body: Buffered,
    /// The caller, and its address, where it is one that gets the real token.
    pub(super) trusted: Option<(&'r Caller, IpAddr)>,
}

impl Proxy {
    /// Does what the table of the account's paths says.
    pub(super) async fn carry_out(
        &self,
        granted: Granted<'_>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let Granted { account, upstream, action, head, path, query, body, trusted } = granted;
        let target = (path, query);
        match (action, &account.token) {
            // Where wxgate keeps no token, there is nothing to put in.
            (Action::PassThrough, _) | (_, None) => {
                let mut call = Call::new(head, target, body, upstream);
                Ok(self.attempt(&mut call, None, stats).await?.answer)
            }
            (Action::AnswerLocally(local), Some(own)) => {
                self.answer_token_call(local, &head, query, &body, own, trusted, stats).await
            }
            (Action::PutSecret(entry), Some(own)) => {
                let entry = &account.rules.secret_paths[entry];
                self.with_secret((own, entry), head, target, body, upstream, stats).await
            }
            (Action::Sign(what), Some(own)) => {
                ticket::sign(what, head.method, query, (account.product, own), stats).await
            }
            (Action::Ticket(entry), Some(own)) => {
                let mut call = Call::new(head, target, body, upstream);
                self.with_ticket((account, own), entry, &mut call, stats).await
            }
            (Action::InjectAndClean, Some(own)) => {
                let mut call = Call::new(head, target, body, upstream);
                self.with_clean_answer(own, &mut call, stats).await
            }
            (Action::InjectAndSeal { reveals }, Some(own)) => match &account.signing {
                Some(signing) => {
                    let whose = (account, own, signing);
                    self.with_seal(whose, reveals, head, target, body, upstream, stats).await
                }
                // There is no such action without keys.
                None => Err(Refusal::Unsigned),
            },
            (Action::Inject | Action::InjectUnlessForeign, Some(own)) => {
                let mut call = Call::new(head, target, body, upstream);
                self.with_token(own, &mut call, stats).await
            }
        }
    }

    /// The answer to a caller that asks for a token; `trusted` is one that gets the real one, and its address.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn answer_token_call(
        &self,
        local: LocalAnswer,
        head: &Head<'_>,
        query: Option<&str>,
        body: &Buffered,
        own: &OwnToken,
        trusted: Option<(&Caller, IpAddr)>,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let body = body.concat();
        let objection = token_answer::objection(local, head.method, &head.headers, query, &body, &own.appid);
        if let Some((errcode, errmsg)) = objection {
            stats.errcode = Some(errcode);
            return Ok(own::wechat_error(local.product(), errcode, errmsg));
        }
        let Some((caller, peer)) = trusted else { return Ok(own::placeholder(local)) };
        let recipient =
            Recipient { caller: Arc::clone(&caller.name), peer, appid: own.appid.as_str().into() };
        let mut token = token_of(own).await?;
        let mut mark = None;
        if token_answer::forces_refresh(local, &body) {
            // Who says which token is dead knows it better than what is remembered of its address.
            let dead = match token_answer::names_dead(&body).map(Secret::new) {
                Some(named) => named == token.value,
                None => self.state.handed.to(&recipient) == Some(token.generation),
            };
            if dead {
                (token, mark) = central::refreshed(own, token).await;
            }
        }
        self.state.handed.note(recipient, token.generation);
        let response = own::real_token(local, &token);
        Ok(match mark {
            Some(mark) => marked(response, mark, stats),
            None => response,
        })
    }
}
