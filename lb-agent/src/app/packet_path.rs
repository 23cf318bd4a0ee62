//! The packet path as a part of the agent: begun once its key is known, which in a cluster may take a while.

use anyhow::Result;
use lb_common::hash::FlowKey;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Snapshots;
use crate::admin::{self, packet_metrics};
use crate::cli::Run;
use crate::l4::pins::Pins;
use crate::l4::wanted::Local;
use crate::l4::{self, Datapath, Uplink};
use crate::l7::Proxy;

/// What is known of the packet path before it begins.
pub(super) struct PacketPath {
    options: PathOptions,
    uplinks: Vec<Uplink>,
    attachments: watch::Sender<Vec<admin::Attachment>>,
    live: watch::Sender<u64>,
}

/// `l4::Options` without the key.
struct PathOptions {
    node: String,
    cluster: u32,
    port: u16,
    pins: Pins,
}

/// Where packets for VIPs come in; nowhere without packet path.
pub(super) async fn uplinks(run: &Run) -> Result<Vec<Uplink>> {
    let uplinks = if run.no_xdp { Vec::new() } else { l4::uplinks(&run.interface).await? };
    for Uplink { name, why, mtu } in &uplinks {
        info!(interface = name, why, mtu, "packets for VIPs come in here");
    }
    Ok(uplinks)
}

impl PacketPath {
    /// None with `--no-xdp`.
    pub(super) fn new(run: &Run, node: &str, uplinks: Vec<Uplink>) -> Option<Self> {
        let options = PathOptions {
            node: node.to_owned(),
            cluster: run.cluster_id,
            port: run.encap_port,
            pins: Pins::new(run.bpffs.clone()),
        };
        let (attachments, live) = (watch::Sender::default(), watch::Sender::new(0));
        (!run.no_xdp).then_some(Self { options, uplinks, attachments, live })
    }

    /// The interfaces with the packet path on them.
    pub(super) fn attachments(&self) -> watch::Receiver<Vec<admin::Attachment>> {
        self.attachments.subscribe()
    }

    /// The generation in the kernel's maps.
    pub(super) fn live(&self) -> watch::Receiver<u64> {
        self.live.subscribe()
    }

    /// Waits for the key, begins, and follows the snapshots that the proxy serves.
    pub(super) async fn run(
        self,
        key: impl Future<Output = Result<FlowKey>>,
        proxy: &Proxy,
        snapshots: Snapshots,
    ) -> Result<()> {
        let PathOptions { node, cluster, port, pins } = self.options;
        let local = Local { node, key: key.await?, cluster, port };
        let interfaces = self.uplinks.iter().map(|uplink| uplink.name.clone()).collect();
        let mut packet_path = Datapath::start(l4::Options { local, interfaces, pins }).await?;
        self.attachments.send_replace(attachments(&packet_path, &self.uplinks));
        let sockets = proxy.steered_sockets();
        let of_family = |is_v4: bool| sockets.iter().find(move |socket| socket.address.is_ipv4() == is_v4);
        packet_path.steer_to(of_family(true), of_family(false))?;
        Ok(packet_path.run(snapshots, self.live).await?)
    }
}

fn attachments(packet_path: &Datapath, uplinks: &[Uplink]) -> Vec<admin::Attachment> {
    let attachments = packet_path.attachments().iter().zip(uplinks);
    attachments
        .map(|(attachment, uplink)| admin::Attachment {
            interface: attachment.interface.clone(),
            why: uplink.why.clone(),
            mode: attachment.mode.to_string(),
            reason: attachment.reason.clone(),
        })
        .collect()
}

/// Reads the kernel's counters on each scrape, from the pinned maps: apart from the packet path, which a
/// scrape must not hold up.
pub(super) fn counters(
    run: &Run,
    snapshots: Snapshots,
    attachments: Option<watch::Receiver<Vec<admin::Attachment>>>,
) -> packet_metrics::ReadCounters {
    let Some(attachments) = attachments else { return Box::new(|| None) };
    let pins = Pins::new(run.bpffs.clone());
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
