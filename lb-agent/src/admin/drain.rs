//! The drain as an operator asks for it: told, called off, and how it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Live;
use crate::model::{ConnectionKind, DRAIN_SECONDS, Drain, DrainProgress, DrainedBy, Draining, Turn};

/// What an agent says that has been followed: what it was told of a drain, the next one was told, too.
pub(super) const FOLLOWED: &str =
    "another agent has the packet path of this node: that one drains it, or does not (--admin-socket)";

/// How it goes, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct DrainReport {
    /// Whether this node was told to drain.
    pub draining: bool,
    /// What of its Node says so, if nobody else does: only there it can be called off.
    #[serde(default)]
    pub node_says: Option<String>,
    /// Whether its connections have ended, by themselves or at the deadline.
    pub complete: bool,
    /// In words.
    pub words: String,
    /// Whether new flows still open here: no connection is told to end yet.
    pub opens_here: bool,
    /// Whether it is another agent's to say by now.
    #[serde(default)]
    pub followed: bool,
    /// Seconds until what is left is closed.
    pub deadline: Option<u64>,
    /// Connections that are left, by kind; `at_kernel` are those that the proxy has no more, while their clients have not
    /// got everything.
    pub connections: BTreeMap<String, u64>,
    /// The age of the oldest, in seconds.
    pub oldest: Option<u64>,
}

impl DrainReport {
    /// Of this moment.
    pub(super) fn new(live: &Live) -> Self {
        let told = *live.draining.borrow();
        let progress = *live.drain.borrow();
        // Told a moment ago, it has nothing to say yet.
        let progress = if progress.of == told { progress } else { DrainProgress::default() };
        let is_told = told.is_some() && progress.of.is_none();
        let followed = *live.turn.borrow() == Turn::After;
        let words = match followed {
            true => FOLLOWED.to_owned(),
            false if is_told => "draining".to_owned(),
            false => progress.to_string() + &waits(live, &progress),
        };
        let by_kind = ConnectionKind::ALL.iter().zip(progress.left.by_kind);
        let node_says = told.and_then(|told| match told.by {
            DrainedBy::Node(drain) => Some(drain.field().to_owned()),
            DrainedBy::Operator | DrainedBy::Stop => None,
        });
        let deadline = progress.ends_by.or(told.map(|draining| draining.deadline));
        Self {
            draining: told.is_some(),
            node_says,
            complete: progress.is_complete() && !followed,
            words,
            followed,
            opens_here: progress.ends_by.is_none(),
            deadline: deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
            connections: by_kind
                .map(|(kind, left)| (kind.label().to_owned(), left))
                .chain([("at_kernel".to_owned(), progress.left.at_kernel)])
                .collect(),
            oldest: progress.left.oldest.map(|age| age.as_secs()),
        }
    }
}

/// Why new flows still open here, if that is known.
fn waits(live: &Live, progress: &DrainProgress) -> String {
    if progress.of.is_none() || progress.ends_by.is_some() {
        return String::new();
    }
    let history = live.history();
    let why = match history.queued {
        Some(queued) => queued,
        None if history.all_drain() => "all members drain, and somebody has to serve".to_owned(),
        None => return String::new(),
    };
    format!(" ({why})")
}

/// What a `POST` asks for: `deadline` in the query, in seconds.
pub(super) fn asked(query: Option<&str>) -> Result<Draining, String> {
    let seconds = match query.unwrap_or_default().split_once('=') {
        None => Ok(DRAIN_SECONDS),
        Some(("deadline", seconds)) => {
            seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))
        }
        Some((other, _)) => Err(format!("{other:?} is unknown: there is `deadline`, in seconds")),
    };
    seconds.map(|seconds| Draining::within(Duration::from_secs(seconds.into())))
}

