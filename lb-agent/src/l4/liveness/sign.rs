//! The agent's sign of life in the kernel: while it is missing, this node's own packet path opens nothing here, and is a
//! first hop for the others only.

use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};

use crate::l4::clock;

/// A fraction of `BEAT_LIMIT`: one that is late costs nothing.
const EVERY: Duration = Duration::from_millis(50);

/// Where the sign is given.
pub(super) struct Sign {
    pin: PathBuf,
    /// Open once the packet path is there.
    map: Option<Array<MapData, u64>>,
    given: Duration,
}

impl Sign {
    pub(super) fn new(pin: PathBuf) -> Self {
        Self { pin, map: None, given: Duration::ZERO }
    }

    /// Gives it, if it is due.
    pub(super) fn give(&mut self) {
        let now = clock::now();
        if now.saturating_sub(self.given) < EVERY {
            return;
        }
        self.given = now;
        let open = || Array::try_from(Map::Array(MapData::from_pin(&self.pin)?));
        // Without a packet path yet, nobody misses it.
        self.map = self.map.take().or_else(|| open().ok());
        if let Some(map) = &mut self.map
            && map.set(0, now.as_nanos() as u64, 0).is_err()
        {
            self.map = None;
        }
    }
}
