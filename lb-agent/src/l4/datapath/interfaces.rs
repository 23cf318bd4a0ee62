//! The interfaces that run the programs.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tracing::{info, warn};

use super::super::attach::{self, Attachment};
use super::super::liveness::miss_alike;
use super::super::{L4Error, interface};
use super::Datapath;

impl Datapath {
    /// How each interface runs the program.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// An interface that was deleted and made again (a virtual function, a bond, a driver that was loaded anew)
    /// has lost the program, and got another index.
    pub(super) async fn attach_again(&mut self, gone: &watch::Sender<BTreeMap<String, String>>) {
        if !std::mem::take(&mut self.stale.interfaces) {
            return;
        }
        let mut gone_now = BTreeMap::new();
        for attachment in &mut self.attachments {
            let name = attachment.interface.clone();
            match interface::find(&self.netlink, &name).await {
                Ok(found) if found.index == attachment.index => continue,
                Ok(_) => {}
                Err(error) => {
                    warn!(interface = name, %error, "no packets come from it until it is back");
                    let is_gone = matches!(error, L4Error::NoInterface { .. });
                    let why = if is_gone { "it is gone".to_owned() } else { error.to_string() };
                    gone_now.insert(name, why);
                    continue;
                }
            }
            match attach::xdp(&mut self.object, &self.netlink, &self.pins, &name).await {
                Ok(attached) => *attachment = attached,
                Err(error) => {
                    warn!(interface = name, %error, "made again, but XDP cannot be attached");
                    gone_now.insert(name.clone(), error.to_string());
                }
            }
            if let Err(error) = interface::hide_vips(&self.netlink, &name).await {
                warn!(interface = name, %error, "VIPs may be told to the network");
            }
        }
        gone.send_if_modified(|gone| std::mem::replace(gone, gone_now.clone()) != gone_now);
    }

    /// Puts the programs in place of those that go by maps of another layout.
    pub(super) async fn replace_other_layout(&mut self) -> Result<(), L4Error> {
        if std::mem::take(&mut self.is_to_fill) {
            miss_alike(&self.pins);
            let names: Vec<_> = self.attachments.iter().map(|ours| ours.interface.clone()).collect();
            self.attachments = attach::all(&mut self.object, &self.netlink, &self.pins, &names).await?;
            info!("maps of this version's layout are in force");
        }
        Ok(())
    }
}
