//! `cargo xtask chaos` in short: connections of all kinds while something happens, and a baseline that shows that
//! the counting counts.

use anyhow::{Context, Result};
use lb_tests::chaos::event::Event;
use lb_tests::chaos::judgement::{Judgement, Verdict};
use lb_tests::chaos::kind::Kind;
use lb_tests::chaos::stage::Mode;
use lb_tests::chaos::{Scale, play};

/// Plays an event, which must prove something.
fn proven(event: &str, mode: Mode) -> Result<Judgement> {
    let event = Event::named(event).context("no such event")?;
    let report = play(event, mode, Scale::short())?;
    println!("{report}");
    for kind in Kind::HELD.into_iter().chain([Kind::Connect, Kind::ConnectRough]) {
        assert!(report.kinds.get(&kind).is_some_and(|count| count.all > 0), "no {kind:?}");
    }
    let relay = report.relay.context("there is a relay")?;
    assert!(relay.lost > 0 && relay.repeated > 0 && relay.delayed > 0);
    assert_eq!(report.judgement.verdict, Verdict::Held);
    Ok(report.judgement)
}

#[test]
fn a_rehash_of_the_router_breaks_nothing() -> Result<()> {
    assert_eq!(proven("router-rehash", Mode::Edgelb)?.broken, 0);
    Ok(())
}

/// Two of three flows have another opener by the new key.
#[test]
fn another_flow_key_breaks_nothing() -> Result<()> {
    let judgement = proven("key-rolled", Mode::Edgelb)?;
    assert!(judgement.broken == 0 && judgement.moved_row > 0.5, "{judgement:?}");
    Ok(())
}

/// What ends there ends in order, or at the deadline.
#[test]
fn a_node_that_drains_breaks_nothing() -> Result<()> {
    let judgement = proven("node-drained", Mode::Edgelb)?;
    assert!(judgement.broken == 0 && judgement.moved_row >= 0.2, "{judgement:?}");
    Ok(())
}

/// That it held some is part of it.
#[test]
fn a_power_cut_breaks_what_the_node_had_and_nothing_else() -> Result<()> {
    let judgement = proven("node-killed", Mode::Edgelb)?;
    assert_eq!(judgement.broken, judgement.broken_with_the_dead, "{judgement:?}");
    assert!(judgement.broken > 0 && judgement.recovered_s.is_some(), "{judgement:?}");
    Ok(())
}

#[test]
fn another_program_under_a_flood_breaks_nothing() -> Result<()> {
    assert_eq!(proven("upgrade-under-flood", Mode::Edgelb)?.broken, 0);
    Ok(())
}

/// Nothing goes by maps that are not filled yet.
#[test]
fn agents_whose_maps_are_laid_out_otherwise_break_nothing() -> Result<()> {
    assert_eq!(proven("layout-upgraded", Mode::Edgelb)?.broken, 0);
    Ok(())
}

/// The members' rows move by a quarter, and nobody asks the member that was there before.
#[test]
fn a_node_that_joins_breaks_what_plain_consistent_hashing_moves() -> Result<()> {
    let judgement = proven("node-added", Mode::ConsistentHashing)?;
    assert!((0.15..0.35).contains(&judgement.moved_row), "{judgement:?}");
    assert_eq!(judgement.broken, judgement.predicted_broken, "{judgement:?}");
    Ok(())
}

#[test]
fn a_rehash_breaks_what_ecmp_alone_moves() -> Result<()> {
    let judgement = proven("router-rehash", Mode::RandomEcmp)?;
    assert!(judgement.broken > 0, "{judgement:?}");
    Ok(())
}
