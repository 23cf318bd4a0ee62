//! What is live on this node at the moment, and what is missing until it is ready.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::model::Snapshot;

/// The node's moving parts, as their stages tell of them. A clone follows the same ones.
#[derive(Clone, Debug)]
pub struct Live {
    /// The name of this node's Node object.
    pub node: String,
    /// The agent's version.
    pub version: &'static str,
    /// When the agent started.
    pub started: SystemTime,
    /// The newest snapshot.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The generation that the kernel's maps hold, 0 for none; `None` for a proxy without packet path.
    pub kernel: Option<watch::Receiver<u64>>,
    /// The generation that the proxy serves, 0 for none.
    pub proxy: watch::Receiver<u64>,
    /// Interfaces with the packet path on them.
    pub attachments: Vec<Attachment>,
}

/// An interface with the packet path on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Why this one.
    pub why: String,
    /// How it runs the program: `native` or `generic`.
    pub mode: String,
    /// Why not in the driver.
    pub reason: Option<String>,
}

impl Live {
    /// The newest snapshot, if the objects have been read once.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    /// The generation in the kernel's maps; `None` without a packet path.
    #[must_use]
    pub fn kernel_generation(&self) -> Option<u64> {
        self.kernel.as_ref().map(|generation| *generation.borrow())
    }

    /// The generation that the proxy serves.
    #[must_use]
    pub fn proxy_generation(&self) -> u64 {
        *self.proxy.borrow()
    }

    /// What a node that is ready has, in words.
    #[must_use]
    pub fn ready(&self) -> String {
        let generation = self.kernel_generation().unwrap_or_else(|| self.proxy_generation());
        let places = self.attachments.iter().map(|place| format!("{} ({})", place.interface, place.mode));
        let places = match self.kernel.is_some() {
            true => format!("packets on {}", places.collect::<Vec<_>>().join(", ")),
            false => "no packet path".to_owned(),
        };
        let membership = self.snapshot().map(|snapshot| snapshot.membership).filter(|&number| number > 0);
        let membership = membership.map(|number| format!(", membership {number}")).unwrap_or_default();
        format!("ready: generation {generation}{membership}, {places}")
    }

    /// What keeps this node from being ready, in words. Ready is a node on which a first complete snapshot
    /// is live in kernel and proxy; later ones that fail leave it ready, with the last good state.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.snapshots.borrow().is_none() {
            missing.push("the objects have not been read completely yet");
        }
        if self.kernel_generation() == Some(0) {
            missing.push("the kernel's maps hold no snapshot yet");
        }
        if self.proxy_generation() == 0 {
            missing.push("the proxy serves no snapshot yet");
        }
        missing
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A node whose stages are at these generations; a snapshot is there if any of them is.
    pub(in crate::admin) fn live(kernel: Option<u64>, proxy: u64, snapshot: Option<Snapshot>) -> Live {
        Live {
            node: "edge-1".to_owned(),
            version: "0.1.0",
            started: SystemTime::now(),
            snapshots: watch::Sender::new(snapshot.map(Arc::new)).subscribe(),
            kernel: kernel.map(|generation| watch::Sender::new(generation).subscribe()),
            proxy: watch::Sender::new(proxy).subscribe(),
            attachments: vec![Attachment {
                interface: "eth0".to_owned(),
                why: "auto: has the default route of IPv4".to_owned(),
                mode: "generic".to_owned(),
                reason: Some("the driver refused".to_owned()),
            }],
        }
    }

    #[test]
    fn ready_is_what_is_live_everywhere() {
        let some = || Some(Snapshot { generation: 1, ..Snapshot::default() });
        for (kernel, proxy, snapshot, missing) in [
            (Some(0), 0, None, vec!["objects", "kernel", "proxy"]),
            (Some(0), 0, some(), vec!["kernel", "proxy"]),
            (Some(0), 1, some(), vec!["kernel"]),
            (Some(1), 0, some(), vec!["proxy"]),
            (Some(1), 1, some(), vec![]),
            (Some(3), 7, some(), vec![]),
            (None, 0, some(), vec!["proxy"]),
            (None, 1, some(), vec![]),
        ] {
            let found = live(kernel, proxy, snapshot).missing();
            assert_eq!(found.len(), missing.len(), "{kernel:?} {proxy}: {found:?}");
            for (found, word) in found.iter().zip(missing) {
                assert!(found.contains(word), "{found} {word}");
            }
        }
    }
}
