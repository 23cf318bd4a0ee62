//! The endpoints of one request: which of them are tried, in which order, and how long it waits for the first one.

use std::rc::Rc;
use std::time::{Duration, Instant};
use std::vec;

use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::access_log::Notes;
use super::candidates::Candidates;
use super::ejection::{Offence, is_failure};
use super::grpc;
use super::limits::Limit;
use super::policy::Hints;
use super::reply::Reply;
use super::upstream::Turn;
use crate::metrics::Metrics;
use crate::model::{Ejection, Retries, Treatment};

/// A request finds so many endpoints in a row that take no connection, if its backend does not allow more tries: enough to get by
/// those that are down and not set aside yet, and few where all are down.
const CONNECTS: u32 = 4;

/// The endpoints that one request tries: each once, the best first.
pub(super) struct Tries {
    candidates: Rc<Candidates>,
    hints: Hints,
    pub(super) first: Option<usize>,
    last: Option<usize>,
    /// Only made where the first one failed.
    others: Option<vec::IntoIter<usize>>,
    /// Those to which there was no connection.
    unconnected: u32,
    notes: Option<Rc<Notes>>,
}

impl Tries {
    /// None yet, of a request that is new, with what it says of its endpoint.
    pub(super) fn new(candidates: Rc<Candidates>, hints: Hints) -> Self {
        candidates.budget.request();
        Self { candidates, hints, first: None, last: None, others: None, unconnected: 0, notes: None }
    }

    /// The same, noted down.
    pub(super) fn noted(self, notes: Option<Rc<Notes>>) -> Self {
        Self { notes, ..self }
    }

    /// The request is sent there.
    pub(super) fn tried(&self, turn: &Turn) {
        if let Some(notes) = &self.notes {
            notes.tried(turn.upstream().address);
        }
    }

    /// A response came.
    pub(super) fn note_answer(&self) {
        if let Some(notes) = &self.notes {
            notes.answered();
        }
    }

    /// Gives the client the cookie that leads to the endpoint that answered, if it is to have another than it has.
    pub(super) fn tell_client(&self, headers: &mut HeaderMap) {
        let Candidates { values, upstreams, .. } = &*self.candidates;
        if let (Some(session), Some(values), Some(last)) = (&self.hints.session, values, self.last)
            && let Some(cookie) = session.cookie(last, values, upstreams)
        {
            headers.append(SET_COOKIE, cookie);
        }
    }

    /// The first one. Where each has as many requests as it may have, it is waited for: for those that there are by then, and no
    /// longer than there is time `left` for the request.
    pub(super) async fn first(
        &mut self,
        metrics: &Metrics,
        left: impl FnOnce() -> Duration,
        by_now: impl Fn() -> Result<Rc<Candidates>, Reply>,
    ) -> Result<Turn, Reply> {
        // Who waits already comes first.
        if self.candidates.queue.count() == 0
            && let Some(turn) = self.next()
        {
            return Ok(turn);
        }
        metrics.limit_reached(Limit::EndpointRequests);
        let waiting = self.candidates.queue.count();
        if waiting >= self.candidates.bounds.waiting {
            metrics.limit_reached(Limit::PendingRequests);
            return Err(Reply::EndpointsBusy);
        }
        let (most, left) = (self.candidates.bounds.time, left());
        // A request that need not wait has no room for this.
        let waited = Box::pin(timeout(most.min(left), self.wait(metrics, by_now))).await;
        waited.unwrap_or_else(|_| {
            if left < most {
                return Err(Reply::ResponseTimeout);
            }
            metrics.limit_reached(Limit::PendingTime);
            Err(Reply::EndpointsBusy)
        })
    }

    async fn wait(
        &mut self,
        metrics: &Metrics,
        by_now: impl Fn() -> Result<Rc<Candidates>, Reply>,
    ) -> Result<Turn, Reply> {
        loop {
            let Candidates { queue, upstreams, counted, .. } = &*self.candidates.clone();
            let place = queue.enter(metrics.upstream.pending());
            let _waits = counted.waits();
            upstreams.iter().for_each(|upstream| upstream.queues.add(queue));
            loop {
                place.freed().await;
                // Who needs no endpoint any more leaves its turn to the next one.
                let candidates = by_now().inspect_err(|_| place.pass_on())?;
                if !Rc::ptr_eq(&candidates, &self.candidates) {
                    // Endpoints have come or gone: those that wait behind it are to see that, too.
                    place.pass_on();
                    self.candidates = candidates;
                    break;
                }
                if let Some(turn) = self.next() {
                    return Ok(turn);
                }
            }
            if let Some(turn) = self.next() {
                return Ok(turn);
            }
        }
    }

