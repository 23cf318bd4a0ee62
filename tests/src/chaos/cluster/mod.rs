//! Events in a real Kubernetes: edgelb in its DaemonSet, its agents led by one of them, the API server away.

mod events;
mod stage;

use std::time::Duration;

use anyhow::{Context, Result};

use super::Scale;
use super::report::Report;
use super::run::Run;
use super::stage::{Mode, Played};
use crate::lab::tls::trust;

pub use self::stage::Stage;

/// Something that happens to a cluster while connections live.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its name on the command line: begins with `cluster-`, by which xtask knows that a cluster is to be built.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// How far down rows flows must be found in it.
    pub places: u8,
    /// Plays it.
    pub play: fn(&mut Stage) -> Result<Played>,
}

/// All of them, in the order in which they are played in one cluster: the last one costs it a node.
pub const ALL: &[Event] = &[
    Event {
        name: "cluster-drained",
        about: "told to drain while the API server is away, a node drains all the same",
        places: 2,
        play: events::drained,
    },
    Event {
        name: "cluster-rolled",
        about: "the DaemonSet's rolling update: the next agent on node after node",
        places: 1,
        play: events::rolled,
    },
    Event {
        name: "cluster-node-killed",
        about: "power cut of a node while the API server is away",
        places: 1,
        play: events::killed,
    },
];

/// Raises a cluster with edgelb.
///
/// # Errors
/// Says which part could not be made.
pub fn raise() -> Result<Stage> {
    Stage::raise().context("raising a cluster with edgelb")
}

/// Plays one of them.
///
/// # Errors
/// If the connections cannot be opened, or the event cannot be played.
pub fn play(event: &Event, stage: &mut Stage, scale: Scale) -> Result<Report> {
    // Beside three kubelets, connections open more slowly.
    let patience = Duration::from_secs(60);
    let mut run = Run::new(event.name, Mode::Edgelb, event.places, scale)?;
    run.patience += patience;
    let trust = trust(stage.cluster.control_plane.authority())?;
    run.play(stage, trust, event.play)
}
