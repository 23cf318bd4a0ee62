//! A request's account, from its head to the end of its response: whoever has the response's body has it too. Where
//! nobody wants to know, it keeps the client's connection busy and nothing else.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;

use super::access_log::{Notes, Record};
use super::body::BodyError;
use super::client::Busy;
use super::config::Config;
use super::grpc;
use super::outcome::{Ended, Outcome};
use super::reply::{Reply, status_without_response};
use super::route::{Names, Route};
use super::trace::Place;

/// Reported when it is dropped.
pub(super) struct Account {
    busy: Busy,
    /// Of the response, once one begins.
    status: Option<StatusCode>,
    known: Option<Known>,
}

/// What is followed of a request.
struct Known {
    began: Instant,
    names: Option<Arc<Names>>,
    /// In a trace, if requests are traced: most are not, and an account goes with each body.
    place: Option<Box<Place>>,
    is_call: bool,
    reply: Option<Reply>,
    /// The code of a gRPC call.
    call: Option<u16>,
    /// How the response ended, once it did.
    ended: Option<Ended>,
    logged: Option<Logged>,
}

struct Logged {
    record: Box<Record>,
    notes: Rc<Notes>,
}

impl Account {
    /// Of a request that has just come; whether it is a gRPC call.
    pub(super) fn new(busy: Busy, parts: &Parts, id: &HeaderValue, is_call: bool) -> Self {
        let client = busy.client();
        let config = &client.worker.config;
        if config.access_log.is_none() && config.tracing.is_none() && config.route_metrics == 0 {
            return Self { busy, status: None, known: None };
        }
        let began = Instant::now();
        let place = config
            .tracing
            .as_ref()
            .map(|tracing| tracing.place(client.origin.is_trusted(), &parts.headers, &client.worker.ids))
            .map(Box::new);
        let is_told = config.access_log.is_some() || place.as_ref().is_some_and(|place| place.is_sampled());
        let logged = is_told.then(|| {
            let mut record = Box::new(Record::new(client, parts, id, began));
            record.trace = place.as_ref().map(|place| place.trace());
            Logged { record, notes: Rc::default() }
        });
        let known =
            Known { began, names: None, place, is_call, reply: None, call: None, ended: None, logged };
        Self { busy, status: None, known: Some(known) }
    }

    /// Its client, which is busy with it.
    pub(super) fn busy(&self) -> &Busy {
        &self.busy
    }

    /// Where the request's way is noted down.
    pub(super) fn notes(&self) -> Option<Rc<Notes>> {
        self.known.as_ref()?.logged.as_ref().map(|logged| logged.notes.clone())
    }

    /// Tells whoever gets the request of its trace, if it has one.
    pub(super) fn tell_trace(&self, headers: &mut HeaderMap) {
        if let Some(place) = self.known.as_ref().and_then(|known| known.place.as_ref()) {
            place.tell(headers);
        }
    }

    /// It takes this route.
    pub(super) fn routed(&mut self, route: &Route) {
        if let Some(known) = &mut self.known {
            known.names = Some(route.names.clone());
        }
    }

    /// A response begins, perhaps one of our own.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, reply: Option<Reply>) {
        self.status = Some(status);
        self.count(status);
        if let Some(known) = &mut self.known {
            known.reply = reply;
            if known.is_call {
                known.call = grpc::status(headers);
            }
        }
    }

    /// It is one of the listener's requests.
    fn count(&self, status: StatusCode) {
        let client = self.busy.client();
        client.worker.metrics.request(client.protocol, status);
    }

    /// A part of the response's body goes to the client; `is_last` if nothing follows.
    pub(super) fn frame(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, BodyError>>>, is_last: bool) {
        let Some(known) = &mut self.known else { return };
        match frame {
            Poll::Ready(Some(Ok(frame))) => known.part(frame),
            // Its client broke off what the endpoint was to read to its end.
            Poll::Ready(Some(Err(BodyError::Request))) => known.ended = Some(Ended::LeftByClient),
            Poll::Ready(Some(Err(BodyError::Quiet))) => known.ended = Some(Ended::StalledByUpstream),
            Poll::Ready(Some(Err(_))) => known.ended = Some(Ended::BrokenByUpstream),
            Poll::Ready(None) => known.ended = Some(Ended::Whole),
            Poll::Pending => {}
        }
        if is_last {
            self.whole();
        }
    }

    /// The response has no body, or nothing of it is left.
    pub(super) fn whole(&mut self) {
        if let Some(known) = &mut self.known {
            known.ended.get_or_insert(Ended::Whole);
        }
    }
}

impl Known {
    fn part(&mut self, frame: &Frame<Bytes>) {
        if let Some(logged) = &mut self.logged {
            logged.record.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        if let Some(trailers) = frame.trailers_ref().filter(|_| self.is_call) {
            self.call = grpc::status(trailers);
        }
    }

    fn outcome(&self, status: StatusCode, ended: Ended) -> Outcome {
        let call = match (self.is_call, self.call, ended) {
            (true, None, Ended::Whole) => Some(grpc::code_of_status(status)),
            (true, None, ended) => Some(grpc::code_of_end(ended)),
            (_, call, _) => call,
        };
        Outcome { status, reply: self.reply, call, ended }
    }

    fn count(&self, outcome: &Outcome, took: Duration) {
        let counts = self.names.as_ref().and_then(|names| names.counts.as_ref());
        if let Some(counts) = counts {
            counts.now().request(outcome.status, outcome.blame(), outcome.call_end(), took);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let known = self.known.take();
        let client = self.busy.client();
        let cut = || if client.is_overdue() { Ended::CutByUs } else { Ended::LeftByClient };
        let ended = known.as_ref().and_then(|known| known.ended).unwrap_or_else(cut);
        let status = self.status.unwrap_or_else(|| status_without_response(ended));
        if self.status.is_none() {
            self.count(status);
        }
        let Some(known) = known else { return };
        let outcome = known.outcome(status, ended);
        let took = known.began.elapsed();
        known.count(&outcome, took);
        if let Some(Logged { mut record, notes }) = known.logged {
            record.end(took, outcome, known.names, &notes);
            tell(&client.worker.config, known.place.map(|place| *place), record);
        }
    }
}

/// Hands the record on to whoever wants it.
fn tell(config: &Config, place: Option<Place>, record: Box<Record>) {
    let traced = config.tracing.as_ref().zip(place.filter(Place::is_sampled));
    match (traced, &config.access_log) {
        (Some((tracing, place)), None) => tracing.send(place, record),
        (Some((tracing, place)), Some(log)) => {
            tracing.send(place, record.clone());
            log.write(record);
        }
        (None, Some(log)) => log.write(record),
        (None, None) => {}
    }
}