/// What counts once an operator has said this, while the Node says that; `None` if the agent stops: it drains already, and
/// cannot be held up.
pub(super) fn said(
    told: Option<Draining>,
    wish: Option<Draining>,
    node: Option<Drain>,
) -> Option<Option<Draining>> {
    match told {
        Some(told) if told.stops() => None,
        // What an operator calls off is no cordon.
        Some(told) if told.is_nodes() => Some(Draining::beside_node(wish.or(Some(told)), node)),
        _ => Some(Draining::beside_node(wish, node)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::super::live::tests::live;
    use super::*;
    use crate::model::{Generation, History, Member, Snapshot, Step};

    /// A node at which new flows open though it was told to drain.
    fn held_up(history: History) -> Live {
        let of = Some(Draining::within(Duration::from_secs(9)));
        Live {
            draining: watch::Sender::new(of).subscribe(),
            drain: watch::Sender::new(DrainProgress { of, ..DrainProgress::default() }).subscribe(),
            history: Some(watch::Sender::new(history).subscribe()),
            ..live(Some(1), 1, Some(Snapshot::default()))
        }
    }

    #[test]
    fn who_waits_is_told_for_what() {
        let begin = "draining: new flows still open here, no connection left";
        let queued = Some("change 10 queued (a drains): b holds flows of membership 9".to_owned());
        let address = Ipv4Addr::LOCALHOST.into();
        let member = Member { name: "a".to_owned(), id: 1, address, weight: 0 };
        let all = Generation::new(7, Step::Settled, [("a".to_owned(), member)].into());
        let all_drain = History { agreed: vec![Arc::new(all)], ..History::default() };
        for (history, why) in [
            (History::default(), ""),
            (
                History { queued, ..History::default() },
                " (change 10 queued (a drains): b holds flows of membership 9)",
            ),
            (all_drain, " (all members drain, and somebody has to serve)"),
        ] {
            assert_eq!(DrainReport::new(&held_up(history)).words, format!("{begin}{why}"));
        }
    }

    #[test]
    fn who_was_followed_speaks_for_nobody() {
        let turn = watch::Sender::new(Turn::After).subscribe();
        let report = DrainReport::new(&Live { turn, ..held_up(History::default()) });
        assert!(report.followed && !report.complete);
        assert_eq!(report.words, FOLLOWED);
    }

    #[test]
    fn a_deadline_is_a_number_of_seconds() {
        let seconds = |query| asked(query).map(|draining: Draining| draining.span().as_secs());
        assert_eq!(seconds(None), Ok(300));
        assert_eq!(seconds(Some("deadline=7")), Ok(7));
        for wrong in ["deadline=", "deadline=-1", "deadline=1.5", "dead=1", "deadline=1&x=2"] {
            assert!(seconds(Some(wrong)).is_err(), "{wrong}");
        }
    }
    #[test]
    fn an_operator_has_the_last_word_but_for_the_agents_end() {
        let by = |told: Option<Option<Draining>>| told.map(|told| told.map(|told| told.by));
        let time = Duration::from_secs(9);
        let [operator, stop] = [Draining::within(time), Draining::stop_within(time)].map(Some);
        let (cordoned, node) = (Some(Drain::Cordoned), Some(Some(DrainedBy::Node(Drain::Cordoned))));
        let nodes = Draining::beside_node(None, cordoned);
        for (told, wish, drain, expected) in [
            (None, operator, None, Some(Some(DrainedBy::Operator))),
            (operator, None, None, Some(None)),
            (operator, None, cordoned, node),
            (nodes, operator, cordoned, Some(Some(DrainedBy::Operator))),
            (nodes, None, cordoned, node),
            (nodes, None, None, Some(None)),
            (stop, None, cordoned, None),
            (stop, operator, None, None),
        ] {
            assert_eq!(by(said(told, wish, drain)), expected, "{told:?} {wish:?} {drain:?}");
        }
        assert_eq!(said(nodes, None, cordoned), Some(nodes), "it keeps its deadline");
    }
}
