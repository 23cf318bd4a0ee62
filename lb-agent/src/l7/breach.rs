//! Endpoints that break the rules of HTTP: in which ways, and where it is told. What the client gets instead is said by
//! `Reply`; where its response has begun already, that breaks off.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use h2::Reason;

use super::news::News;
use super::pool::Keeping;

/// How an endpoint breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breach {
    /// It closed the connection in the place of a response.
    Closed,
    /// Nothing of a response came in time.
    Silent,
    /// The head of a response began in time, and did not end in time.
    SlowHead,
    /// The head of a response is too long, or has too many headers.
    LargeHead,
    /// What came is no response: not HTTP, or with two lengths.
    MalformedHead,
    /// It switches protocols, and nobody asked for that.
    UnaskedSwitch,
    /// It took a stream of HTTP/2 back.
    Reset,
    /// The response's body broke off.
    CutBody,
    /// It said nothing for too long in the middle of the response's body.
    SlowBody,
    /// The response's body is not framed as it must be, or contradicts its length.
    MalformedBody,
    /// More came than the response: the rest of it, a second one.
    Surplus,
}

impl Breach {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Silent,
        Self::SlowHead,
        Self::LargeHead,
        Self::MalformedHead,
        Self::UnaskedSwitch,
        Self::Reset,
        Self::CutBody,
        Self::SlowBody,
        Self::MalformedBody,
        Self::Surplus,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::SlowHead => "slow_head",
            Self::LargeHead => "large_head",
            Self::MalformedHead => "malformed_head",
            Self::UnaskedSwitch => "unasked_switch",
            Self::Reset => "reset",
            Self::CutBody => "cut_body",
            Self::SlowBody => "slow_body",
            Self::MalformedBody => "malformed_body",
            Self::Surplus => "surplus",
        }
    }

    /// What came over HTTP/2 in the place of a response's head.
    pub(super) fn of_stream_head(error: &h2::Error) -> Self {
        let malformed = if is_for_size(error) { Self::LargeHead } else { Self::MalformedHead };
        Self::of_stream(error, Self::Closed, malformed)
    }

    /// Why the body of a response over HTTP/2 broke off.
    pub(super) fn of_stream_body(error: &h2::Error) -> Self {
        Self::of_stream(error, Self::CutBody, Self::MalformedBody)
    }

    fn of_stream(error: &h2::Error, closed: Self, malformed: Self) -> Self {
        if error.is_remote() && error.is_reset() {
            Self::Reset
        } else if error.is_library() {
            malformed
        } else {
            closed
        }
    }
}

/// Whether the HTTP library ended the connection for a head that goes on and on. Of one that is too long and ends, it says no more
/// than that it is malformed.
fn is_for_size(error: &h2::Error) -> bool {
    let has_words = |said: &str| {
        ["header_list_way_too_large", "too_many_continuations"].iter().any(|words| said.contains(words))
    };
    error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && has_words(&error.to_string())
}

/// The log is told of one endpoint's breaches so seldom, at each worker; the metric counts all.
const QUIET: Duration = Duration::from_secs(1);

/// Those of one endpoint, as a worker sees them.
pub(super) struct Breaches {
    endpoint: SocketAddr,
    keeping: Rc<Keeping>,
    news: News,
}

impl Breaches {
    /// None yet.
    pub(super) fn new(endpoint: SocketAddr, keeping: &Rc<Keeping>) -> Rc<Self> {
        Rc::new(Self { endpoint, keeping: keeping.clone(), news: News::every(QUIET) })
    }

    /// One more.
    pub(super) fn tell(&self, breach: Breach) {
        self.keeping.metrics().upstream.breach(breach);
        if let Some(untold) = self.news.at(Instant::now()) {
            let (endpoint, reason) = (self.endpoint, breach.label());
            tracing::warn!(%endpoint, reason, untold, "an endpoint breaks the rules of HTTP");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_place_and_label() {
        for (index, breach) in Breach::ALL.into_iter().enumerate() {
            assert_eq!(breach as usize, index, "{breach:?}");
            let same = Breach::ALL.iter().filter(|other| other.label() == breach.label());
            assert_eq!(same.count(), 1, "{breach:?}");
        }
    }
}
