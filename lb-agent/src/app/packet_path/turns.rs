//! The packet path goes from agent to agent of a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use tracing::info;

use super::{PacketPath, Rolling};
use crate::admin;
use crate::app::Snapshots;
use crate::l4::keys::Keys;
use crate::l4::wanted::Local;
use crate::l4::{self, Datapath, Inputs, Outputs, Succession, Uplink};
use crate::l7::Proxy;
use crate::model::Turn;

impl PacketPath {
    /// Holds the packet path, and lets it go, until the agent ends.
    pub(super) async fn take_turns(
        &self,
        succession: &mut Succession,
        keys: Rolling,
        proxy: &Proxy,
        mut snapshots: Snapshots,
    ) -> Result<()> {
        let mut begun = succession.begin().await?;
        if begun.is_none() {
            info!("another agent has the packet path: it is asked for it once this one is ready to serve");
            self.turn.send_replace(Turn::Waiting);
            snapshots.wait_for(Option::is_some).await?;
            // At once, so that nobody hears meanwhile that this node does not drain; and what was said since.
            let drain = self.options.drain.inherit(&self.draining, None);
            begun = Some(succession.take_over().await?);
            self.options.drain.inherit(&self.draining, drain);
        }
        proxy.listen(&succession.inherited())?;
        while let Some(packet_path) = begun {
            self.options.kept.keep(&keys.0.borrow());
            let successor = tokio::select! {
                result = self.follow(packet_path, keys.clone(), proxy, snapshots.clone()) => return result,
                successor = succession.successor() => successor,
            };
            self.turn.send_replace(Turn::After);
            let sockets: Vec<_> = proxy.listening_sockets().collect();
            begun = succession.leave_to(successor, &sockets).await;
        }
        std::future::pending().await
    }

    pub(super) fn succession(&self, keys: Keys) -> Succession {
        let options = &self.options;
        let interfaces = self.uplinks.iter().map(|uplink| uplink.name.clone()).collect();
        let local = Local { node: options.node.clone(), keys, cluster: options.cluster, port: options.port };
        let datapath = l4::Options {
            local,
            interfaces,
            pins: options.pins.clone(),
            history: options.history.clone(),
            openers_only: options.openers_only,
            drain_deadline: options.drain_deadline,
        };
        Succession::new(datapath, options.socket.clone(), options.may_take_over)
    }

    /// This agent's turn.
    async fn follow(
        &self,
        mut packet_path: Datapath,
        (keys, roll): Rolling,
        proxy: &Proxy,
        snapshots: Snapshots,
    ) -> Result<()> {
        self.attachments.send_replace(attachments(&packet_path, &self.uplinks));
        self.gone.send_replace(BTreeMap::new());
        self.turn.send_replace(Turn::Holding);
        let sockets = proxy.steered_sockets();
        let of_family = |is_v4: bool| sockets.iter().find(move |socket| socket.address.is_ipv4() == is_v4);
        packet_path.steer_to(of_family(true), of_family(false))?;
        let inputs = Inputs {
            snapshots,
            keys,
            roll,
            down: self.outlook.down(),
            alone: self.outlook.alone(),
            missed: self.outlook.missed().noticed(),
            heard: self.outlook.heard(),
            judged: self.outlook.judged(),
            draining: self.draining.subscribe(),
            captures: Arc::clone(&self.captures),
        };
        let (live, history) = (self.live.clone(), self.history.clone());
        let (holdings, gone) = (self.holdings.clone(), self.gone.clone());
        let outputs = Outputs { live, history, holdings, gone, missed: self.outlook.missed() };
        Ok(packet_path.run(inputs, outputs).await?)
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
