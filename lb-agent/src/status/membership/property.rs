//! Random histories of joins, deaths, drains, outages, changes of leader: what must hold whatever happens. Above all,
//! that no flow is lost but with its owner: `flows` has the nodes' side of it.
//!
//! Two leaders at a time are allowed here (an election can only make that rare): what they write is decided by
//! the server, which takes an update only of what it holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use self::flows::Flows;
use super::super::lease::NodeLease;
use super::tests::{DEADLINE, PERIOD, node};
use super::*;
use crate::model::{Drain, Mark};
use crate::status::AgentState;

mod flows;

const NODES: usize = 5;
const LEADERS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many seconds go by, and living agents renew.
    Pass(u64),
    /// An agent starts, or is ready again.
    Start(usize),
    /// It dies without a word; its Lease stays.
    Die(usize),
    Stop(usize),
    Drain(usize),
    /// It has the newest generation that the server holds.
    Acknowledge(usize),
    Label(usize, bool),
    Cordon(usize, bool),
    Weigh(usize, u32),
    /// All flows of a node end.
    Close(usize),
    /// The API server does not answer any more, or does again: nobody hears anybody.
    Outage(bool),
    /// A leader's watch breaks and is made again.
    Reconnect(usize),
    /// A leader is cut off from the server, alone, or is back.
    Partition(usize, bool),
    /// A new leader takes office beside the other.
    TakeOffice(usize),
    /// A leader reads the history.
    Read(usize),
    /// A leader decides on what it knows, and writes.
    Write(usize),
    /// The agent's wall clock is set to any time.
    SetClock(usize, i64),
}

#[derive(Clone, Debug)]
struct Agent {
    alive: bool,
    lease: NodeLease,
    clock: i64,
}

struct Leader {
    agents: Agents,
    history: (u64, EdgeMembershipSpec),
    is_cut_off: bool,
}

/// The API server, agents and leaders.
struct World {
    now: Instant,
    version: u64,
    history: EdgeMembershipSpec,
    agents: Vec<Agent>,
    labelled: BTreeSet<usize>,
    cordoned: BTreeSet<usize>,
    weights: [u32; NODES],
    is_out: bool,
    leaders: Vec<Leader>,
    /// When somebody could last write a Lease, by agent.
    contact: Vec<Instant>,
    flows: Flows,
}

