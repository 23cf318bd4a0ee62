//! edgelb and other proxies, one worker of each on one core, by turns, with the same load and backend on another core.
//! CPU time per request is what counts: it says how many requests a node can carry, whatever else it does.

mod change;
mod descriptors;
mod figure;
mod load;
mod memory;
mod overload;
mod peer;
mod report;
mod scenario;
mod site;
mod subject;
mod template;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::affinity;
use super::report::Report;
use descriptors::Descriptors;
use figure::{Figures, of_load};
use peer::{OWN, Peer};
use report::Outcome;
use scenario::{Scenario, Task};
use site::Site;
use subject::Subject;

/// The core of the proxy under test; load and backend run on `LOAD_CORE`.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The scenarios' names; none for all.
    pub scenarios: Vec<String>,
    /// The peers' names; none for all.
    pub peers: Vec<String>,
    /// Times that each proxy has its turn.
    pub rounds: usize,
    /// How long a turn is.
    pub turn: Duration,
}

/// The scenarios, for people.
#[must_use]
pub fn list() -> String {
    scenario::list()
}

/// Runs the scenarios one after the other, and reports medians. A peer that fails in one is left out of it, with the
/// reason in the report; the report is a failure if that is edgelb.
///
/// # Errors
/// If there is no such scenario or peer, or the machine is too small.
pub fn run(options: &Options) -> Result<Report> {
    let (scenarios, peers) = (scenario::select(&options.scenarios)?, peer::select(&options.peers)?);
    affinity::require(2)?;
    let descriptors = Descriptors::take()?;
    // Names the machine before this process is kept on one core.
    let mut report = Report::new("l7");
    affinity::pin(LOAD_CORE)?;
    let mut failed = Vec::new();
    for scenario in scenarios {
        eprintln!("{}: {}", scenario.name, scenario.words);
        let outcomes = play(scenario, &peers, descriptors, options)?;
        failed.extend(
            outcomes.iter().filter(|one| one.peer == OWN && one.turns.is_err()).map(|_| scenario.name),
        );
        report::add(&mut report, scenario, &outcomes);
    }
    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    report.summary = report::summary(&report, &names);
    report.failure = (!failed.is_empty()).then(|| format!("edgelb failed in {}", failed.join(", ")));
    Ok(report)
}

/// All peers by turns.
fn play(
    scenario: &Scenario,
    peers: &[&'static dyn Peer],
    descriptors: Descriptors,
    options: &Options,
) -> Result<Vec<Outcome>> {
    let mut entrants = Vec::new();
    for peer in peers {
        let site = Site::new(scenario.site, descriptors)?;
        let subject = Subject::start(*peer, &site);
        entrants.push(Entrant { peer: peer.name(), site, subject, turns: Vec::new() });
    }
    for round in 0..scenario.task.rounds(options) {
        for entrant in &mut entrants {
            entrant.play(scenario, round, options);
        }
    }
    Ok(entrants.into_iter().map(Entrant::outcome).collect())
}

/// A peer in a scenario.
struct Entrant {
    peer: &'static str,
    site: Site,
    /// Or why it is out.
    subject: Result<Subject>,
    turns: Vec<Figures>,
}

impl Entrant {
    fn play(&mut self, scenario: &Scenario, round: usize, options: &Options) {
        let Ok(subject) = &self.subject else { return };
        match scenario.task.turn(subject, &mut self.site, options) {
            Ok(figures) => {
                let values: Vec<_> =
                    figures.iter().map(|(figure, value)| format!("{value:.1} {}", figure.unit)).collect();
                eprintln!("  round {}: {:8} {}", round + 1, self.peer, values.join(", "));
                self.turns.push(figures);
            }
            Err(error) => {
                eprintln!("  round {}: {:8} failed: {error:#}", round + 1, self.peer);
                self.subject = Err(error);
            }
        }
    }

    fn outcome(self) -> Outcome {
        let turns = self.subject.map(|_| self.turns).map_err(|error| format!("{error:#}"));
        Outcome { peer: self.peer, turns }
    }
}

impl Task {
    /// Memory does not vary enough to be measured twice.
    fn rounds(&self, options: &Options) -> usize {
        match self {
            Self::Load(_) | Self::Overload(_) | Self::Change => options.rounds,
            Self::Routes | Self::Idle(..) => 1,
        }
    }

    fn turn(&self, subject: &Subject, site: &mut Site, options: &Options) -> Result<Figures> {
        match *self {
            Self::Load(load) => {
                let measured = load::turn(load, subject.listen, site, options.turn, || subject.cpu_time())?;
                Ok(of_load(&measured, subject.memory()?))
            }
            Self::Overload(clients) => overload::turn(clients, subject, site, options),
            Self::Change => change::turn(subject, site),
            Self::Routes => memory::with_routes(subject, site),
            Self::Idle(opens, most) => {
                let possible = site.descriptors.connections() / 500 * 500;
                memory::with_idle(opens, subject, site, most.min(possible))
            }
        }
    }
}

/// A free port of loopback.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use site::Listen;
    use tempfile::TempDir;

    /// A template's lines depend on what a scenario needs, and a word that nobody fills in is found by a peer alone.
    #[test]
    fn every_peer_is_told_every_site() {
        let listen = Listen::new().expect("free ports");
        for scenario in &scenario::ALL {
            let site = Site::new(scenario.site, Descriptors(16_384)).expect("a site");
            let folder = TempDir::new().expect("a folder");
            for peer in peer::ALL {
                // The programs need not be here.
                drop(peer.prepare(&site, listen, folder.path()));
            }
            for name in [
                "manifests/common.yaml",
                "nginx.conf",
                "haproxy.cfg",
                "envoy.yaml",
                "traefik.yaml",
                "dynamic/common.yaml",
            ] {
                let text = std::fs::read_to_string(folder.path().join(name)).expect(name);
                let left = text.lines().find(|line| line.contains('@') && !line.contains("@type"));
                assert_eq!(left, None, "{name} of {}", scenario.name);
            }
        }
    }
}
