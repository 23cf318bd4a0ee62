//! `lb-agent capture`: what the packet path did to packets, for who listens. One at a time, and only on the agent's own
//! socket: packets hold what clients said.

mod headers;
pub mod pcapng;
mod question;
mod session;
#[cfg(test)]
mod tests;
mod told;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::header::TRAILER;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

pub use self::question::{
    COUNTS, DEFAULT_COUNT, DEFAULT_SECONDS, DEFAULT_SNAP, Form, Question, SAMPLES, SECONDS, SNAPS, drops,
    verdict, verdicts,
};
pub(super) use self::session::SUMMARY;
use super::Live;
use super::endpoints::{Body, respond, text};
use crate::model::{CaptureFilter, Captured, Turn};

/// What the packet path gives.
#[derive(Debug)]
pub struct Armed {
    /// Packets, until they are not received any more: then it looks at none.
    pub packets: mpsc::Receiver<Captured>,
    /// Those that there was no room for; final when its sender is gone, which is when no packet is looked at any more.
    pub lost: watch::Receiver<u64>,
}

/// Has the packet path look at packets; or words why it does not.
pub type Arm = Box<dyn Fn(CaptureFilter) -> BoxFuture<'static, Result<Armed, String>> + Send + Sync>;

/// The packet path has so long to begin: others may have it look at their packets until a moment ago.
const ARMING: Duration = Duration::from_secs(10);

/// Captures of an agent.
#[derive(Default)]
pub struct Captures {
    arm: Option<Arm>,
    holder: Arc<Mutex<Option<Holder>>>,
}

/// Who captures.
#[derive(Clone, Debug)]
struct Holder {
    who: Peer,
    what: String,
    since: Instant,
    end: Arc<Notify>,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Peer {
    /// Process and user, where the kernel says so.
    pub(super) process: Option<(i32, u32)>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some((process, user)) => write!(f, "process {process} of user {user}"),
            None => f.write_str("somebody"),
        }
    }
}

/// The right to capture; given back when it is dropped.
struct Seat(Arc<Mutex<Option<Holder>>>);

impl Seat {
    /// Told when it is to end.
    fn end(&self) -> Arc<Notify> {
        lock(&self.0).as_ref().map(|holder| Arc::clone(&holder.end)).unwrap_or_default()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

fn lock(holder: &Mutex<Option<Holder>>) -> MutexGuard<'_, Option<Holder>> {
    holder.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captures").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Captures {
    /// Of a packet path.
    #[must_use]
    pub fn new(arm: Option<Arm>) -> Self {
        Self { arm, holder: Arc::default() }
    }

    /// Begins one, and answers with it.
    pub(super) async fn begin(&self, live: &Live, query: Option<&str>, who: Peer) -> Response<Body> {
        let refuse = |status, words: String| text(status, words + "\n");
        let question = match Question::of_query(query) {
            Ok(question) => question,
            Err(wrong) => return refuse(StatusCode::BAD_REQUEST, wrong),
        };
        let Some(arm) = &self.arm else {
            return refuse(StatusCode::NOT_FOUND, "there is no packet path here (--no-xdp)".to_owned());
        };
        if *live.turn.borrow() != Turn::Holding {
            let words = "this agent does not have the packet path: another one of this node does";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, words.to_owned());
        }
        let seat = match self.take(&question, who) {
            Ok(seat) => seat,
            Err(words) => return refuse(StatusCode::CONFLICT, words),
        };
        let armed = timeout(ARMING, arm(question.filter.clone())).await;
        match armed.unwrap_or_else(|_| Err(format!("the packet path did not begin within {ARMING:?}"))) {
            Ok(armed) => respond_with(armed, question, seat, live),
            Err(words) => refuse(StatusCode::SERVICE_UNAVAILABLE, words),
        }
    }

    /// Ends the one under way.
    pub(super) fn end(&self) -> Response<Body> {
        match lock(&self.holder).as_ref() {
            Some(holder) => {
                holder.end.notify_one();
                text(StatusCode::OK, format!("ended: that of {}\n", holder.who))
            }
            None => text(StatusCode::NOT_FOUND, "nobody captures\n"),
        }
    }

    fn take(&self, question: &Question, who: Peer) -> Result<Seat, String> {
        let mut holder = lock(&self.holder);
        if let Some(Holder { who, what, since, .. }) = &*holder {
            let seconds = since.elapsed().as_secs();
            return Err(format!(
                "{who} captures already, since {seconds} s ({what}): one at a time; DELETE /capture ends it"
            ));
        }
        let what = question.to_string();
        *holder = Some(Holder { who, what, since: Instant::now(), end: Arc::default() });
        Ok(Seat(Arc::clone(&self.holder)))
    }
}

fn respond_with(armed: Armed, question: Question, seat: Seat, live: &Live) -> Response<Body> {
    let kind = match question.form {
        Form::Text => "text/plain; charset=utf-8",
        Form::Pcapng => "application/x-pcapng",
    };
    let mut response = respond(StatusCode::OK, kind, "");
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("edgelb-capture"));
    *response.body_mut() = StreamBody::new(session::frames(armed, question, seat, live)).boxed_unsync();
    response
}