    /// The next one that may have one more request.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let Self { candidates, hints, first, last, others, .. } = self;
        // Where there is no choice, and nothing is counted, no clock is read.
        let now = (candidates.upstreams.len() > 1 || candidates.counted.is_on()).then(Instant::now);
        let place = match *first {
            Some(first) => {
                let is_tried = |place| place == first;
                let others = others.get_or_insert_with(|| candidates.others(first + 1, hints.key, is_tried));
                others.find(|&place| !candidates.is_full(place))?
            }
            None => *first.insert(candidates.choose_free(now, hints)?),
        };
        *last = Some(place);
        Some(Turn::new(candidates.upstreams[place].clone(), now, candidates.counted.clone()))
    }

    /// The endpoints are these by now. If some have come or gone since the request began, it goes on by those, but for the ones that it
    /// has tried.
    pub(super) fn go_by(&mut self, now: Rc<Candidates>) {
        let Some(first) = self.first.filter(|_| !Rc::ptr_eq(&now, &self.candidates)) else { return };
        let before = std::mem::replace(&mut self.candidates, now);
        let now = &self.candidates;
        let left = self.others.as_ref().map(vec::IntoIter::as_slice);
        let was_tried = |place: usize| left.map_or(place == first, |left| !left.contains(&place));
        let is_tried = |place: usize| before.place(&now.upstreams[place]).is_some_and(was_tried);
        let place_now = |place: usize| now.place(&before.upstreams[place]);
        // Where the first one is gone, this stands for it.
        let first = place_now(first).unwrap_or_else(|| fastrand::usize(..now.upstreams.len()));
        let others = now.others(first + 1, self.hints.key, is_tried);
        (self.first, self.last, self.others) = (Some(first), self.last.and_then(place_now), Some(others));
    }

    /// The next one after one to which there is no connection, if the backend wants that.
    pub(super) fn after_no_connection(&mut self, metrics: &Metrics) -> Option<Turn> {
        let Retries { on_connect, tries, .. } = self.treatment().retries;
        self.unconnected += 1;
        if !on_connect || self.unconnected >= CONNECTS.max(tries) {
            return None;
        }
        let next = self.next()?;
        metrics.upstream.unconnected();
        self.retried();
        Some(next)
    }

    /// How the backend wants its endpoints to be treated.
    pub(super) fn treatment(&self) -> &Treatment {
        &self.candidates.treatment
    }

    /// Whether there is another one than those that were tried, as far as it matters whether the request is kept.
    pub(super) fn has_others(&self) -> bool {
        self.candidates.upstreams.len() > 1 || self.others.as_ref().is_some_and(|left| left.len() > 0)
    }

    /// The request is sent once more.
    pub(super) fn retried(&self) {
        self.candidates.counted.retried();
    }

    /// Whether the backend's budget allows that a request is sent again; it is counted.
    pub(super) fn may_repeat(&self) -> bool {
        self.candidates.budget.take()
    }

    /// The endpoint answered, with a status that may be a failure of its own: of HTTP, or of gRPC where the head has it.
    pub(super) fn answered(
        &self,
        turn: &Turn,
        (status, headers): (StatusCode, &HeaderMap),
        rules: &Ejection,
        metrics: &Metrics,
    ) {
        let is_http2 = turn.upstream().protocol.is_http2;
        if is_failure(status) || is_http2 && grpc::is_unavailable(headers) {
            self.failed(turn, Offence::Status, rules, metrics);
        } else {
            turn.upstream().conduct.succeeded();
        }
    }

    /// The endpoint failed; it is set aside if that was once too often, by the usual rules unless the backend has its own.
    pub(super) fn failed(&self, turn: &Turn, offence: Offence, usual: &Ejection, metrics: &Metrics) {
        let rules = self.treatment().ejection.as_ref().unwrap_or(usual);
        let upstream = turn.upstream();
        let is_known = upstream.places.get() > 0;
        if upstream.conduct.failed(rules) && is_known && self.candidates.has_room(rules) {
            upstream.conduct.eject(Instant::now(), rules);
            metrics.upstream.ejected(offence);
            tracing::info!(endpoint = %upstream.address, offence = offence.label(), "an endpoint is set aside");
        }
    }
}
