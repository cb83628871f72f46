//! `GET /cgi-bin/ticket/getticket`, and WeCom's two calls: a ticket, asked for with the account's token.
//!
//! A token that is refused here is replaced as it is for any call: by its own task, within its limits, and not while
//! other calls show that it is good. Whoever waits for the ticket waits for that too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Issuer, IssuerClient};
use crate::credential::Reader;
use crate::credential::resend::{Next, Obstacle, RefusedCall, TokenVerdict};
use crate::credential::types::{Absent, Credential, FetchAnswer, FetchMode};
use crate::store::Pending;

/// How long a ticket waits for the first token of its account.
const TOKEN_WAIT: Duration = Duration::from_secs(5);

/// A call that issues tickets.
#[derive(Debug)]
struct TicketCall {
    path: &'static str,
    /// Behind the token.
    query: &'static str,
    /// The errcodes that speak of the token.
    token_refused: &'static [i64],
}

static JSAPI: TicketCall = TicketCall {
    path: "/cgi-bin/ticket/getticket",
    query: "&type=jsapi",
    token_refused: &[40001, 40014, 42001],
};

static CARD: TicketCall = TicketCall { query: "&type=wx_card", ..JSAPI };

static COMPANY: TicketCall =
    TicketCall { path: "/cgi-bin/get_jsapi_ticket", query: "", token_refused: &[40014, 42001] };

static AGENT: TicketCall = TicketCall { path: "/cgi-bin/ticket/get", query: "&type=agent_config", ..COMPANY };

/// One account's tickets of one kind.
#[derive(Debug)]
struct Ticket {
    client: IssuerClient,
    call: &'static TicketCall,
}

/// The issuer of one account's tickets for `wx.config`.
pub fn jsapi(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(Ticket { client, call: &JSAPI })
}

/// The issuer of one account's tickets for cards.
pub fn card(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(Ticket { client, call: &CARD })
}

/// The issuer of a company's tickets for `wx.config`.
pub fn company(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(Ticket { client, call: &COMPANY })
}

/// The issuer of an application's tickets for `wx.agentConfig`.
pub fn agent(client: IssuerClient) -> Box<dyn Issuer> {
    Box::new(Ticket { client, call: &AGENT })
}

impl Issuer for Ticket {
    fn fetch(&self, _: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async {
            let unsent = |what: String| FetchAnswer::Unsent { what };
            let Some(reader) = &self.client.token else {
                return unsent("there is no token to ask with (a fault in wxgate)".to_owned());
            };
            match reader.first(TOKEN_WAIT).await {
                Ok(token) => self.ask(reader, token).await,
                Err(Absent::Waiting) => unsent("there is no access_token yet to ask with".to_owned()),
                Err(Absent::Passing { what }) => {
                    unsent(format!("there is no access_token to ask with: {what}"))
                }
                Err(Absent::Refused { errcode, errmsg }) => {
                    unsent(format!("there is no access_token to ask with: {errcode} {errmsg}"))
                }
            }
        })
    }
}

impl Ticket {
    async fn ask(&self, reader: &Reader, token: Arc<Credential>) -> FetchAnswer {
        let (mut answer, sent) = self.send(&token).await;
        let verdict = self.verdict(reader, &answer);
        let Some(mut refused) = RefusedCall::after(verdict, reader, self.call.path, token, sent) else {
            return answer;
        };
        loop {
            match (refused.next().await, &answer) {
                (Next::Send(sending), _) => {
                    let sent;
                    (answer, sent) = self.send(&sending.token).await;
                    refused.was_sent(sending, sent, self.verdict(reader, &answer));
                }
                // Nobody refuses a ticket: there is no token to ask with.
                (Next::Give(Some(Obstacle::Failed)), FetchAnswer::Refused { errcode, .. }) => {
                    return FetchAnswer::Passing {
                        what: format!(
                            "the access_token is refused ({errcode}), and there is no newer one yet"
                        ),
                    };
                }
                (Next::Give(_), _) => return answer,
            }
        }
    }

    fn verdict(&self, reader: &Reader, answer: &FetchAnswer) -> TokenVerdict {
        match answer {
            FetchAnswer::Issued { .. } => TokenVerdict::Accepted,
            FetchAnswer::Refused { errcode, .. } if self.call.token_refused.contains(errcode) => {
                TokenVerdict::Refused { proof: !reader.policy().doubtful.contains(errcode) }
            }
            _ => TokenVerdict::Silent,
        }
    }

    /// The answer, and when the call was sent.
    async fn send(&self, token: &Credential) -> (FetchAnswer, Instant) {
        let TicketCall { path, query, .. } = self.call;
        let encoded = token.encoded.expose();
        let mut call = Zeroizing::new(String::with_capacity(path.len() + query.len() + encoded.len() + 16));
        for part in [path, "?access_token=", encoded, query] {
            call.push_str(part);
        }
        let _in_flight = token.sending();
        let sent = Instant::now();
        (self.client.get_ticket(&call, &token.value).await, sent)
    }
}
