//! The agent's sign of life in the kernel: while it is missing, this node's own packet path opens nothing here, and is a
//! first hop for the others only.

use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, Map, MapData, MapError};
use lb_common::map::name;

use crate::l4::clock;
use crate::l4::pins::Pins;

/// A fraction of `BEAT_LIMIT`: one that is late costs nothing.
const EVERY: Duration = Duration::from_millis(50);

/// Where the sign is given.
pub(super) struct Sign {
    pins: Pins,
    /// Of each layout: the program of an agent with another one may go on until ours is in place.
    maps: Vec<Array<MapData, u64>>,
    /// Whether ours is there, and no other.
    is_settled: bool,
    given: Duration,
}

impl Sign {
    pub(super) fn new(pins: Pins) -> Self {
        Self { pins, maps: Vec::new(), is_settled: false, given: Duration::ZERO }
    }

    /// Gives it, if it is due.
    pub(super) fn give(&mut self) {
        let now = clock::now();
        if now.saturating_sub(self.given) < EVERY {
            return;
        }
        self.given = now;
        if !self.is_settled {
            self.open();
        }
        let value = now.as_nanos() as u64;
        self.is_settled &= self.maps.iter_mut().all(|map| map.set(0, value, 0).is_ok());
    }

    /// Without a packet path yet, nobody misses it.
    fn open(&mut self) {
        let pins = self.pins.map_of_each_layout(name::BEAT);
        self.maps = pins.iter().filter_map(|pin| open(pin).ok()).collect();
        self.is_settled = pins == [self.pins.map(name::BEAT)] && !self.maps.is_empty();
    }
}

fn open(pin: &Path) -> Result<Array<MapData, u64>, MapError> {
    Array::try_from(Map::Array(MapData::from_pin(pin)?))
}
