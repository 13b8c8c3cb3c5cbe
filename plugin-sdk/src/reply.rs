//! What a pick may say beside its answer.

use crate::{Pick, source::Source};

/// What a pick may say beside its answer: got by [`Request::reply`](crate::Request::reply). (Where the request goes
/// next, should it fail, is said with the [`Pick`] itself.)
///
/// A header that says how a message is framed, or what belongs to one hop, is left out by the proxy and counted as the
/// policy's fault, and so is one that is no header. The request goes on.
#[derive(Clone, Copy)]
pub struct Reply<'a>(pub(crate) Source<'a>);

impl Reply<'_> {
    /// Has the proxy answer by itself, with this status, from 400 to 599, and this text.
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn pick(request: &Request, endpoints: &Endpoints) -> Pick {
    ///     match request.header("x-tenant") {
    ///         Some(_) => endpoints.candidates().next().into(),
    ///         None => request.reply().reject(400, "x-tenant is missing"),
    ///     }
    /// }
    /// ```
    pub fn reject(&self, status: u16, reason: &str) -> Pick {
        self.0.reject(status, reason);
        Pick::DECLINE
    }

    /// Sets a header of the response that the client gets. `set-cookie` is added to those that the endpoint sets.
    pub fn set_response_header(&self, name: &str, value: &str) {
        self.0.set_response_header(name, value);
    }

    /// Sets a header of the request. It stays if the request is tried again.
    pub fn set_request_header(&self, name: &str, value: &str) {
        self.0.set_request_header(name, value);
    }

    /// Says why this endpoint, for the access log. `why` is only called when somebody reads it.
    ///
    /// ```
    /// # use sluicegate_sdk::*;
    /// fn pick(request: &Request, endpoints: &Endpoints) -> Pick {
    ///     let best = endpoints.candidates().min_by_key(|endpoint| endpoint.in_flight());
    ///     if let Some(best) = best {
    ///         request.reply().explain(|| format!("{} in flight at {}", best.in_flight(), best.address()));
    ///     }
    ///     best.into()
    /// }
    /// ```
    pub fn explain(&self, why: impl FnOnce() -> String) {
        if self.0.wants_explanation() {
            self.0.explain(&why());
        }
    }
}
