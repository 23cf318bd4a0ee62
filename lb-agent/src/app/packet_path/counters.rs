//! The kernel's counters.

use tokio::sync::watch;
use tracing::warn;

use super::{Snapshots, pins};
use crate::admin::{self, packet_metrics};
use crate::cli::Run;
use crate::l4;

/// Reads the kernel's counters on each scrape, from the pinned maps: apart from the packet path, which a
/// scrape must not hold up.
pub(in crate::app) fn counters(
    run: &Run,
    snapshots: Snapshots,
    attachments: Option<watch::Receiver<Vec<admin::Attachment>>>,
) -> packet_metrics::ReadCounters {
    let Some(attachments) = attachments else { return Box::new(|| None) };
    let pins = pins(run);
    Box::new(move || {
        // Before the packet path begins there is nothing to read.
        if attachments.borrow().is_empty() {
            return None;
        }
        let snapshot = snapshots.borrow().clone().unwrap_or_default();
        let counters =
            l4::reader::Reader::open(&pins).and_then(|reader| reader.read(snapshot.services.keys()));
        match counters {
            Ok(counters) => {
                Some(packet_metrics::Counters { verdicts: counters.verdicts, services: counters.services })
            }
            Err(error) => {
                warn!(%error, "the packet path's counters cannot be read");
                None
            }
        }
    })
}
