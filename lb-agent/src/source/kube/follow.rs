//! One watch at work: asks the API server what `Progress` wants to know, for ever, and tells what it finds.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryFutureExt};
use kube::api::{Api, ListParams, Resource, WatchParams};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::backoff::Backoff;
use super::failure::Failure;
use super::feed::{Feed, Item, Message, News};
use super::progress::{Ask, Progress};
use crate::model::Condition;

/// A server has this long to begin an answer, and to go on with a list.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server ends a watch after this many seconds, a little sooner or later so that they do not all end at once.
const WATCH: std::ops::RangeInclusive<u32> = 240..=290;

/// This much later at most the end arrives, if the connection lives.
const MARGIN: Duration = Duration::from_secs(5);

/// A stream that lived so long did work, whatever ended it.
const WORKED: Duration = Duration::from_secs(10);

/// A kind that the server does not know is looked for this often.
const MISSING: Duration = Duration::from_secs(15);

/// Objects a page, where lists come in pages.
const PAGE: u32 = 500;

/// The source is gone: nobody listens.
#[derive(Debug)]
struct Closed;

/// What is watched, and where the news go.
pub(super) struct Follower<K> {
    /// Where the objects are.
    pub(super) api: Api<K>,
    /// Which of them.
    pub(super) fields: Option<String>,
    /// What they are to the state.
    pub(super) feed: Feed,
    /// What is kept of one.
    pub(super) convert: fn(K) -> Item,
    /// Takes the news.
    pub(super) news: Sender<Message>,
}

impl<K> Follower<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Follows until nobody listens any more.
    pub(super) async fn run(self) {
        let (mut progress, mut backoff) = (Progress::new(), Backoff::default());
        loop {
            let begun = Instant::now();
            let pause = match self.attempt(&mut progress).await {
                Err(Closed) => return,
                Ok(Ok(())) if begun.elapsed() >= WORKED => {
                    backoff.reset();
                    Duration::ZERO
                }
                // A page is followed by the next one, a stream that ended at once by a pause.
                Ok(Ok(())) if !matches!(progress.ask(), Ask::Changes(_)) => Duration::ZERO,
                Ok(Ok(())) => backoff.next(),
                Ok(Err(failure)) => {
                    if begun.elapsed() >= WORKED {
                        backoff.reset();
                    }
                    let is_routine = progress.failed(&failure);
                    let pause = Self::pause(&failure, &mut backoff);
                    if is_routine {
                        debug!(feed = %self.feed, said = failure.message, "reading everything anew");
                    } else if self.tell(News::Failed(failure)).await.is_err() {
                        return;
                    }
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.news.closed() => return,
            }
        }
    }

    fn pause(failure: &Failure, backoff: &mut Backoff) -> Duration {
        match failure.condition {
            Condition::Missing => MISSING,
            _ => backoff.next().max(failure.patience),
        }
    }

    /// Asks once, and listens to the end of the answer.
    async fn attempt(&self, progress: &mut Progress) -> Result<Result<(), Failure>, Closed> {
        match progress.ask().clone() {
            Ask::Page(token) => self.page(progress, token).await,
            Ask::Stream => self.stream(progress, "").await,
            Ask::Changes(version) => self.stream(progress, &version).await,
        }
    }

    async fn page(
        &self,
        progress: &mut Progress,
        token: Option<String>,
    ) -> Result<Result<(), Failure>, Closed> {
        let list = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            continue_token: token,
            ..ListParams::default()
        };
        let list = match in_time(self.api.list(&list)).await {
            Ok(list) => list,
            Err(failure) => return Ok(Err(failure)),
        };
        for event in progress.page(list) {
            self.tell_event(event).await?;
        }
        Ok(Ok(()))
    }

    async fn stream(&self, progress: &mut Progress, version: &str) -> Result<Result<(), Failure>, Closed> {
        let seconds = fastrand::u32(WATCH);
        let watch = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(seconds),
            send_initial_events: *progress.ask() == Ask::Stream,
            ..WatchParams::default()
        };
        let stream = match in_time(self.api.watch(&watch, version)).await {
            Ok(stream) => stream,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Some(event) = progress.opened() {
            self.tell_event(event).await?;
        } else {
            self.tell(News::Current).await?;
        }
        let mut stream = pin!(stream);
        loop {
            let is_list = *progress.ask() == Ask::Stream;
            let patience = if is_list { PATIENCE } else { Duration::from_secs(seconds.into()) + MARGIN };
            let event = match timeout(patience, stream.next()).await {
                Err(_) if is_list => return Ok(Err(Failure::unreachable("the list does not go on"))),
                // A dead connection: what came since will be told by the next one.
                Err(_) => return Ok(Ok(())),
                Ok(None) if is_list => return Ok(Err(Failure::unreachable("the list ended too early"))),
                Ok(None) => return Ok(Ok(())),
                Ok(Some(Err(error))) => match Failure::from(error) {
                    // Its last state stays, and it holds up no other object.
                    failure if failure.condition == Condition::Unreadable && !is_list => {
                        self.tell(News::Failed(failure)).await?;
                        continue;
                    }
                    failure => return Ok(Err(failure)),
                },
                Ok(Some(Ok(event))) => event,
            };
            match progress.event(event) {
                Ok(Some(event)) => self.tell_event(event).await?,
                Ok(None) => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
    }

    async fn tell_event(&self, event: Event<K>) -> Result<(), Closed> {
        let event = match event {
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply((self.convert)(object)),
            Event::Apply(object) => Event::Apply((self.convert)(object)),
            Event::Delete(object) => Event::Delete((self.convert)(object)),
            Event::InitDone => {
                self.tell(News::Event(Event::InitDone)).await?;
                return self.tell(News::Current).await;
            }
        };
        self.tell(News::Event(event)).await
    }

    async fn tell(&self, news: News) -> Result<(), Closed> {
        self.news.send(Message { feed: self.feed.clone(), news }).await.map_err(|_| Closed)
    }
}

/// The answer, or that there was none in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    let late = |_| Failure::unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, answer.map_err(Failure::from)).await.map_err(late)?
}
