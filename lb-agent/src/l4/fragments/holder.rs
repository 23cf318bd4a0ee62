//! Holds parts of datagrams until the first part has come. Pure: the clock is passed in, and whether a first part has
//! come is asked of the caller, less and less often, so that nobody can make this node busy by sending no first parts.

use std::collections::VecDeque;
use std::time::Duration;

use lb_common::fragment::DatagramKey;

/// Parts that are held at one time.
const MOST: usize = 512;

/// Bytes of all of them.
const MOST_BYTES: usize = 512 << 10;

/// Parts of one source.
const MOST_OF_ONE: usize = 64;

/// So long a part waits.
const DEADLINE: Duration = Duration::from_secs(1);

/// The pause after the first question; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(1);

/// A part without its datagram's first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Early {
    pub(super) datagram: DatagramKey,
    /// The interface that its frame came in on.
    pub(super) interface: u32,
    pub(super) frame: Vec<u8>,
}

#[derive(Debug)]
struct Held {
    early: Early,
    until: Duration,
    /// When to ask for the first part, and how long to wait from then on.
    ask: Duration,
    pause: Duration,
}

/// The parts that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Holder {
    held: VecDeque<Held>,
    bytes: usize,
}

impl Holder {
    /// Holds a part. Gives what does not wait any longer for it: the oldest ones, for whose first part comes at all has it
    /// within milliseconds; or the part itself, if its source has enough here.
    pub(super) fn hold(&mut self, early: Early, now: Duration) -> Vec<Early> {
        let source = early.datagram.source;
        let of_it = self.held.iter().filter(|held| held.early.datagram.source == source).count();
        if of_it >= MOST_OF_ONE {
            return vec![early];
        }
        self.bytes += early.frame.len();
        self.held.push_back(Held { early, until: now + DEADLINE, ask: now, pause: PAUSE });
        let mut give_way = Vec::new();
        while self.held.len() > MOST || self.bytes > MOST_BYTES {
            give_way.extend(self.held.pop_front().map(|held| held.early));
            self.bytes = self.held.iter().map(|held| held.early.frame.len()).sum();
        }
        give_way
    }

    /// When to call `ready`.
    pub(super) fn due(&self) -> Option<Duration> {
        self.held.iter().map(|held| held.ask).min()
    }

    /// Those whose first part has come, and those that have waited long enough for it, in the order in which they came.
    pub(super) fn ready(&mut self, now: Duration, knows: impl Fn(&DatagramKey) -> bool) -> Vec<Early> {
        let mut ready = Vec::new();
        for mut held in std::mem::take(&mut self.held) {
            if held.ask > now {
                self.held.push_back(held);
            } else if now >= held.until || knows(&held.early.datagram) {
                self.bytes -= held.early.frame.len();
                ready.push(held.early);
            } else {
                held.ask = (now + held.pause).min(held.until);
                held.pause *= 2;
                self.held.push_back(held);
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const START: Duration = Duration::from_secs(100);

    fn part(source: u64, id: u32, len: usize) -> Early {
        let datagram = DatagramKey { source: [source, 0], id, ..DatagramKey::default() };
        Early { datagram, interface: 1, frame: vec![0; len] }
    }

    /// Asks whenever it is due until nothing is left: how often, and when the last one went.
    fn run(holder: &mut Holder, comes: Duration) -> (usize, Duration) {
        let (asked, mut last) = (Cell::new(0), START);
        while let Some(due) = holder.due() {
            let known = |_: &DatagramKey| {
                asked.set(asked.get() + 1);
                due >= comes
            };
            holder.ready(due, known);
            last = due;
        }
        (asked.get(), last)
    }

    #[test]
    fn a_part_goes_soon_after_its_first_one() {
        let ms = Duration::from_millis;
        for comes in [0, 1, 3, 10, 100, 400] {
            let mut holder = Holder::default();
            assert_eq!(holder.hold(part(1, 1, 100), START), []);
            let (asked, last) = run(&mut holder, START + ms(comes));
            assert!(last >= START + ms(comes) && last <= START + ms(2 * comes + 1), "{comes}: {last:?}");
            assert!(asked <= 12, "{comes} ms: asked {asked} times");
        }
    }

    #[test]
    fn a_part_without_a_first_one_goes_at_its_deadline() {
        let mut holder = Holder::default();
        assert_eq!(holder.hold(part(1, 1, 100), START), []);
        let (asked, last) = run(&mut holder, Duration::MAX);
        assert_eq!(last, START + DEADLINE);
        assert!(asked <= 12, "{asked}");
        assert_eq!((holder.bytes, holder.due()), (0, None));
    }

    #[test]
    fn parts_of_others_wait_on() {
        let mut holder = Holder::default();
        for id in 0..4 {
            assert_eq!(holder.hold(part(1, id % 2, 10), START), []);
        }
        let ready = holder.ready(START, |key| key.id == 1);
        assert_eq!(ready, [part(1, 1, 10), part(1, 1, 10)]);
        assert_eq!(holder.bytes, 20);
    }

    #[test]
    fn one_source_does_not_fill_it() {
        let mut holder = Holder::default();
        for id in 0..1_000 {
            let refused = holder.hold(part(1, id, 10), START);
            assert_eq!(refused.len(), usize::from(id as usize >= MOST_OF_ONE));
        }
        assert_eq!(holder.hold(part(2, 1, 10), START), []);
        assert_eq!(holder.held.len(), MOST_OF_ONE + 1);
    }

    #[test]
    fn the_oldest_gives_way() {
        for (len, most) in [(10, MOST), (MOST_BYTES / 8, 8)] {
            let mut holder = Holder::default();
            for source in 0..most as u64 {
                assert_eq!(holder.hold(part(source, 1, len), START), []);
            }
            assert_eq!(holder.hold(part(5_000, 1, len), START), [part(0, 1, len)]);
            assert_eq!(holder.held.len(), most);
            assert!(holder.bytes <= MOST_BYTES);
        }
    }
}