fn name(at: usize) -> String {
    format!("edge-{at}")
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let lease = |at| NodeLease {
            node: name(at),
            holder: String::new(),
            renewal: None,
            duration: PERIOD,
            state: AgentState::Stopped,
            acknowledged: Mark::default(),
            rows: None,
            needed: None,
            held: 0,
            oldest: None,
            key: None,
            refused_key: None,
            addresses: Vec::new(),
        };
        let agent = |at| Agent { alive: false, lease: lease(at), clock: 0 };
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
            flows: Flows::default(),
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

    fn happen(&mut self, event: Event) {
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
        }
    }

    /// The history as it is goes into the node's kernel.
    fn load(&mut self, at: usize) {
        if self.is_out {
            return;
        }
        let acknowledged = flows::mark(&self.history);
        self.flows.load(&name(at), &self.history);
        let needed = self.flows.needed(&name(at));
        let lease = &mut self.agents[at].lease;
        (lease.acknowledged, lease.needed) = (acknowledged, needed);
    }

    fn reaches(&self, leader: usize) -> bool {
        !self.is_out && !self.leaders[leader].is_cut_off
    }

    fn say(&mut self, at: usize, state: AgentState) {
        self.agents[at].alive = true;
        self.agents[at].lease.state = state;
        self.renew(at);
    }

    /// Leases are written in an order of the server's, and seen by those whose watch is up.
    fn renew(&mut self, at: usize) {
        if self.is_out {
            return;
        }
        let agent = &mut self.agents[at];
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

    fn is_named(&self, name: &str) -> bool {
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
        let sight = Sight { agents, nodes: &nodes, since: &since, deadline: DEADLINE, now: self.now };
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
            let said_so = agent.lease.state == AgentState::Stopped || !self.labelled.contains(&at);
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

fn event() -> impl Strategy<Value = Event> {
    let node = 0..NODES;
    let leader = 0..LEADERS;
    prop_oneof![
        6 => (1_u64..30).prop_map(Event::Pass),
        5 => node.clone().prop_map(Event::Start),
        2 => node.clone().prop_map(Event::Die),
        1 => node.clone().prop_map(Event::Stop),
        1 => node.clone().prop_map(Event::Drain),
        6 => node.clone().prop_map(Event::Acknowledge),
        1 => (node.clone(), any::<bool>()).prop_map(|(at, label)| Event::Label(at, label)),
        2 => (node.clone(), any::<bool>()).prop_map(|(at, cordon)| Event::Cordon(at, cordon)),
        1 => (node.clone(), 0..3_u32).prop_map(|(at, weight)| Event::Weigh(at, weight * 50)),
        2 => node.clone().prop_map(Event::Close),
        1 => any::<bool>().prop_map(Event::Outage),
        1 => leader.clone().prop_map(Event::Reconnect),
        1 => (leader.clone(), any::<bool>()).prop_map(|(at, is_cut_off)| Event::Partition(at, is_cut_off)),
        1 => leader.clone().prop_map(Event::TakeOffice),
        2 => leader.clone().prop_map(Event::Read),
        12 => leader.prop_map(Event::Write),
        1 => (node, -1_000_000_i64..1_000_000).prop_map(|(at, clock)| Event::SetClock(at, clock)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
    }

    /// In the end, those that are ready are the members, in one settled generation.
    #[test]
    fn calm_settles(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.happen(Event::Outage(false));
        (0..LEADERS).for_each(|leader| world.happen(Event::Partition(leader, false)));
        for at in 0..NODES {
            for event in
                [Event::Label(at, true), Event::Cordon(at, false), Event::Weigh(at, 100), Event::Close(at)]
            {
                world.happen(event);
            }
        }
        (0..3).for_each(|at| world.happen(Event::Start(at)));
        (3..NODES).for_each(|at| world.happen(Event::Stop(at)));
        for _ in 0..24 {
            world.happen(Event::Pass(3));
            (0..3).for_each(|at| world.happen(Event::Acknowledge(at)));
            world.happen(Event::Read(0));
            world.happen(Event::Write(0));
        }
        let [generation] = world.history.generations.as_slice() else {
            panic!("one generation, not {:#?}", world.history);
        };
        let names: Vec<_> = generation.members.iter().map(|member| member.name.clone()).collect();
        prop_assert_eq!((generation.step, names), (MembershipStep::Settled, vec![name(0), name(1), name(2)]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whoever gets a packet of a flow finds its owner, whatever step each of them is at. A node that comes back does so
    /// after it was put out: before, the others know by their probes that it was away, which is not looked at here.
    #[test]
    fn no_flow_is_lost_but_with_its_owner(events in proptest::collection::vec(event(), 1..160)) {
        no_flow_is_lost(events);
    }
}

/// The only member of a generation stops before the node that was it before has switched: flows open there as before.
#[test]
fn who_has_not_switched_learns_of_those_that_come_then() {
    no_flow_is_lost([
        Event::Start(2),
        Event::Write(0),
        Event::Label(2, false),
        Event::Start(4),
        Event::Write(0),
        Event::Acknowledge(2),
        Event::Read(1),
        Event::Acknowledge(4),
        Event::Write(1),
        Event::Stop(4),
        Event::Start(0),
        Event::Write(1),
        Event::Start(1),
    ]);
}

fn no_flow_is_lost(events: impl IntoIterator<Item = Event>) {
    let mut world = World::new();
    for event in events {
        if let Event::Start(at) = event
            && !world.agents[at].alive
            && (world.is_out || world.is_named(&name(at)))
        {
            continue;
        }
        world.happen(event);
        let alive: BTreeSet<_> = (0..NODES).filter(|at| world.agents[*at].alive).map(name).collect();
        world.flows.check(&alive);
        world.flows.open(&alive);
        world.flows.check(&alive);
        for at in 0..NODES {
            // Told with the next renewal.
            world.agents[at].lease.needed = world.flows.needed(&name(at));
        }
    }
}
