//! A request on its way to an endpoint: which ones are tried, for how long in all, and what may be sent twice.

mod next;

use std::rc::Rc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, Request, Response, StatusCode};

use super::allowed::Allowed;
use super::body::{Body, RequestBody};
use super::breach::Breach;
use super::client::Client;
use super::deadline::Deadline;
use super::endpoint::{EndpointConnection, Failure};
use super::exchange::Exchange;
use super::grpc;
use super::multiplex::Place;
use super::quiet::Quiet;
use super::reply::Reply;
use super::send_proxy::Ends;
use super::stream::{Answering, Asked, Stream};
use super::tries::Tries;
use super::upload::{follow, too_slow};
use super::upstream::Turn;
use super::worker::Worker;
use crate::model::Treatment;

/// An HTTP/2 endpoint is asked so often, if it has not looked at the request.
const SENDS: usize = 3;

/// A response, by what its body comes over.
enum Answered {
    Alone(Response<()>, Box<EndpointConnection>),
    Shared(Response<Answering>),
}

impl Answered {
    fn head(&self) -> (StatusCode, &HeaderMap) {
        match self {
            Self::Alone(response, _) => (response.status(), response.headers()),
            Self::Shared(response) => (response.status(), response.headers()),
        }
    }

    fn with(self, turn: Turn) -> Response<Body> {
        match self {
            Self::Alone(response, connection) => {
                response.map(|()| Body::exchange(Box::new(Exchange::new(connection, Some(turn)))))
            }
            Self::Shared(response) => {
                response.map(|answering| Body::stream(Box::new(Stream::new(answering, turn))))
            }
        }
    }
}

/// Each endpoint is tried at most once: a few as long as none has seen the request, and once more, or as often as the backend
/// wants, when one that may have seen it gave no response, or none that is wanted, if the request may be sent twice and
/// the backend's budget allows it.
pub(super) struct Attempts {
    client: Rc<Client>,
    tries: Tries,
    /// Where the request waits to be sent. Empty once it has been sent and may not be sent again.
    place: Option<Request<RequestBody>>,
    /// A copy of what is under way over HTTP/2.
    spare: Option<Box<Request<RequestBody>>>,
    /// Whose request it is.
    ends: Ends,
    time: Allowed,
    /// Of gRPC.
    is_call: bool,
    /// Whether it was sent to another endpoint than to the one that may have seen it.
    is_repeated: bool,
    /// Whether it was sent to the same one once more, which had closed a connection that was kept.
    was_stale: bool,
    /// How often it still may be.
    repeats: u32,
}

impl Attempts {
    /// None yet.
    pub(super) fn new(
        client: Rc<Client>,
        tries: Tries,
        request: Request<RequestBody>,
        is_call: bool,
    ) -> Self {
        let (worker, ends) = (&client.worker, client.ends());
        let treatment = tries.treatment();
        let own_time = if is_call { grpc::timeout(request.headers()) } else { None };
        let time = Allowed::new(&worker.deadlines, &worker.config.timeouts, treatment, own_time);
        let repeats = treatment.retries.tries.saturating_sub(1);
        let (place, spare) = (Some(request), None);
        let (is_repeated, was_stale) = (false, false);
        Self { client, tries, place, spare, ends, time, is_call, is_repeated, was_stale, repeats }
    }

