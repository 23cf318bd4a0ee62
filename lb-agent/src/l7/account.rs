//! A request's account, from its head to the end of its response: whoever has the response's body has it too. Where
//! nothing is logged, it keeps the client's connection busy and nothing else.

use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Frame;

use super::access_log::{Ended, Notes, Record};
use super::body::BodyError;
use super::client::Busy;
use super::reply::Reply;
use super::route::Route;

/// Reported when it is dropped.
pub(super) struct Account {
    busy: Busy,
    logged: Option<Logged>,
}

struct Logged {
    record: Box<Record>,
    notes: Rc<Notes>,
    began: Instant,
    /// How the response ended, once it did.
    ended: Option<Ended>,
}

impl Account {
    /// Of a request that has just come.
    pub(super) fn new(busy: Busy, parts: &Parts, id: &HeaderValue) -> Self {
        let log = busy.client().worker.config.access_log.as_ref();
        let logged = log.map(|_| {
            let began = Instant::now();
            let record = Record::new(busy.client(), parts, id, began);
            Logged { record, notes: Rc::default(), began, ended: None }
        });
        Self { busy, logged }
    }

    /// Where the request's way is noted down.
    pub(super) fn notes(&self) -> Option<Rc<Notes>> {
        self.logged.as_ref().map(|logged| logged.notes.clone())
    }

    /// It takes this route.
    pub(super) fn routed(&mut self, route: &Route) {
        if let Some(logged) = &mut self.logged {
            logged.record.names = Some(route.names.clone());
        }
    }

    /// A response begins, perhaps one of our own.
    pub(super) fn answered(&mut self, status: StatusCode, reply: Option<Reply>) {
        if let Some(logged) = &mut self.logged {
            (logged.record.status, logged.record.reply) = (status, reply);
        }
    }

    /// A part of the response's body goes to the client; `is_last` if nothing follows.
    pub(super) fn frame(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, BodyError>>>, is_last: bool) {
        let Some(logged) = &mut self.logged else { return };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                logged.record.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(Some(Err(_))) => logged.ended = Some(Ended::BrokenByUpstream),
            Poll::Ready(None) => logged.ended = Some(Ended::Whole),
            Poll::Pending => {}
        }
        if is_last {
            self.whole();
        }
    }

    /// The response has no body, or nothing of it is left.
    pub(super) fn whole(&mut self) {
        if let Some(logged) = &mut self.logged {
            logged.ended.get_or_insert(Ended::Whole);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(Logged { mut record, notes, began, ended }) = self.logged.take() else { return };
        let client = self.busy.client();
        let cut = || if client.is_overdue() { Ended::CutByUs } else { Ended::LeftByClient };
        record.end(began.elapsed(), ended.unwrap_or_else(cut), &notes);
        if let Some(log) = &client.worker.config.access_log {
            log.write(record);
        }
    }
}
