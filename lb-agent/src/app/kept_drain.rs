//! What an operator told this node of a drain, kept for the agent that takes over: a drain outlasts an update of the agent.
//! What the Node says, each agent reads there; and an agent that begins where none was serves.

use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::l4::clock;
use crate::l7::Ending;
use crate::model::{DrainedBy, Draining, Turn};

/// Where it is kept, in the node's state folder.
pub(super) const DRAIN: &str = "drain";

/// How often an agent that was followed looks whether the next one is told to drain.
const LOOKING: Duration = Duration::from_millis(500);

type Told = watch::Sender<Option<Draining>>;

/// The file: seconds that connections get from its beginning on, and milliseconds of the clock that never goes back at
/// which it ends.
#[derive(Clone, Debug)]
pub(super) struct KeptDrain {
    file: PathBuf,
}

impl KeptDrain {
    /// In this state folder.
    pub(super) fn new(state: &Path) -> Self {
        Self { file: state.join(DRAIN) }
    }

    /// Keeps what is told for as long as this agent has the packet path.
    pub(super) async fn follow(&self, told: &Told, mut turn: watch::Receiver<Turn>) -> Infallible {
        let mut told = told.subscribe();
        loop {
            let now = *told.borrow_and_update();
            if *turn.borrow_and_update() == Turn::Holding {
                self.keep(now);
            }
            tokio::select! {
                Ok(()) = told.changed() => {}
                Ok(()) = turn.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Goes on with what the agent before was told; `known` is what it was when this one last asked. Says what it is now.
    pub(super) fn inherit(&self, told: &Told, known: Option<Draining>) -> Option<Draining> {
        let found = self.find();
        told.send_if_modified(|told| match (*told, found) {
            (now, Some(found)) if now.is_none_or(|now| now.is_nodes()) => {
                info!("the agent before was told to drain: this one goes on with it");
                *told = Some(found);
                true
            }
            (Some(now), None) if Some(now) == known => {
                *told = None;
                true
            }
            _ => false,
        });
        *told.borrow()
    }

    /// Has the connections of an agent that was followed, which has until `last`, end in time for what the next one is told.
    pub(super) async fn hurry(&self, ending: &Ending, last: Instant) -> Infallible {
        let mut known: Option<Draining> = None;
        loop {
            known = self.find().map(|found| known.unwrap_or(found));
            ending.by(known.map_or(last, |known| known.deadline.min(last)));
            sleep(LOOKING).await;
        }
    }

    fn keep(&self, told: Option<Draining>) {
        let operators = told.filter(|told| told.by == DrainedBy::Operator);
        let kept = match operators {
            Some(drain) => {
                let left = drain.deadline.saturating_duration_since(Instant::now());
                let end = (clock::now() + left).as_millis();
                fs::write(&self.file, format!("{} {end}\n", drain.span().as_millis().div_ceil(1000)))
            }
            None => fs::remove_file(&self.file),
        };
        match kept {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let file = self.file.display();
                warn!(%file, %error, "an agent that takes over will not know whether this node drains");
            }
            _ => {}
        }
    }

    /// What is left of it. One that would last longer than it was told is of a time before the machine started.
    fn find(&self) -> Option<Draining> {
        let kept = fs::read_to_string(&self.file).ok()?;
        let (seconds, end) = kept.trim().split_once(' ')?;
        let span = Duration::from_secs(seconds.parse::<u32>().ok()?.into());
        let end = Duration::from_millis(end.parse().ok()?);
        Some(Draining::within(end.saturating_sub(clock::now()).min(span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Drain;

    fn kept() -> (tempfile::TempDir, KeptDrain) {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = KeptDrain::new(folder.path());
        (folder, kept)
    }

    #[test]
    fn the_next_agent_goes_on_with_what_an_operator_said() {
        let (_folder, kept) = kept();
        let by_node = Draining::beside_node(None, Some(Drain::Cordoned));
        let [operator, stop] =
            [Draining::within(Duration::from_secs(70)), Draining::stop_within(Duration::from_secs(9))];
        for (said, expected) in
            [(None, None), (Some(operator), Some(70)), (by_node, None), (Some(stop), None)]
        {
            kept.keep(said);
            for now in [None, by_node] {
                let told = Told::new(now);
                let found = kept.inherit(&told, None).filter(|found| !found.is_nodes());
                let seconds = |found: Draining| found.span().as_millis().div_ceil(1000);
                assert_eq!(found.map(seconds), expected, "{said:?} {now:?}");
            }
        }
    }

    #[test]
    fn the_deadline_stays_whoever_goes_on() {
        let (_folder, kept) = kept();
        let began = Instant::now() - Duration::from_secs(200);
        let told = Draining {
            since: began,
            deadline: began + Duration::from_secs(300),
            ..Draining::within(Duration::ZERO)
        };
        kept.keep(Some(told));
        for _ in 0..2 {
            let found = kept.find().expect("it is kept");
            let (late, early) = (found.deadline - told.deadline, told.deadline - found.deadline);
            assert_eq!(late.max(early).as_secs(), 0, "{found:?}");
            kept.keep(Some(found));
        }
        let over = began + Duration::from_secs(20);
        kept.keep(Some(Draining { deadline: over, ..told }));
        assert_eq!(kept.find().map(|found| found.span()), Some(Duration::ZERO));
        // The machine has started anew since.
        fs::write(&kept.file, format!("300 {}\n", (clock::now() + Duration::from_secs(90_000)).as_millis()))
            .expect("a file");
        assert_eq!(kept.find().map(|found| found.span().as_secs()), Some(300));
    }

    #[test]
    fn what_is_called_off_meanwhile_is_forgotten() {
        let (_folder, kept) = kept();
        let told = Told::default();
        kept.keep(Some(Draining::within(Duration::from_secs(70))));
        let known = kept.inherit(&told, None);
        assert!(known.is_some());
        assert_eq!(kept.inherit(&told, known), known, "it goes on as it is");
        kept.keep(None);
        assert_eq!(kept.inherit(&told, known), None);
        // What this agent itself was told counts.
        let own = Some(Draining::within(Duration::from_secs(5)));
        told.send_replace(own);
        assert_eq!(kept.inherit(&told, known), own);
    }

    #[tokio::test]
    async fn only_who_has_the_packet_path_keeps_it() {
        let (_folder, kept) = kept();
        let (told, turn) = (Told::default(), watch::Sender::new(Turn::Waiting));
        let drain = Some(Draining::within(Duration::from_secs(70)));
        kept.keep(drain);
        let following = kept.follow(&told, turn.subscribe());
        tokio::pin!(following);
        let mut look = async || {
            tokio::select! {
                never = &mut following => match never {},
                () = tokio::task::yield_now() => {}
            }
            kept.find().is_some()
        };
        assert!(look().await, "it is the other agent's");
        turn.send_replace(Turn::Holding);
        assert!(!look().await, "who begins serves");
        told.send_replace(drain);
        assert!(look().await);
        turn.send_replace(Turn::After);
        told.send_replace(None);
        assert!(look().await, "it is the next agent's");
    }
}
