//! A run: connections are opened in a scene, the event is played, and what became of them is judged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_common::verdict::Verdict;
use rustls::ClientConfig;

use super::Scale;
use super::client::{Clients, Plan};
use super::enough;
use super::fate::after_deadline;
use super::judgement::Seen;
use super::picture::holders;
use super::report::{Report, Took, reasons};
use super::scene::Scene;
use super::stage::{Mode, Played, pass};
use crate::lab::address::VIP;

/// One event in one mode.
pub(super) struct Run {
    name: &'static str,
    mode: Mode,
    /// `Event::places`.
    places: u8,
    scale: Scale,
    /// How long opening may take.
    pub(super) patience: Duration,
    pub(super) took: Took,
}

impl Run {
    /// Fails if this machine has not enough of something.
    pub(super) fn new(name: &'static str, mode: Mode, places: u8, scale: Scale) -> Result<Self> {
        enough::check(scale.connections as u64)?;
        let patience = Duration::from_secs(30 + scale.connections as u64 / 50);
        Ok(Self { name, mode, places, scale, patience, took: Took::default() })
    }

    /// Plays it in a scene that is raised.
    pub(super) fn play<S: Scene>(
        mut self,
        scene: &mut S,
        tls: Arc<ClientConfig>,
        event: impl FnOnce(&mut S) -> Result<Played>,
    ) -> Result<Report> {
        let Scale { connections, around, whole } = self.scale;
        let plan = Plan { connections, vip: VIP, tls, whole, patience: self.patience };
        enough::ports(scene.client(), connections as u64)?;
        let clients = self.took.of("opening", || Clients::open(scene.client(), &plan))?;
        let flows = clients.flows();
        scene.record().flows.clone_from(&flows);
        pass(around[0]);
        let nodes = scene.watched();
        let holders = holders(&nodes)?;
        scene.note_openers()?;
        scene.note_hops()?;
        scene.count_packets();
        let played = self.took.of("event", || event(scene))?;
        pass(around[1]);
        scene.note_hops()?;
        // Changes that waited may have come into force meanwhile.
        scene.note_openers()?;
        scene.count_packets();
        let record = std::mem::take(scene.record());
        let (mut fates, client_cpu_s) = self.took.of("ending", || clients.end())?;
        ensure!(fates.len() >= connections, "connections are missing");
        after_deadline(&mut fates, |flow| {
            let node = holders.get(flow)?;
            let of = played.deadlines.iter().find(|(index, _)| nodes[*index].name == *node);
            of.map(|(_, deadline)| *deadline)
        });
        let names = |indices: &[usize]| -> BTreeSet<String> {
            indices.iter().map(|&index| nodes[index].name.clone()).collect()
        };
        let packets = record.packets.sums();
        let count = |verdict: Verdict| packets.get(verdict.label()).copied().unwrap_or_default();
        let seen = Seen {
            mode: self.mode,
            flows,
            hops: record.hops,
            openings: record.openings,
            dead: names(&played.dead),
            touched: names(&played.touched),
            drained: names(&played.deadlines.iter().map(|(index, _)| *index).collect::<Vec<_>>()),
            holders,
            died: played.died.unwrap_or(played.began),
            may_fail: played.may_fail,
            places: self.places,
            found: [Verdict::FoundSecond, Verdict::FoundThird].map(count),
            fates,
        };
        self.took.end();
        Ok(Report {
            event: self.name,
            mode: self.mode,
            kinds: Report::kinds(&seen.fates),
            reasons: reasons(&seen.fates, played.began),
            judgement: seen.judge(),
            packets,
            relay: None,
            client_cpu_s,
            notes: played.notes,
            took: self.took,
        })
    }
}
