//! A capture as the body of a response: lasts until enough was told, its time is over, it is told to end, or nobody
//! reads it any more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::told::Teller;
use super::{Armed, Question, Seat};
use crate::admin::Live;
use crate::model::Captured;

/// The trailer that says how it went.
pub(in crate::admin) const SUMMARY: HeaderName = HeaderName::from_static("edgelb-capture");

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Count(u64),
    Time(u32),
    Told,
    Gone,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "as many as were asked for ({count})"),
            Self::Time(seconds) => write!(f, "{seconds} s are over"),
            Self::Told => f.write_str("told to end"),
            Self::Gone => f.write_str("the agent gave the packet path up"),
        }
    }
}

struct Session {
    armed: Armed,
    teller: Teller,
    question: Question,
    told: u64,
    ends_at: Instant,
    end: Arc<Notify>,
    ready: VecDeque<Frame<Bytes>>,
    is_over: bool,
    _seat: Seat,
}

/// The body's frames.
pub(super) fn frames(
    armed: Armed,
    question: Question,
    seat: Seat,
    live: &Live,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<> {
    let (teller, first) = Teller::begin(question.form, question.filter.snap, live.clone());
    let mut session = Session {
        armed,
        teller,
        told: 0,
        ends_at: Instant::now() + Duration::from_secs(question.seconds.into()),
        end: seat.end(),
        question,
        ready: VecDeque::new(),
        is_over: false,
        _seat: seat,
    };
    session.say(first);
    unfold(session, |mut session| async move {
        let frame = session.next().await?;
        Some((Ok(frame), session))
    })
}

impl Session {
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        while self.ready.is_empty() && !self.is_over {
            let end = tokio::select! {
                captured = self.armed.packets.recv() => match captured {
                    Some(captured) => self.tell(&captured),
                    None => Some(End::Gone),
                },
                () = sleep_until(self.ends_at) => Some(End::Time(self.question.seconds)),
                () = self.end.notified() => Some(End::Told),
            };
            if let Some(end) = end {
                self.conclude(end).await;
            }
        }
        self.ready.pop_front()
    }

    /// Tells of a packet; says if that was the last.
    fn tell(&mut self, captured: &Captured) -> Option<End> {
        let count = self.question.filter.count;
        if self.told < count {
            let bytes = self.teller.packet(captured);
            self.say(bytes);
            self.told += 1;
        }
        (self.told == count).then_some(End::Count(count))
    }

    /// Tells what came before the end, and what is to be said of all.
    async fn conclude(&mut self, end: End) {
        self.armed.packets.close();
        while let Some(captured) = self.armed.packets.recv().await {
            self.tell(&captured);
        }
        // Who gave the packets says the last word when all is as it was before.
        while self.armed.lost.changed().await.is_ok() {}
        let lost = *self.armed.lost.borrow();
        let words = format!("{} packets told, {lost} lost for want of room: {end}", self.told);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.teller.end(now, self.told, lost, &words);
        self.say(last);
        if let Ok(words) = HeaderValue::try_from(words) {
            self.ready.push_back(Frame::trailers(HeaderMap::from_iter([(SUMMARY, words)])));
        }
        self.is_over = true;
    }

    fn say(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.ready.push_back(Frame::data(bytes.into()));
        }
    }
}
