//! `cargo xtask bench tables`: what tables cost the agent: filling those of many backend sets, and one change of the
//! membership that concerns all of them, until the kernel has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_agent::l4::maglev::{self, Table};
use lb_agent::l4::rows::{Openers, rows};
use lb_agent::l4::wanted::Wanted;
use lb_agent::model::{Generation, Member, Step};
use lb_common::map::MAX_TABLES;
use lb_common::row::MemberId;

use super::report::{Report, Row, median, millis};
use crate::fixture::{self, Outer};
use crate::kernel::Kernel;

/// Backend sets, and members of each.
const SETS: usize = 64;
const MEMBERS: u16 = 256;

/// Times that everything is measured; the median counts.
const ROUNDS: usize = 9;

const DONE_TO: &str = "64 sets of 256 members";

/// One backend set: the openers that are kept for it, and its former membership.
struct Set {
    openers: Openers,
    before: BTreeMap<String, Member>,
}

/// How long a change of all sets took.
#[derive(Default)]
struct Change {
    computed: Duration,
    written: Duration,
}

impl Change {
    fn in_all(&self) -> Duration {
        self.computed + self.written
    }
}

/// Measures.
///
/// # Errors
/// Without the right to load programs.
pub fn run() -> Result<Report> {
    let mut kernel = Kernel::load()?;
    let mut fills = Vec::new();
    let (mut changes, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut sets: Vec<Set> = (0..SETS).map(Set::new).collect();
        let began = Instant::now();
        for set in &sets {
            ensure!(maglev::fill(set.before.values()).rows[0] != 0, "a table is empty");
        }
        fills.push(millis(began.elapsed()));
        sets.iter_mut().for_each(Set::know_openers);
        changes.push(change(&mut kernel, &mut sets)?);
        single.push(change(&mut kernel, &mut [Set::with_openers(SETS)])?);
    }
    let of = |changes: &[Change], part: fn(&Change) -> Duration| {
        median(changes.iter().map(|change| millis(part(change))))
    };
    let mut report = Report::new("tables");
    let mut row = |case: &str, value| report.rows.push(Row::new(case, DONE_TO, value, "ms"));
    row("fill", median(fills));
    row(
        "a member of each set leaves: rows of before and after, digests",
        of(&changes, |change| change.computed),
    );
    row("a member of each set leaves: the kernel has them", of(&changes, |change| change.written));
    row("a member of each set leaves: in all", of(&changes, Change::in_all));
    row("a member of one set leaves: in all", of(&single, Change::in_all));
    Ok(report)
}

/// One member of each set leaves. The kernel's maps hold fewer tables than there are sets, so they take turns.
fn change(kernel: &mut Kernel, sets: &mut [Set]) -> Result<Change> {
    let mut change = Change::default();
    for sets in sets.chunks_mut(MAX_TABLES as usize) {
        let began = Instant::now();
        let tables = sets.iter_mut().map(Set::without_one);
        let tables: BTreeMap<u32, Arc<Table>> =
            (0..).zip(tables).map(|(number, table)| (number, Arc::new(table))).collect();
        change.computed += began.elapsed();
        let wanted = Wanted { tables, ..fixture::wanted(Outer::V4) };
        let began = Instant::now();
        kernel.set(&wanted)?;
        change.written += began.elapsed();
    }
    Ok(change)
}

impl Set {
    fn new(number: usize) -> Self {
        let member = |id: MemberId| {
            let name = format!("set-{number}-node-{id}");
            (name.clone(), Member { name, id, address: IpAddr::V4(Ipv4Addr::LOCALHOST), weight: 100 })
        };
        Self { openers: Openers::default(), before: (1..=MEMBERS).map(member).collect() }
    }

    fn with_openers(number: usize) -> Self {
        let mut set = Self::new(number);
        set.know_openers();
        set
    }

    /// As it is when a change comes: the agent knows the openers of before.
    fn know_openers(&mut self) {
        self.table(&[]);
    }

    fn without_one(&mut self) -> Table {
        let mut after = self.before.clone();
        after.pop_last();
        self.table(&[after])
    }

    /// The rows of the former membership and what came after it.
    fn table(&mut self, later: &[BTreeMap<String, Member>]) -> Table {
        let all = std::iter::once(&self.before).chain(later);
        let generations: Vec<_> = (1..)
            .zip(all)
            .map(|(number, members)| Arc::new(Generation::new(number, Step::Settled, members.clone())))
            .collect();
        rows(&generations, &BTreeSet::new(), &mut self.openers)
    }
}
