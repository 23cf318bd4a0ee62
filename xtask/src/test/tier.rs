//! The tiers: what each proves, and what it needs.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    cluster,
    programs::{LAB, NODE, PROXY_PEERS, Program},
    rights, workspace,
};

/// In the order in which they run: the cheapest first.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tier {
    /// Format, clippy, dependencies, documentation and the invariants of `cargo xtask tidy`.
    Lint,
    /// The tests that stand beside the code.
    Unit,
    /// The verified kernel program, packet by packet.
    Datapath,
    /// The request path in process, with peers that misbehave.
    Proxy,
    /// A real kube-apiserver with etcd on loopback.
    Control,
    /// Whole nodes in network namespaces, with real connections.
    Netns,
    /// Real kubelets with containerd in namespaces of their own.
    E2e,
}

impl Tier {
    /// The tiers that the repository has.
    pub(super) fn all_present() -> Result<Vec<Self>> {
        let tests = workspace::root()?.join("tests");
        let present = |tier: &Self| !tier.is_folder() || tests.join(tier.name()).join("main.rs").is_file();
        Ok(Self::value_variants().iter().copied().filter(present).collect())
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Datapath => "datapath",
            Self::Proxy => "proxy",
            Self::Control => "control",
            Self::Netns => "netns",
            Self::E2e => "e2e",
        }
    }

    pub(super) const fn proves(self) -> &'static str {
        match self {
            Self::Lint => "format, clippy, dependencies, documentation, invariants",
            Self::Unit => "the tests beside the code",
            Self::Datapath => "the verified kernel program, packet by packet",
            Self::Proxy => "the request path, with peers that misbehave",
            Self::Control => "objects of a real API server: state, status, outages",
            Self::Netns => "whole nodes in network namespaces, with real connections",
            Self::E2e => "real kubelets with containerd: pods, roll-outs, lost nodes",
        }
    }

    /// What this machine does not give us for this tier, and what would help.
    pub(super) fn missing(self) -> Option<String> {
        let missing = if self.is_privileged() { rights::missing() } else { Vec::new() };
        let list = missing.join(", ");
        (!missing.is_empty())
            .then(|| format!("needs {list}; this would help: sudo -E cargo xtask test {self}"))
    }

    /// Programs that are installed before the tier runs.
    pub(super) const fn programs(self) -> &'static [Program] {
        match self {
            Self::Proxy => &PROXY_PEERS,
            Self::Netns => &LAB,
            Self::E2e => &NODE,
            _ => &[],
        }
    }

    /// Tiers with a lab of their own need the agent's binary, and the machine for themselves.
    pub(super) const fn runs_the_agent(self) -> bool {
        matches!(self, Self::Control | Self::Netns | Self::E2e)
    }

    /// Which programs are built for it: a Kubernetes of its own, or what judges the proxy.
    pub(super) const fn extent(self) -> Option<cluster::Extent> {
        match self {
            Self::Proxy => Some(cluster::Extent::Judges),
            Self::Control => Some(cluster::Extent::ControlPlane),
            Self::E2e => Some(cluster::Extent::Nodes),
            _ => None,
        }
    }

    /// How many of its tests run at once. Those of the control tier mostly wait; nodes need the machine for
    /// themselves.
    pub(super) const fn threads(self) -> u8 {
        match self {
            Self::Control => 2,
            _ => 1,
        }
    }

    /// A folder of the crate `lb-tests`, or part of every crate.
    const fn is_folder(self) -> bool {
        !matches!(self, Self::Lint | Self::Unit)
    }

    const fn is_privileged(self) -> bool {
        matches!(self, Self::Datapath | Self::Netns | Self::E2e)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
