//! `cargo xtask bench tables`: what tables cost the agent: filling those of many backend sets, and one change of the
//! membership that concerns all of them, until the kernel has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_agent::l4::at_once;
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

/// Milliseconds that filling all may take, and one change until the kernel has it.
const FILLED: f64 = 100.0;
const CHANGED: f64 = 20.0;

const DONE_TO: &str = "64 sets of 256 members";

/// One backend set: the openers that are kept for it, its former membership, and the one after.
struct Set {
    openers: Openers,
    generations: [Arc<Generation>; 2],
}

/// How long a change of all sets took.
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
    let (mut alone, mut fills) = (Vec::new(), Vec::new());
    let (mut changes, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut sets: Vec<Set> = (0..SETS).map(Set::new).collect();
        let began = Instant::now();
        ensure!(sets.iter().all(Set::fills), "a table is empty");
        alone.push(millis(began.elapsed()));
        let began = Instant::now();
        ensure!(at_once::map(&sets, Set::fills).into_iter().all(|fills| fills), "a table is empty");
        fills.push(millis(began.elapsed()));
        sets.iter_mut().for_each(Set::know_openers);
        changes.push(change(&mut kernel, &mut sets)?);
        single.push(change(&mut kernel, &mut [Set::with_openers(SETS)])?);
    }
    let of = |changes: &[Change], part: fn(&Change) -> Duration| {
        median(changes.iter().map(|change| millis(part(change))))
    };
    let mut report = Report::new("tables");
    let row = |case: &str, value| Row::new(case, DONE_TO, value, "ms");
    report.rows.extend([
        row("fill, by one processor", median(alone)),
        row("fill", median(fills)).at_most(FILLED),
        row(
            "a member of each set leaves: rows of before and after, digests",
            of(&changes, |change| change.computed),
        ),
        row("a member of each set leaves: the kernel has them", of(&changes, |change| change.written)),
        row("a member of each set leaves: in all", of(&changes, Change::in_all)).at_most(CHANGED),
        row("a member of one set leaves: in all", of(&single, Change::in_all)).at_most(CHANGED),
    ]);
    Ok(report)
}

/// One member of each set leaves. The kernel's maps hold fewer tables than there are sets, so they take turns.
fn change(kernel: &mut Kernel, sets: &mut [Set]) -> Result<Change> {
    let began = Instant::now();
    let tables: Vec<_> = at_once::map(sets, Set::without_one).into_iter().map(Arc::new).collect();
    let computed = began.elapsed();
    let mut written = Duration::ZERO;
    for tables in tables.chunks(MAX_TABLES as usize) {
        let tables = (0..).zip(tables.iter().map(Arc::clone)).collect();
        let wanted = Wanted { tables, ..fixture::wanted(Outer::V4) };
        let began = Instant::now();
        kernel.set(&wanted)?;
        written += began.elapsed();
    }
    Ok(Change { computed, written })
}

impl Set {
    fn new(number: usize) -> Self {
        let member = |id: MemberId| {
            let name = format!("set-{number}-node-{id}");
            (name.clone(), Member { name, id, address: IpAddr::V4(Ipv4Addr::LOCALHOST), weight: 100 })
        };
        let before: BTreeMap<_, _> = (1..=MEMBERS).map(member).collect();
        let mut after = before.clone();
        after.pop_last();
        let generation = |number, members| Arc::new(Generation::new(number, Step::Settled, members));
        Self { openers: Openers::default(), generations: [generation(1, before), generation(2, after)] }
    }

    fn with_openers(number: usize) -> Self {
        let mut set = Self::new(number);
        set.know_openers();
        set
    }

    fn fills(&self) -> bool {
        maglev::fill(self.generations[0].members.values()).rows[0] != 0
    }

    /// As it is when a change comes: the agent knows the openers of before.
    fn know_openers(&mut self) {
        _ = self.openers.of(&self.generations[0]);
    }

    /// The rows of the former membership and what came after it.
    fn without_one(&mut self) -> Table {
        rows(&self.generations, &BTreeSet::new(), &mut self.openers)
    }
}
