//! A request on its way to an endpoint: which ones are tried, for how long in all, and what may be sent twice.

use std::rc::Rc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{Body, RequestBody};
use super::candidates::Tries;
use super::deadline::Deadline;
use super::ejection::Offence;
use super::endpoint::{EndpointConnection, Failure};
use super::exchange::Exchange;
use super::limits::Limit;
use super::reply::Reply;
use super::stream::{Answering, Asked, Stream};
use super::upload::{Pace, Upload};
use super::upstream::Turn;
use super::worker::Worker;

/// An HTTP/2 endpoint is asked so often, if it has not looked at the request.
const SENDS: usize = 3;

/// A response, by what its body comes over.
enum Answered {
    Alone(Response<Incoming>, Box<EndpointConnection>),
    Shared(Response<Answering>),
}

impl Answered {
    fn status(&self) -> StatusCode {
        match self {
            Self::Alone(response, _) => response.status(),
            Self::Shared(response) => response.status(),
        }
    }

    fn with(self, turn: Turn) -> Response<Body> {
        match self {
            Self::Alone(response, connection) => {
                response.map(|incoming| Body::exchange(Box::new(Exchange::new(incoming, connection, turn))))
            }
            Self::Shared(response) => {
                response.map(|answering| Body::stream(Box::new(Stream::new(answering, turn))))
            }
        }
    }
}

/// Each endpoint is tried at most once: as long as none has seen the request, and once more when one that may have seen
/// it broke off without a response, if the request may be sent twice and the backend's budget allows it.
pub(super) struct Attempts<'a> {
    worker: &'a Worker,
    tries: Tries,
    /// Where the request waits to be sent. Empty once it has been sent, but for a copy that may be sent again.
    place: Option<Request<RequestBody>>,
    /// In ticks of the worker's deadlines.
    started: u64,
    is_repeated: bool,
}

impl<'a> Attempts<'a> {
    /// None yet.
    pub(super) fn new(worker: &'a Worker, tries: Tries, request: Request<RequestBody>) -> Self {
        let started = worker.deadlines.now();
        Self { worker, tries, place: Some(request), started, is_repeated: false }
    }

    /// Until an endpoint answers, or none is left, or no time.
    pub(super) async fn run(mut self) -> Result<Response<Body>, Reply> {
        let first = self.tries.first(&self.worker.metrics).await?;
        let (mut next, mut last_word) = (Some(first), Reply::ConnectFailed);
        while let Some(turn) = next {
            let Some(left) = self.left() else { break };
            self.tries.tried(&turn);
            match self.ask(&turn, left).await {
                Ok(answered) => {
                    self.tries.note_answer();
                    let Worker { config, metrics, .. } = self.worker;
                    self.tries.answered(&turn, answered.status(), &config.ejection, metrics);
                    let mut response = answered.with(turn);
                    self.tries.tell_client(response.headers_mut());
                    return Ok(response);
                }
                Err(failure) => {
                    self.blame(&turn, &failure);
                    last_word = self.reply_to(&failure);
                    next = self.after(turn, &failure);
                }
            }
        }
        Err(last_word)
    }

    /// What is left of the time for all attempts together.
    fn left(&self) -> Option<Duration> {
        let Worker { deadlines, config, .. } = self.worker;
        let ticks = u32::try_from(deadlines.now() - self.started).unwrap_or(u32::MAX);
        config
            .timeouts
            .response
            .checked_sub(deadlines.tick().saturating_mul(ticks))
            .filter(|left| !left.is_zero())
    }

    /// Over idle connections as long as they prove to be closed, then over a new one. What is sent a second time goes
    /// over a new one: there is no third.
    async fn ask(&mut self, turn: &Turn, left: Duration) -> Result<Answered, Failure> {
        let upstream = turn.upstream();
        if upstream.protocol.is_http2 {
            return self.ask_over_shared(turn, left).await;
        }
        while !self.is_repeated
            && let Some(connection) = upstream.pool.take()
        {
            let copy = self.place.as_ref().and_then(replayable);
            match self.exchange(connection, turn, left).await {
                Err(Failure::NotSent) => {}
                Err(Failure::Broken) => {
                    self.place = copy;
                    return Err(Failure::Stale);
                }
                result => return result,
            }
        }
        let connection = self.worker.connect(upstream, left).await.ok_or(Failure::NotSent)?;
        turn.connected();
        let may_repeat = !self.is_repeated && self.tries.has_others();
        let copy = self.place.as_ref().filter(|_| may_repeat).and_then(replayable);
        let result = self.exchange(connection, turn, left).await;
        if matches!(result, Err(Failure::Broken)) {
            self.place = copy;
        }
        result
    }

