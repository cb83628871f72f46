//! Calls that third-party platforms make with a token of their own, on paths where an account's token fits too: the
//! token in the query decides whose call it is.
//!
//! Pure but for a look at the tokens that wxgate remembers.

use super::answer::PLACEHOLDER;
use super::inject::query;
use super::route::Action;
use super::state::OwnToken;

/// The action once the query is known: a call with a foreign token is forwarded as it is.
pub(super) fn settled(action: Action, query: Option<&str>, own: Option<&OwnToken>) -> Action {
    match action {
        Action::InjectUnlessForeign if is_foreign(query.unwrap_or_default(), own) => Action::PassThrough,
        Action::InjectUnlessForeign => Action::Inject,
        settled => settled,
    }
}

/// Whether the query carries a token that is neither the placeholder nor one that wxgate remembers.
fn is_foreign(query: &str, own: Option<&OwnToken>) -> bool {
    let mut tokens = query::access_tokens(query).filter(|token| !token.is_empty()).peekable();
    if tokens.peek().is_none() {
        return false;
    }
    let remembered = own.map(|own| own.reader.remembered()).unwrap_or_default();
    tokens.any(|token| {
        *token != *PLACEHOLDER.as_bytes()
            && !remembered.iter().any(|known| known.value.expose().as_bytes() == token)
    })
}
