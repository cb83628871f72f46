//! `GET /cgi-bin/ticket/getticket`, and WeCom's two calls: a ticket, asked for with the account's token.
//!
//! A token that is refused here is replaced as it is for any call: by its own task, within its limits, and not while
//! other calls show that it is good. Whoever waits for the ticket waits for that too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use zeroize::Zeroizing;

use super::{Issuer, IssuerClient};
use crate::credential::Reader;
use crate::credential::types::{Absent, Credential, FetchAnswer, FetchMode, Renewal};
use crate::store::Pending;

/// How long a ticket waits for a token, where there is none yet or a new one is fetched.
const TOKEN_WAIT: Duration = Duration::from_secs(5);
/// Before a call is sent once more with a token that may be good all the same.
const PAUSE: Duration = Duration::from_millis(300);
/// So long after its issue some nodes do not know a token; and before the last sending with one that others show to be
/// good.
const LAG: Duration = Duration::from_secs(1);
/// So long the answers of other calls are waited for.
const OBSERVED: Duration = Duration::from_millis(100);
/// Of one call, all in all.
const MOST_SENDINGS: u32 = 3;

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
    async fn ask(&self, reader: &Reader, mut token: Arc<Credential>) -> FetchAnswer {
        let (path, began) = (self.call.path, Instant::now());
        let mut pauses = 0;
        let mut known_good = false;
        let mut sendings = 0;
        loop {
            sendings += 1;
            let sent = std::time::Instant::now();
            let answer = {
                let _in_flight = token.sending();
                self.send(&token).await
            };
            let errcode = match &answer {
                FetchAnswer::Refused { errcode, .. } if self.call.token_refused.contains(errcode) => *errcode,
                FetchAnswer::Issued { .. } => {
                    reader.accepted(&token, path, sent);
                    return answer;
                }
                _ => return answer,
            };
            reader.refused(&token, path, sent);
            if sendings == MOST_SENDINGS {
                match known_good {
                    true => reader.refused_though_good(path, began),
                    false => reader.refused_again(path, token.generation),
                }
                return answer;
            }
            let doubtful = reader.policy().doubtful.contains(&errcode);
            known_good = doubtful && pauses == 1 && shown_good(&token, sent).await;
            let pause = match pauses {
                0 if doubtful && token.asked_within(LAG, Instant::now()) => Some(LAG),
                0 if doubtful && may_be_good(&token, sent) => Some(PAUSE),
                1 if known_good => Some(LAG),
                _ => None,
            };
            if let Some(pause) = pause {
                pauses += 1;
                sleep(pause).await;
                if let Ok(current) = reader.current() {
                    token = current;
                }
                continue;
            }
            match reader.renew(&token, path, TOKEN_WAIT).await {
                Renewal::Newer(newer) => (token, pauses) = (newer, 0),
                // Nobody refuses a ticket: there is no token to ask with.
                Renewal::Failed => {
                    return FetchAnswer::Passing {
                        what: format!(
                            "the access_token is refused ({errcode}), and there is no newer one yet"
                        ),
                    };
                }
                Renewal::Limited | Renewal::Same => return answer,
            }
        }
    }

    async fn send(&self, token: &Credential) -> FetchAnswer {
        let TicketCall { path, query, .. } = self.call;
        let encoded = token.encoded.expose();
        let mut call = Zeroizing::new(String::with_capacity(path.len() + query.len() + encoded.len() + 16));
        for part in [path, "?access_token=", encoded, query] {
            call.push_str(part);
        }
        self.client.get_ticket(&call, &token.value).await
    }
}

/// Whether a refusal may come from a node that lags behind.
fn may_be_good(token: &Credential, sent: std::time::Instant) -> bool {
    token.evidence_since(sent).accepted_later || Instant::now() < token.young_until
}

/// Whether a call that was sent later than this one is accepted with the token.
async fn shown_good(token: &Credential, sent: std::time::Instant) -> bool {
    let until = Instant::now() + OBSERVED;
    loop {
        // From here on no news is missed.
        let news = token.evidence.observe();
        if token.evidence_since(sent).accepted_later {
            return true;
        }
        tokio::select! {
            () = news => {}
            () = sleep_until(until) => return false,
        }
    }
}
