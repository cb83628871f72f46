//! A call of the API security mode, kept so that it can be encrypted and signed anew for each sending.
//!
//! [`crate::proxy::signing`] has the forms.

use http::HeaderMap;

use crate::proxy::buffer::Buffered;
use crate::proxy::refusal::Refusal;
use crate::proxy::signing::seal::Subject;
use crate::proxy::signing::{Signing, sealed_now};

/// What a call is made of that is encrypted anew for each sending.
pub(in crate::proxy) struct SealedCall<'a> {
    pub(in crate::proxy) signing: &'a Signing,
    pub(in crate::proxy) account: &'a str,
    pub(in crate::proxy) appid: &'a str,
    /// What is signed of the target.
    pub(in crate::proxy) url: String,
    pub(in crate::proxy) plain: Buffered,
}

impl SealedCall<'_> {
    /// What is signed beside the body.
    pub(in crate::proxy) fn subject(&self) -> Subject<'_> {
        Subject { url: &self.url, appid: self.appid }
    }

    /// The body for one sending, and the fields that go with it.
    pub(in crate::proxy) fn seal(&self, headers: &mut HeaderMap) -> Result<Buffered, Refusal> {
        let body = sealed_now(&self.signing.keys, self.subject(), &self.plain.concat(), headers);
        self.plain.beside(body.map_err(|_| Refusal::Unsigned)?)
    }
}
