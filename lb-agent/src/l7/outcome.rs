//! How a request ended, and whose fault it is where that was not well. In one place for the log, metrics and traces.

use http::StatusCode;

use super::grpc::CallEnd;
use super::reply::{Blame, Reply};

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// It was handed over to its end.
    Whole,
    /// The endpoint broke it off.
    BrokenByUpstream,
    /// The endpoint did not go on with it in time.
    StalledByUpstream,
    /// Nobody read it to its end: the client went away.
    LeftByClient,
    /// We cut it, at a deadline.
    CutByUs,
}

/// The end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    pub(super) status: StatusCode,
    /// If the response was one of our own.
    pub(super) reply: Option<Reply>,
    /// The code of a gRPC call.
    pub(super) call: Option<u16>,
    pub(super) ended: Ended,
}

impl Outcome {
    /// One of our own, which nobody kept from being whole.
    pub(super) const fn refused(reply: Reply) -> Self {
        Self { status: reply.status(), reply: Some(reply), call: None, ended: Ended::Whole }
    }

    /// Whose fault it is that it did not end well; `None` if it did.
    pub(super) fn blame(&self) -> Option<Blame> {
        match (self.reply, self.ended) {
            (Some(reply), _) => Some(reply.blame()),
            (None, Ended::BrokenByUpstream | Ended::StalledByUpstream) => Some(Blame::Upstream),
            (None, Ended::LeftByClient) => Some(Blame::Client),
            (None, Ended::CutByUs) => Some(Blame::Us),
            (None, Ended::Whole) => self.is_failure().then_some(Blame::Upstream),
        }
    }

    /// Why it did not end well.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match (self.reply, self.ended) {
            (Some(reply), _) => Some(reply.label()),
            (None, Ended::BrokenByUpstream) => Some("broken_by_upstream"),
            (None, Ended::StalledByUpstream) => Some("stalled_by_upstream"),
            (None, Ended::LeftByClient) => Some("left_by_client"),
            (None, Ended::CutByUs) => Some("cut_by_us"),
            (None, Ended::Whole) => self.is_failure().then_some("status"),
        }
    }

    /// Whether the endpoint itself says that it failed.
    fn is_failure(&self) -> bool {
        self.status.is_server_error() || self.call_end() == Some(CallEnd::Server)
    }

    /// Of a gRPC call.
    pub(super) fn call_end(&self) -> Option<CallEnd> {
        self.call.map(CallEnd::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_to_blame_is_said() {
        let (fine, missing, broken) =
            (StatusCode::default(), Reply::NoRoute.status(), Reply::Unsupported.status());
        for (reply, status, call, ended, expected) in [
            (None, fine, None, Ended::Whole, None),
            (None, missing, None, Ended::Whole, None),
            (None, broken, None, Ended::Whole, Some(("upstream", "status"))),
            (None, fine, Some(0), Ended::Whole, None),
            (None, fine, Some(5), Ended::Whole, None),
            (None, fine, Some(14), Ended::Whole, Some(("upstream", "status"))),
            (None, fine, None, Ended::BrokenByUpstream, Some(("upstream", "broken_by_upstream"))),
            (None, fine, None, Ended::StalledByUpstream, Some(("upstream", "stalled_by_upstream"))),
            (None, fine, None, Ended::LeftByClient, Some(("client", "left_by_client"))),
            (None, fine, None, Ended::CutByUs, Some(("us", "cut_by_us"))),
            (Some(Reply::ConnectFailed), broken, None, Ended::Whole, Some(("upstream", "connect_failed"))),
            (Some(Reply::Overloaded), broken, None, Ended::Whole, Some(("us", "overloaded"))),
            (Some(Reply::BadHost), broken, None, Ended::LeftByClient, Some(("client", "bad_host"))),
        ] {
            let outcome = Outcome { status, reply, call, ended };
            let found = outcome.blame().map(|blame| blame.label()).zip(outcome.reason());
            assert_eq!(found, expected, "{outcome:?}");
        }
    }
}
