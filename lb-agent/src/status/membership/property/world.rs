//! The API server, agents and leaders, and what must hold between two histories.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::super::super::lease::NodeLease;
use super::super::tests::{DEADLINE, PERIOD, node};
use super::super::*;
use super::flows::{Flows, Tables};
use super::{Event, LEADERS, NODES};
use crate::model::Drain;
use crate::status::AgentState;

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) alive: bool,
    pub(super) lease: NodeLease,
    clock: i64,
    /// What it would say if it knew the keys of the others.
    says: AgentState,
    given: u32,
}

struct Leader {
    agents: Agents,
    history: (u64, EdgeMembershipSpec),
    is_cut_off: bool,
}

/// The API server, agents and leaders.
pub(super) struct World {
    now: Instant,
    version: u64,
    pub(super) history: EdgeMembershipSpec,
    pub(super) agents: Vec<Agent>,
    labelled: BTreeSet<usize>,
    cordoned: BTreeSet<usize>,
    weights: [u32; NODES],
    pub(super) is_out: bool,
    leaders: Vec<Leader>,
    /// When somebody could last write a Lease, by agent.
    contact: Vec<Instant>,
    pub(super) flows: Flows,
}

pub(super) fn name(at: usize) -> String {
    format!("edge-{at}")
}

impl World {
    pub(super) fn new(tables: Rc<RefCell<dyn Tables>>) -> Self {
        let now = Instant::now();
        let lease = |at| NodeLease::saying(&name(at), PERIOD, AgentState::Stopped);
        let agent =
            |at| Agent { alive: false, lease: lease(at), clock: 0, says: AgentState::Stopped, given: 0 };
        let leader = || Leader {
            agents: Agents::new(PERIOD, now),
            history: (0, EdgeMembershipSpec::default()),
            is_cut_off: false,
        };
        Self {
            now,
            version: 0,
            history: EdgeMembershipSpec::default(),
            agents: (0..NODES).map(agent).collect(),
            labelled: (0..NODES).collect(),
            cordoned: BTreeSet::new(),
            weights: [EdgeNode::WEIGHT; NODES],
            is_out: false,
            leaders: (0..LEADERS).map(|_| leader()).collect(),
            contact: vec![now; NODES],
            flows: Flows::new(tables),
        }
    }

