//! The agent's sign of life in the kernel: while it is missing, this node's own packet path opens nothing here, and is a
//! first hop for the others only. It is given again once rows lead to what they opened meanwhile: with rows of this
//! node alone, their connections' packets would be refused here.
//!
//! Both go by the clock that stands still while the machine sleeps: then the packet path has missed nothing, and it
//! is the others who say that they took this node for down.

use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, Map, MapData, MapError};
use lb_common::map::{BEAT_LIMIT, name};
use tracing::{info, warn};

use super::missed::Missed;
use crate::l4::clock;
use crate::l4::pins::Pins;

/// A fraction of `BEAT_LIMIT`: one that is late costs nothing.
const EVERY: Duration = Duration::from_millis(50);

/// One that is older than this is noticed here, a little before the packet path does.
const LATE: Duration = Duration::from_nanos(BEAT_LIMIT).saturating_sub(EVERY);

/// A sign that is older than any other; 0 is none, which no packet path waits for.
const LONG_AGO: u64 = 1;

/// Where the sign is given.
pub(super) struct Sign {
    pins: Pins,
    /// Of each layout: the program of an agent with another one may go on until ours is in place.
    maps: Vec<Array<MapData, u64>>,
    /// Whether ours is there, and no other.
    is_settled: bool,
    turn: Turn,
    /// Whether the packet path was told to miss it.
    is_withheld: bool,
    missed: Missed,
}

/// Has the packet path of our layout, the maps of which had no sign yet, miss what that of another layout does.
pub(in crate::l4) fn miss_alike(pins: &Pins) {
    let mut maps = open_all(pins);
    let Some(last) = last(&maps) else { return };
    for map in maps.iter_mut().filter(|map| map.get(&0, 0).is_ok_and(|given| given == 0)) {
        // One that cannot be written is not read by a packet path.
        let _ = map.set(0, last.as_nanos() as u64, 0);
    }
}

/// Has the packet path do at once what it does without an agent: none comes after this one. Its opens no flow from here on,
/// and hands on those that others still open at it.
pub fn fall_silent(pins: &Pins) {
    for mut map in open_all(pins) {
        // One that cannot be written has its last sign, and is silent when that is old.
        let _ = map.set(0, LONG_AGO, 0);
    }
}

/// Whether the packet path has one, of whichever agent: then what that one found is as recent.
pub(super) fn is_there(pins: &Pins) -> bool {
    last(&open_all(pins)).is_some_and(|last| !is_late(last, clock::now()))
}

/// When it is this agent's turn to give one. Pure.
#[derive(Debug, Default)]
struct Turn {
    /// When it gave the last one.
    given: Option<Duration>,
    /// When it looked last.
    looked: Duration,
    /// Whether the last one was found to be missing, and none was given since.
    is_noticed: bool,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    Nothing,
    /// Say that it was missed for so long.
    Notice(Duration),
    Give,
}

impl Sign {
    pub(super) fn new(pins: Pins, missed: Missed) -> Self {
        Self { pins, maps: Vec::new(), is_settled: false, turn: Turn::default(), is_withheld: false, missed }
    }

    /// This agent has the packet path from now on, perhaps once more: whose maps there are, and how old the last sign is,
    /// it has to find out anew.
    pub(super) fn begin(&mut self) {
        (self.is_settled, self.turn) = (false, Turn::default());
    }

    /// Gives none, so that the packet path opens nothing: at once, not when the last one is old.
    pub(super) fn withhold(&mut self) {
        if !std::mem::replace(&mut self.is_withheld, true) {
            fall_silent(&self.pins);
        }
    }

    /// Gives it, if it is due and nothing has to be done first.
    pub(super) fn give(&mut self) {
        self.is_withheld = false;
        // Read before anything else: if this thread stands still from here on, what it gives then is as old, or too late.
        let now = clock::now();
        if !self.turn.is_to_look(now) {
            return;
        }
        if !self.is_settled {
            self.open();
        }
        let has_given = self.turn.given.is_some();
        let last = last(&self.maps);
        match self.turn.due(last, self.missed.is_over(), now) {
            Due::Nothing => {}
            Due::Notice(age) => self.notice(has_given, age, now),
            Due::Give => {
                self.write(now);
                let then = clock::now();
                if let Some((last, age)) = self.turn.came_too_late(last, now, then) {
                    self.write(last);
                    self.notice(has_given, age, then);
                }
            }
        }
    }

    fn notice(&self, has_given: bool, age: Duration, now: Duration) {
        tell(has_given, age);
        self.missed.notice(now);
    }

    fn write(&mut self, sign: Duration) {
        let value = sign.as_nanos() as u64;
        self.is_settled &= self.maps.iter_mut().all(|map| map.set(0, value, 0).is_ok());
    }

    /// Without a packet path yet, nobody misses it.
    fn open(&mut self) {
        let pins = self.pins.map_of_each_layout(name::BEAT);
        self.maps = open_all(&self.pins);
        self.is_settled = pins == [self.pins.map(name::BEAT)] && !self.maps.is_empty();
    }
}

impl Turn {
    /// Whether the next one may be due: not right after the last one.
    fn is_to_look(&self, now: Duration) -> bool {
        self.given.is_none_or(|given| now.saturating_sub(given) >= EVERY)
    }

