//! The paths of WeCom's API that take no token of the application.
//!
//! Source: WeCom's documentation. Everything else under an account's `paths` takes the token.

use super::action::{LocalAnswer, PathTable, Signature, TicketPath};
use crate::credential::CredentialKind;

/// What stands out among WeCom's paths.
pub(super) static WECOM: PathTable = PathTable {
    // Forwarded, it would hand the token to the caller.
    local: &[("/cgi-bin/gettoken", LocalAnswer::GetToken)],
    // A service provider's own tokens.
    pass_through: &["/cgi-bin/service/*"],
    either_token: &[],
    reveals: &[],
    tickets: &[
        TicketPath { path: "/cgi-bin/get_jsapi_ticket", kinds: &[("", CredentialKind::JsapiTicket)] },
        TicketPath { path: "/cgi-bin/ticket/get", kinds: &[("agent_config", CredentialKind::AgentTicket)] },
    ],
    signatures: &[("/wxgate/jssdk", Signature::JsSdk)],
    secret_paths: &[],
    sealed: &[],
};