    /// Until an endpoint answers, or none is left, or no time.
    pub(super) async fn run(&mut self) -> Result<Response<Body>, Reply> {
        let Self { client, tries, place, time, .. } = &mut *self;
        let worker = &client.worker;
        let by_now = || match &place {
            Some(request) => worker.endpoints(client, request),
            // It is there until it is sent.
            None => Err(Reply::EndpointsBusy),
        };
        let first = tries.first(&worker.metrics, || time.left().unwrap_or_default(), by_now).await?;
        let (mut next, mut last_word) = (Some(first), Reply::ConnectFailed);
        while let Some(turn) = next {
            let Some(left) = self.time.left() else { return Err(Reply::ResponseTimeout) };
            self.tries.tried(&turn);
            match self.ask(&turn, left.min(self.time.attempt)).await {
                Ok(answered) => {
                    self.tries.note_answer();
                    let Worker { config, metrics, .. } = &*self.client.worker;
                    let (status, headers) = answered.head();
                    self.tries.answered(&turn, (status, headers), &config.ejection, metrics);
                    if let Some(again) = self.after_status(status) {
                        next = Some(again);
                        last_word = Reply::BadResponse;
                        continue;
                    }
                    return Ok(self.finish(answered, turn));
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

    fn finish(&self, answered: Answered, turn: Turn) -> Response<Body> {
        let mut response = answered.with(turn);
        self.tries.tell_client(response.headers_mut());
        if let Some(gap) = self.tries.treatment().times.read {
            response.body_mut().watch(Quiet::new(&self.client.worker.deadlines, gap));
        }
        response
    }

    /// Over idle connections as long as they prove to be closed, then over a new one. What is sent a second time goes
    /// over a new one: there is no third.
    async fn ask(&mut self, turn: &Turn, left: Duration) -> Result<Answered, Failure> {
        let upstream = turn.upstream();
        if upstream.protocol.is_http2 {
            // What is rare, or large, takes no room in each request's own state, which is moved as a whole.
            return Box::pin(self.ask_over_shared(turn, left)).await;
        }
        while !self.is_repeated
            && !self.was_stale
            && let Some(connection) = upstream.pool.take()
        {
            match self.exchange(connection, turn, left).await {
                Err(Failure::NotSent) => {}
                result => return result,
            }
        }
        let within = left.min(self.time.connect);
        let connection = Box::pin(self.client.worker.connect(turn, self.ends, within));
        let connection = connection.await?;
        turn.connected();
        // Connecting took some of it.
        let left = left.min(self.time.left().ok_or(Failure::NotSent)?);
        self.exchange(connection, turn, left).await
    }

    /// Whether it may be sent a second time, beyond what an idle connection that proves to be closed asks for.
    fn may_go_elsewhere(&self) -> bool {
        self.repeats > 0 && self.tries.has_others()
    }

    /// Whether an endpoint may see a request twice.
    fn may_be_seen_twice(&self, request: &Request<RequestBody>) -> bool {
        request.body().is_empty() && self.tries.treatment().retries.may_repeat(request.method())
    }

    /// A second copy of the request, if there may be a use for it.
    fn copy(&self) -> Option<Box<Request<RequestBody>>> {
        let request = self.place.as_ref().filter(|request| self.may_be_seen_twice(request))?;
        self.may_go_elsewhere().then(|| Box::new(copy(request)))
    }

    /// What an endpoint may have seen is at hand once more, if it may be sent again.
    fn recover(&mut self) {
        if self.place.is_none() {
            self.place = self.spare.take().map(|spare| *spare);
        }
    }

    async fn exchange(
        &mut self,
        mut connection: Box<EndpointConnection>,
        turn: &Turn,
        left: Duration,
    ) -> Result<Answered, Failure> {
        connection.deadline.set(left);
        connection.is_for_plain(self.client.is_plain());
        let may_be_seen_twice = self.place.as_ref().is_some_and(|request| self.may_be_seen_twice(request));
        let Some(request) = &mut self.place else { return Err(Failure::Stale) };
        let upload = follow(&self.client.worker, &self.time, request.body_mut(), false, &connection.deadline);
        let may_go_again = !self.tries.treatment().retries.on_status.is_empty();
        let sent = connection.send(request, Some(&self.client.origin), may_go_again).await;
        if !may_be_seen_twice && !matches!(sent, Err(Failure::NotSent)) {
            self.place = None;
        }
        let response = sent.map_err(|failure| too_slow(failure, upload.as_ref()))?;
        // Nobody asked this endpoint to switch protocols.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Broken(Breach::UnaskedSwitch));
        }
        turn.answered(upload.map(|upload| upload.came_at()));
        Ok(Answered::Alone(response, connection))
    }

    /// Over a connection with others. One that ends has not looked at what came last, and the next one will.
    async fn ask_over_shared(&mut self, turn: &Turn, left: Duration) -> Result<Answered, Failure> {
        let deadline = Rc::new(Deadline::new(&self.client.worker.deadlines));
        deadline.set(left);
        let Treatment { times, retries, .. } = self.tries.treatment();
        // What breaks off is given back by whoever sends it.
        let wants_spare = times.attempt.is_some() || !retries.on_status.is_empty() || retries.of_all_methods;
        self.spare = if wants_spare { self.copy() } else { None };
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
            self.send_unseen();
        }
        if matches!(result, Err(Failure::Broken(_) | Failure::TimedOut(_) | Failure::Stale)) {
            self.recover();
        }
        result
    }

    async fn exchange_over_shared(
        &mut self,
        turn: &Turn,
        deadline: &Rc<Deadline>,
    ) -> Result<Answered, Failure> {
        let upstream = turn.upstream();
        let connect = self.time.connect;
        // What is rare takes no room in each request's own state: that would be most of it.
        let open = || Box::pin(self.client.worker.multiplex(turn, self.ends, connect));
        let place = async {
            match upstream.protocol.proxy_header {
                None => upstream.shared.place(open).await,
                // A connection is its client's.
                Some(_) => open().await.map(Place::new),
            }
        };
        let place = deadline.bound(place).await.ok_or(Failure::NotSent)??;
        turn.connected();
        let Some(request) = &mut self.place else { return Err(Failure::Stale) };
        let upload = follow(&self.client.worker, &self.time, request.body_mut(), self.is_call, deadline);
        let scheme = if upstream.protocol.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut asked = Asked::send(place, &scheme, &self.client.origin, request)?;
        match asked.answer(deadline).await {
            Ok(response) => {
                self.place = None;
                turn.answered(upload.map(|upload| upload.came_at()));
                Ok(Answered::Shared(asked.answered(response)))
            }
            Err(failure) => {
                let failure = too_slow(failure, upload.as_ref());
                // Where the client gave up, or was slow itself, nothing speaks against what others share.
                if matches!(failure, Failure::TimedOut(_)) && !self.time.is_over_by_own_word() {
                    asked.leave();
                }
                match asked.again(&failure, request.method().is_idempotent()) {
                    Some(body) => *request.body_mut() = body,
                    None => self.place = None,
                }
                Err(failure)
            }
        }
    }
}

/// The same once more, without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
