//! How long a backend's requests may take, how many there may be, and what is tried again: as far as somebody wants it
//! otherwise than usual.

use std::time::Duration;

use http::Method;

/// Limits in time; for what is not there, the proxy's own count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// For a connection to an endpoint.
    pub connect: Option<Duration>,
    /// From the end of a request to the head of its response: of one try.
    pub attempt: Option<Duration>,
    /// The same, of all tries together.
    pub request: Option<Duration>,
    /// From one part of a response's body to the next.
    pub read: Option<Duration>,
    /// For an endpoint to take the next part of a request's body.
    pub send: Option<Duration>,
}

/// How much of a backend's endpoints may be asked at a time; for what is not there, the operator's own limits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestLimits {
    /// Requests under way at one endpoint.
    pub endpoint_requests: Option<u32>,
    /// Requests that wait for one.
    pub pending_requests: Option<u32>,
    /// For so long.
    pub pending_time: Option<Duration>,
}

/// When a request goes to another endpoint, and how often. It has to have no body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retries {
    /// Tries in all, of those that an endpoint may have seen.
    pub tries: u32,
    /// None begins later.
    pub within: Option<Duration>,
    /// Where no connection could be had, so that no endpoint has seen the request.
    pub on_connect: bool,
    /// Where an endpoint broke off.
    pub on_error: bool,
    /// Where a try took too long.
    pub on_timeout: bool,
    /// Where the response has one of these statuses.
    pub on_status: Box<[u16]>,
    /// Also where doing it twice may do more than doing it once.
    pub of_all_methods: bool,
}

impl Default for Retries {
    /// Once more, unless somebody wants it otherwise.
    fn default() -> Self {
        Self {
            tries: 2,
            within: None,
            on_connect: true,
            on_error: true,
            on_timeout: true,
            on_status: Box::default(),
            of_all_methods: false,
        }
    }
}

impl Retries {
    /// Whether an endpoint may see a request of this method twice, which has no body: one that RFC 9110 calls idempotent, or
    /// any if it is wanted so.
    #[must_use]
    pub fn may_repeat(&self, method: &Method) -> bool {
        self.of_all_methods || method.is_idempotent()
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self { tries: 1, on_connect: false, on_error: false, on_timeout: false, ..Self::default() }
    }
}
