//! What follows from an attempt: who is to blame, what the client is told if it was the last one, and who is asked next.

use http::StatusCode;

use super::super::ejection::Offence;
use super::super::endpoint::Failure;
use super::super::limits::Limit;
use super::super::reply::Reply;
use super::super::upstream::Turn;
use super::Attempts;
use crate::model::Retries;

impl Attempts {
    /// Tells the endpoint's record of what was its fault.
    pub(super) fn blame(&self, turn: &Turn, failure: &Failure) {
        let offence = match failure {
            // How long a call may take says its client, who must not have endpoints set aside by that.
            Failure::NotSent | Failure::TimedOut(_) if self.time.is_over_by_own_word() => {
                return turn.given_up();
            }
            Failure::NotSent => Offence::Connect,
            // Who can be reached goes before it for a while.
            Failure::Short => return turn.failed(),
            Failure::Broken(breach) => {
                turn.upstream().breaches.tell(*breach);
                Offence::Broken
            }
            Failure::TimedOut(breach) => {
                turn.upstream().breaches.tell(*breach);
                Offence::TimeOut
            }
            Failure::Unprocessed
            | Failure::Refused
            | Failure::Stale
            | Failure::BadBody
            | Failure::SlowBody => return,
        };
        self.tries.failed(turn, offence, &self.client.worker.config.ejection, &self.client.worker.metrics);
        turn.failed();
    }

    /// What the client is told if this was the last attempt.
    pub(super) fn reply_to(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::NotSent if self.time.left().is_none() => Reply::ResponseTimeout,
            Failure::NotSent => Reply::ConnectFailed,
            Failure::Short => Reply::Overloaded,
            Failure::Unprocessed | Failure::Refused | Failure::Broken(_) | Failure::Stale => {
                Reply::BadResponse
            }
            Failure::BadBody => Reply::BadBody,
            Failure::SlowBody => {
                self.client.worker.metrics.limit_reached(Limit::UploadRate);
                Reply::SlowBody
            }
            Failure::TimedOut(_) => Reply::ResponseTimeout,
        }
    }

    /// Who is asked after that, if anybody.
    pub(super) fn after(&mut self, turn: Turn, failure: &Failure) -> Option<Turn> {
        self.look_again()?;
        let Retries { on_connect, on_error, on_timeout, .. } = self.tries.treatment().retries;
        match failure {
            // Whoever closed a connection over which it was sent may have seen it.
            Failure::NotSent | Failure::Short if self.was_stale && !self.is_repeated => {
                if on_connect && self.may_repeat() { self.repeat() } else { None }
            }
            // Even where something is short here, another one may have an idle connection.
            Failure::NotSent | Failure::Short if self.is_in_time() => {
                self.tries.after_no_connection(&self.client.worker.metrics)
            }
            Failure::Unprocessed | Failure::Refused if self.place.is_some() => {
                let next = self.tries.next();
                if next.is_some() {
                    self.send_unseen();
                }
                next
            }
            // An idle connection was closed: that is no fault, and says nothing of the endpoint.
            Failure::Stale if !self.was_stale => self.ask_anew(turn),
            Failure::Broken(_) | Failure::Stale if on_error && self.may_repeat() => self.repeat(),
            Failure::TimedOut(_) if on_timeout && self.may_repeat() => self.repeat(),
            _ => None,
        }
    }

    /// The same endpoint once more, over a new connection: another one would be no better, and is not the client's own where it
    /// comes back by a cookie. That is no try of the backend's count, as it is none to nginx: who keeps connections has to expect it.
    fn ask_anew(&mut self, same: Turn) -> Option<Turn> {
        self.place.as_ref()?;
        self.was_stale = true;
        self.client.worker.metrics.upstream.stale();
        self.tries.retried();
        Some(same)
    }

    /// While it was under way, endpoints may have come or gone. Where there are none any more, or it must not be sent again, that was all.
    fn look_again(&mut self) -> Option<()> {
        let by_now = self.client.worker.endpoints(&self.client, self.place.as_ref()?).ok()?;
        self.tries.go_by(by_now);
        Some(())
    }

    /// It goes out again, for no endpoint has looked at it.
    pub(super) fn send_unseen(&self) {
        self.client.worker.metrics.upstream.unseen();
        self.tries.retried();
    }

    /// Who is asked instead of the endpoint that answered, if the backend wants no such answer.
    pub(super) fn after_status(&mut self, status: StatusCode) -> Option<Turn> {
        if !self.tries.treatment().retries.on_status.contains(&status.as_u16()) || !self.may_repeat() {
            return None;
        }
        self.recover();
        self.look_again()?;
        self.repeat()
    }

    /// Whether the backend wants another try, and there is time for it.
    fn may_repeat(&self) -> bool {
        self.may_go_elsewhere() && self.is_in_time()
    }

    fn is_in_time(&self) -> bool {
        let within = self.tries.treatment().retries.within;
        self.time.left().is_some() && within.is_none_or(|within| self.time.gone() < within)
    }

    /// Another one if the budget allows it.
    fn repeat(&mut self) -> Option<Turn> {
        self.place.as_ref()?;
        self.is_repeated = true;
        self.repeats = self.repeats.saturating_sub(1);
        let may = self.tries.may_repeat();
        self.client.worker.metrics.upstream.retry(may);
        if !may {
            return None;
        }
        self.tries.retried();
        self.tries.next()
    }
}