    async fn exchange(
        &mut self,
        mut connection: Box<EndpointConnection>,
        turn: &Turn,
        left: Duration,
    ) -> Result<Answered, Failure> {
        connection.deadline.set(left);
        let body = self.place.as_mut().map(Request::body_mut);
        let upload = body.and_then(|body| follow(self.worker, body, &connection.deadline));
        let response = connection.send(&mut self.place).await.map_err(|failure| match failure {
            Failure::TimedOut if upload.as_ref().is_some_and(|upload| upload.awaits_client()) => {
                Failure::SlowBody
            }
            failure => failure,
        })?;
        // Nobody asked this endpoint to switch protocols.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Broken);
        }
        turn.answered(upload.map(|upload| upload.came_at()));
        Ok(Answered::Alone(response, connection))
    }

    /// Over a connection with others. One that ends has not looked at what came last, and the next one will.
    async fn ask_over_shared(&mut self, turn: &Turn, left: Duration) -> Result<Answered, Failure> {
        let deadline = Rc::new(Deadline::new(&self.worker.deadlines));
        deadline.set(left);
        let mut result = Err(Failure::NotSent);
        for _ in 0..SENDS {
            result = self.exchange_over_shared(turn, &deadline).await;
            let is_unseen = match &result {
                Err(Failure::Unprocessed) => true,
                Err(Failure::Refused) => !self.tries.has_others(),
                _ => false,
            };
            if !is_unseen || self.place.is_none() {
                break;
            }
            self.worker.metrics.upstream_unseen();
        }
        result
    }

    async fn exchange_over_shared(
        &mut self,
        turn: &Turn,
        deadline: &Rc<Deadline>,
    ) -> Result<Answered, Failure> {
        let upstream = turn.upstream();
        let connect = self.worker.config.timeouts.connect;
        let place = upstream.shared.place(|| self.worker.multiplex(upstream, connect));
        let Some(Some(place)) = deadline.bound(place).await else { return Err(Failure::NotSent) };
        turn.connected();
        let Some(mut request) = self.place.take() else { return Err(Failure::Broken) };
        let upload = follow(self.worker, request.body_mut(), deadline);
        let scheme = if upstream.protocol.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let asked = Asked::send(place, &scheme, request, &mut self.place)?;
        match asked.answer(deadline, &mut self.place).await {
            Ok(response) => {
                turn.answered(upload.map(|upload| upload.came_at()));
                Ok(Answered::Shared(response))
            }
            Err(Failure::TimedOut) if upload.is_some_and(|upload| upload.awaits_client()) => {
                Err(Failure::SlowBody)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Tells the endpoint's record of what was its fault.
    fn blame(&self, turn: &Turn, failure: &Failure) {
        let offence = match failure {
            Failure::NotSent => Offence::Connect,
            Failure::Broken => Offence::Broken,
            Failure::TimedOut => Offence::TimeOut,
            Failure::Unprocessed
            | Failure::Refused
            | Failure::Stale
            | Failure::BadBody
            | Failure::SlowBody => return,
        };
        self.tries.failed(turn, offence, &self.worker.config.ejection, &self.worker.metrics);
        turn.failed();
    }

    /// What the client is told if this was the last attempt.
    fn reply_to(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::NotSent => Reply::ConnectFailed,
            Failure::Unprocessed | Failure::Refused | Failure::Broken | Failure::Stale => Reply::BadResponse,
            Failure::BadBody => Reply::BadBody,
            Failure::SlowBody => {
                self.worker.metrics.limit_reached(Limit::UploadRate);
                Reply::SlowBody
            }
            Failure::TimedOut => Reply::ResponseTimeout,
        }
    }

    /// Who is asked after that, if anybody.
    fn after(&mut self, turn: Turn, failure: &Failure) -> Option<Turn> {
        match failure {
            Failure::NotSent => self.tries.next(),
            Failure::Unprocessed | Failure::Refused if self.place.is_some() => {
                let next = self.tries.next();
                if next.is_some() {
                    self.worker.metrics.upstream_unseen();
                }
                next
            }
            Failure::Broken | Failure::Stale if self.place.is_some() && !self.is_repeated => {
                self.is_repeated = true;
                let may = self.tries.may_repeat();
                self.worker.metrics.upstream_retry(may);
                // Only where there is no other it goes to the same one.
                let same = matches!(failure, Failure::Stale).then_some(turn);
                if may { self.tries.next().or(same) } else { None }
            }
            _ => None,
        }
    }
}

fn follow(worker: &Worker, body: &mut RequestBody, deadline: &Rc<Deadline>) -> Option<Rc<Upload>> {
    if body.is_empty() {
        return None;
    }
    let timeouts = &worker.config.timeouts;
    let slowest = worker.config.limits.of(Limit::UploadRate);
    let upload = Upload::new(deadline, Pace { backend: timeouts.response, client: timeouts.upload, slowest });
    body.report_to(upload.clone());
    Some(upload)
}

/// A second copy of a request that may be sent twice: without a body, of a method that RFC 9110 calls idempotent.
fn replayable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.body().is_empty() || !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(RequestBody::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