    fn nodes(&self) -> Vec<EdgeNode> {
        let node = |at: &usize| EdgeNode {
            weight: self.weights[*at],
            drain: self.cordoned.contains(at).then_some(Drain::Cordoned),
            ..node(&name(*at), &[&format!("198.51.100.{at}")])
        };
        self.labelled.iter().map(node).collect()
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(seconds) => self.pass(seconds),
            Event::Start(at) => {
                if !self.agents[at].alive {
                    self.load(at);
                }
                self.say(at, AgentState::Ready);
            }
            Event::Stop(at) => {
                self.say(at, AgentState::Stopped);
                self.agents[at].alive = false;
                self.flows.die(&name(at));
            }
            Event::Drain(at) if self.agents[at].alive => self.say(at, AgentState::Draining),
            Event::Drain(_) => {}
            Event::Die(at) => {
                self.agents[at].alive = false;
                self.flows.die(&name(at));
            }
            Event::Acknowledge(at) if !self.is_out && self.agents[at].alive => {
                self.load(at);
                self.renew(at);
            }
            Event::Acknowledge(_) => {}
            Event::Cordon(at, true) => _ = self.cordoned.insert(at),
            Event::Cordon(at, false) => _ = self.cordoned.remove(&at),
            Event::Weigh(at, weight) => self.weights[at] = weight,
            Event::Close(at) => self.flows.close(&name(at)),
            Event::Label(at, true) => _ = self.labelled.insert(at),
            Event::Label(at, false) => _ = self.labelled.remove(&at),
            Event::Outage(is_out) => {
                self.is_out = is_out;
                if !is_out {
                    (0..LEADERS).for_each(|leader| self.reconnect(leader));
                }
            }
            Event::Reconnect(leader) => self.reconnect(leader),
            Event::Partition(leader, is_cut_off) => {
                self.leaders[leader].is_cut_off = is_cut_off;
                self.reconnect(leader);
            }
            Event::TakeOffice(leader) => {
                self.leaders[leader].agents = Agents::new(PERIOD, self.now);
                self.reconnect(leader);
                self.read(leader);
            }
            Event::Read(leader) => self.read(leader),
            Event::Write(leader) => self.write(leader),
            Event::SetClock(at, clock) => self.agents[at].clock = clock,
            Event::Give(at, key) => self.agents[at].given = key,
            Event::GiveAll(key) => self.agents.iter_mut().for_each(|agent| agent.given = key),
        }
    }

    /// The history as it is goes into the node's kernel, with the keys that it names.
    fn load(&mut self, at: usize) {
        if self.is_out {
            return;
        }
        let mark = self.flows.load(&name(at), &self.history, self.agents[at].given);
        let needed = self.flows.needed(&name(at));
        let key = self.flows.key(&name(at));
        let lease = &mut self.agents[at].lease;
        (lease.acknowledged, lease.needed, lease.key) = (mark.unwrap_or(lease.acknowledged), needed, key);
    }

    fn reaches(&self, leader: usize) -> bool {
        !self.is_out && !self.leaders[leader].is_cut_off
    }

    fn say(&mut self, at: usize, state: AgentState) {
        self.agents[at].alive = true;
        self.agents[at].says = state;
        self.renew(at);
    }

    /// Leases are written in an order of the server's, and seen by those whose watch is up.
    fn renew(&mut self, at: usize) {
        if self.is_out {
            return;
        }
        let lacks = self.flows.lacks(&name(at));
        let agent = &mut self.agents[at];
        agent.lease.given_key = Some(agent.given);
        agent.lease.state = match agent.says {
            AgentState::Ready | AgentState::Draining if lacks => AgentState::Starting,
            says => says,
        };
        agent.clock += 1;
        agent.lease.renewal = Timestamp::from_second(agent.clock).ok();
        self.contact[at] = self.now;
        let lease = agent.lease.clone();
        for leader in self.leaders.iter_mut().filter(|leader| !leader.is_cut_off) {
            leader.agents.apply(lease.clone(), self.now);
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(3) {
            self.now += Duration::from_secs(3);
            for at in 0..NODES {
                if self.agents[at].alive {
                    self.renew(at);
                }
            }
        }
    }

    fn reconnect(&mut self, leader: usize) {
        if self.reaches(leader) {
            let leases = self.agents.iter().map(|agent| agent.lease.clone());
            let written = leases.filter(|lease| lease.renewal.is_some()).collect::<Vec<_>>();
            self.leaders[leader].agents.reset(written, self.now);
        }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        let members = self.history.generations.iter().flat_map(|generation| &generation.members);
        members.map(|member| &member.name).any(|member| member == name)
    }

    fn read(&mut self, leader: usize) {
        if self.reaches(leader) {
            self.leaders[leader].history = (self.version, self.history.clone());
        }
    }

    fn write(&mut self, leader: usize) {
        let nodes = self.nodes();
        let Leader { agents, history: (version, history), .. } = &self.leaders[leader];
        let since = Since::default();
        let sight = Sight {
            agents,
            nodes: &nodes,
            since: &since,
            deadline: DEADLINE,
            keeps_keys: true,
            now: self.now,
        };
        let next = next(history, &sight);
        let Some(written) = next.history else { return };
        if !self.reaches(leader) || *version != self.version {
            return;
        }
        assert_eq!((written.check(), written.check_after(history)), (Ok(()), Ok(())), "{written:#?}");
        self.check(&written);
        self.version += 1;
        self.history = written;
        self.read(leader);
    }

    /// What must hold between what the server holds and what takes its place.
    fn check(&self, written: &EdgeMembershipSpec) {
        let (old, new) = (&self.history.generations, &written.generations);
        let newest_before = old.last().map_or(0, |newest| newest.number);
        assert!(new.windows(2).all(|pair| pair[0].number < pair[1].number), "numbers rise: {new:#?}");
        assert!(!new.is_empty() && new.last().is_some_and(|newest| newest.number >= newest_before));
        for generation in new.iter().filter(|generation| generation.number <= newest_before) {
            let before = old.iter().find(|before| before.number == generation.number);
            assert_eq!(before.map(|before| &before.members), Some(&generation.members), "what was stays");
        }
        ids_are_one_to_one(new);
        for generation in new {
            assert!(!generation.members.is_empty(), "somebody is a member");
            let names: Vec<_> = generation.members.iter().map(|member| &member.name).collect();
            assert!(names.is_sorted(), "{names:?}");
        }
        self.nobody_who_could_speak_is_put_out(old, new);
    }

    /// An agent that lives, is labelled, and renewed within a period, or could not because the server was out,
    /// goes only by its own word.
    fn nobody_who_could_speak_is_put_out(&self, old: &[MembershipGeneration], new: &[MembershipGeneration]) {
        let members = |generations: &[MembershipGeneration]| -> BTreeSet<String> {
            generations.iter().rev().take(1).flat_map(|g| g.members.iter().map(|m| m.name.clone())).collect()
        };
        for gone in members(old).difference(&members(new)) {
            let at = (0..NODES).find(|at| name(*at) == *gone).expect("nobody else is there");
            let agent = &self.agents[at];
            let stops = [AgentState::Stopped, AgentState::Starting].contains(&agent.lease.state);
            let said_so = stops || !self.labelled.contains(&at);
            // What was only learned is given up for another's death.
            if !in_force(&self.history).is_some_and(|g| g.members.iter().any(|m| m.name == *gone)) {
                continue;
            }
            let was_silent = !agent.alive && self.now >= self.contact[at] + PERIOD;
            assert!(said_so || was_silent, "{gone} was put out while it could speak");
        }
    }
}

fn ids_are_one_to_one(generations: &[MembershipGeneration]) {
    let members = || generations.iter().flat_map(|generation| &generation.members);
    let names: BTreeSet<_> = members().map(|member| (&member.name, member.id)).collect();
    let (distinct, ids): (BTreeSet<_>, BTreeSet<_>) = names.iter().copied().unzip();
    assert_eq!((names.len(), names.len()), (distinct.len(), ids.len()), "an id has one name: {names:?}");
}
