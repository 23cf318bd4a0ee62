//! The leader's histories and the packet path's rows, together: whatever happens to nodes, flows are found at owners that live.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use lb_common::row::NO_MEMBER;
use proptest::prelude::*;

use crate::l4::maglev;
use crate::l4::rows::{Columns, Openers};
use crate::model::{Generation, Member};
use crate::status::property::{BUCKETS, Event, NODES, Tables, event, no_flow_is_lost};

/// Rows as the packet path has them, of a few buckets.
struct Rows {
    openers: Openers,
    buckets: Vec<usize>,
}

impl Rows {
    fn tables() -> Rc<RefCell<dyn Tables>> {
        Rc::new(RefCell::new(Self { openers: Openers::default(), buckets: buckets() }))
    }
}

impl Tables for Rows {
    fn rows(&mut self, generations: &[Arc<Generation>], down: &BTreeSet<u16>) -> Vec<Vec<u16>> {
        let columns = Columns::new(generations, down, &mut self.openers);
        let row = |&bucket: &usize| columns.row(bucket).members().into_iter().filter(|id| *id != 0).collect();
        self.buckets.iter().map(row).collect()
    }

    fn openers(&mut self, generation: &Generation) -> Vec<u16> {
        let openers = self.openers.of(generation);
        self.buckets.iter().map(|&bucket| openers[bucket]).collect()
    }
}

/// Such that no member's going moves another's: the generation by which the leader takes a dead member out is not learned, and
/// by it the table moves a few buckets besides (0.3 %).
fn buckets() -> Vec<usize> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let member = |at| Member { name: format!("edge-{at}"), id: at as u16 + 1, address, weight: 100 };
    let all: Vec<_> = (0..NODES).map(member).collect();
    let is_in = |set: usize, member: &&Member| set & 1 << (member.id - 1) != 0;
    let tables: Vec<_> = (0..1_usize << NODES)
        .map(|set| maglev::openers(all.iter().filter(|member| is_in(set, member))))
        .collect();
    let is_steady = |bucket: &usize| {
        let moves = |(set, out): (usize, usize)| {
            let (with, without) = (tables[set][*bucket], tables[set & !(1 << out)][*bucket]);
            with != out as u16 + 1 && without != NO_MEMBER && with != without
        };
        !(1..tables.len()).any(|set| (0..NODES).any(|out| moves((set, out))))
    };
    // Not only the first ones: members take their first turns there.
    let buckets = (0..tables[0].len()).step_by(1_009).chain(0..tables[0].len());
    buckets.filter(is_steady).take(BUCKETS).collect()
}

/// Weights make other tables; and two keys need places in rows that memberships need, too: what rows have room for then is
/// counted elsewhere.
fn of_members() -> impl Strategy<Value = Event> {
    event().prop_filter("of members", |event| {
        !matches!(event, Event::Give(..) | Event::GiveAll(_) | Event::Weigh(..))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_flow_is_lost_in_rows_as_they_are(events in prop::collection::vec(of_members(), 1..160)) {
        no_flow_is_lost(Rows::tables(), events);
    }
}

/// Two drains one after the other, with flows that last, and then deaths.
#[test]
fn deaths_while_two_drain_cost_what_the_dead_held() {
    let acknowledge = || (0..NODES).map(Event::Acknowledge);
    let steps =
        || (0..4).flat_map(move |_| [Event::Read(0), Event::Write(0)].into_iter().chain(acknowledge()));
    for dead in [[2, 3], [3, 2], [4, 0], [0, 4]] {
        let all = (0..NODES).map(Event::Start).chain(steps());
        let drains = [0, 1].into_iter().flat_map(|at| [Event::Cordon(at, true)].into_iter().chain(steps()));
        let buried = || [Event::Pass(30), Event::Read(0), Event::Write(0)].into_iter().chain(acknowledge());
        let deaths = dead.into_iter().flat_map(|at| [Event::Die(at)].into_iter().chain(buried()));
        no_flow_is_lost(Rows::tables(), all.chain(drains).chain(deaths));
    }
}