    /// What is due when the packet path had the `last` one then, and rows lead to all that opened elsewhere before it was
    /// noticed, or do not yet. If the agent has stood still again since, more has opened.
    fn due(&mut self, last: Option<Duration>, is_over: bool, now: Duration) -> Due {
        let stood_still = is_late(self.looked, now);
        self.looked = now;
        match last {
            Some(last) if is_late(last, now) => {
                if !self.is_noticed || stood_still {
                    self.is_noticed = true;
                    return Due::Notice(now.saturating_sub(last));
                }
                if !is_over {
                    return Due::Nothing;
                }
            }
            // It has never had any, or another agent has given some.
            _ => {}
        }
        self.is_noticed = false;
        self.given = Some(now);
        Due::Give
    }

    /// The sign of `now`, after that `last` one, is there `then`. If this thread stood still in between, the packet path may have
    /// noticed what nobody else did: that it is missing, and for how long. The last one stands again then.
    fn came_too_late(
        &mut self,
        last: Option<Duration>,
        now: Duration,
        then: Duration,
    ) -> Option<(Duration, Duration)> {
        let last = last.filter(|&last| !is_late(last, now) && is_late(last, then))?;
        self.is_noticed = true;
        Some((last, then.saturating_sub(last)))
    }
}

fn is_late(then: Duration, now: Duration) -> bool {
    now.saturating_sub(then) > LATE
}

/// That an agent begins where there was none is as it should be; one that stood still has too little to run on.
fn tell(has_given: bool, age: Duration) {
    let words = "no agent gave a sign of life for some time: others open this node's flows until its rows lead to them";
    match has_given {
        true => warn!(?age, "{words}"),
        false => info!(?age, "{words}"),
    }
}

/// When a packet path of the node had the last one, whichever agent gave it.
fn last(maps: &[Array<MapData, u64>]) -> Option<Duration> {
    let last = maps.iter().filter_map(|map| map.get(&0, 0).ok()).max();
    last.filter(|&last| last > 0).map(Duration::from_nanos)
}

/// Of each layout.
fn open_all(pins: &Pins) -> Vec<Array<MapData, u64>> {
    pins.map_of_each_layout(name::BEAT).iter().filter_map(|pin| open(pin).ok()).collect()
}

fn open(pin: &Path) -> Result<Array<MapData, u64>, MapError> {
    Array::try_from(Map::Array(MapData::from_pin(pin)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these moments, in milliseconds, with what the packet path has and whether rows lead. What is given is
    /// what it has from then on.
    fn check(before: u64, looks: &[(u64, bool, Due)]) {
        let mut turn = Turn::default();
        let mut last = Some(Duration::from_millis(before)).filter(|last| !last.is_zero());
        for &(now, is_over, expected) in looks {
            let now = Duration::from_millis(now);
            let due = turn.due(last, is_over, now);
            assert_eq!(due, expected, "{now:?} after {last:?}: {looks:?}");
            if due == Due::Give {
                last = Some(now);
            }
        }
    }

    fn missed(millis: u64) -> Due {
        Due::Notice(Duration::from_millis(millis))
    }

    #[test]
    fn a_sign_that_is_missed_is_given_after_the_rows() {
        // A machine that has just started: no packet path has ever had one.
        check(0, &[(20, true, Due::Give), (70, true, Due::Give)]);
        // A little late is not too late; it is noticed before the packet path does.
        check(9_000, &[(9_300, true, Due::Give), (9_600, true, Due::Give), (9_960, true, missed(360))]);
        // The agent before died.
        check(
            9_000,
            &[
                (12_000, true, missed(3_000)),
                (12_020, false, Due::Nothing),
                (14_000, false, missed(5_000)),
                (14_020, false, Due::Nothing),
                (14_040, true, Due::Give),
                (14_090, true, Due::Give),
            ],
        );
        // It stands still again after rows led there, or while they do not.
        check(
            9_000,
            &[(12_000, true, missed(3_000)), (14_000, true, missed(5_000)), (14_020, true, Due::Give)],
        );
        // Another agent of the node gave some meanwhile.
        check(9_000, &[(9_040, false, Due::Give)]);
        // The packet path's clock may be a little ahead of what was read here.
        check(9_001, &[(9_000, true, Due::Give)]);
    }

    #[test]
    fn a_sign_that_stood_still_on_its_way_is_missed() {
        let [before, now] = [9_000, 9_340].map(Duration::from_millis);
        let late = |last, then| {
            let mut turn = Turn::default();
            assert_eq!(turn.due(last, true, now), Due::Give);
            (turn.came_too_late(last, now, Duration::from_millis(then)), turn)
        };
        assert_eq!(late(Some(before), 9_345).0, None);
        assert_eq!(late(None, 9_900).0, None, "nobody misses the first one");
        let (missed, mut turn) = late(Some(before), 9_500);
        assert_eq!(missed, Some((before, Duration::from_millis(500))));
        assert_eq!(
            turn.due(Some(before), false, Duration::from_millis(9_520)),
            Due::Nothing,
            "it is noticed"
        );
        assert_eq!(turn.due(Some(before), true, Duration::from_millis(9_540)), Due::Give);
        // What was missed before is over: rows lead to all that opened meanwhile.
        let mut turn = Turn { is_noticed: true, looked: now, ..Turn::default() };
        let old = Some(Duration::from_millis(1_000));
        assert_eq!(turn.due(old, true, now), Due::Give);
        assert_eq!(turn.came_too_late(old, now, now + EVERY), None);
    }

    #[test]
    fn one_is_given_twenty_times_a_second() {
        let given = |given: Option<u64>| Turn { given: given.map(Duration::from_millis), ..Turn::default() };
        assert!(given(None).is_to_look(Duration::from_millis(10)));
        assert!(!given(Some(100)).is_to_look(Duration::from_millis(149)));
        assert!(given(Some(100)).is_to_look(Duration::from_millis(150)));
    }
}
