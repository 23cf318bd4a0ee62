//! The XDP program that lets everything through, on the router's ends of the nodes' links: a veth end takes
//! frames that XDP on its peer sends or redirects only while it has a program of its own.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use lb_agent::l4::object::OBJECT;
use lb_common::map::program::PASS;

use super::namespace::Namespace;

/// Attaches it to interfaces of a namespace. The links are pinned in `pins`, so that they stay with the lab.
pub(crate) fn attach(namespace: &Namespace, interfaces: &[String], pins: &Path) -> Result<()> {
    namespace.run(|| {
        let mut object = Ebpf::load(OBJECT).context("loading the BPF object")?;
        let program: &mut Xdp = object
            .program_mut(PASS)
            .with_context(|| format!("the object has no program {PASS}"))?
            .try_into()?;
        program.load()?;
        for interface in interfaces {
            let link =
                program.attach(interface, XdpMode::Driver).with_context(|| format!("XDP on {interface}"))?;
            let link: FdLink = program.take_link(link)?.try_into()?;
            link.pin(pins.join(interface))?;
        }
        Ok(())
    })
}
