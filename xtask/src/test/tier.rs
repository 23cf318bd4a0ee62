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

    /// Tiers with a lab of their own need the agent's binary.
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

    /// How its tests come to run. Those of the control tier mostly wait, and so do those with nodes, for times that the product
    /// has; some need the machine for themselves.
    pub(super) fn turns(self) -> Vec<Turn> {
        match self {
            Self::Control => vec![Turn { threads: 2, ..Turn::ALONE }],
            Self::Netns => {
                vec![Turn { threads: 2, only: &[], skip: ALONE }, Turn { only: ALONE, ..Turn::ALONE }]
            }
            Self::E2e => vec![Turn::ALONE],
            _ => vec![Turn::default()],
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

/// Modules of the netns tier that count what breaks, or how long it takes; in which nobody may be taken for down; or that look
/// at all of the machine.
const ALONE: &[&str] = &[
    "chaos::",
    "clock::",
    "demo::",
    "lab::",
    "live::",
    "liveness::",
    "soak::",
    "spread::",
    "takeover::",
    "weights::",
];

/// Tests of a tier that run in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Turn {
    /// How many at once; 0 for as many as there are processors.
    threads: u8,
    /// What is part of their names; all if it is empty.
    only: &'static [&'static str],
    /// What is part of the names of others.
    skip: &'static [&'static str],
}

impl Turn {
    const ALONE: Self = Self { threads: 1, only: &[], skip: &[] };

    /// For the test runner.
    pub(super) fn arguments(&self) -> Vec<String> {
        let threads = (self.threads > 0).then(|| format!("--test-threads={}", self.threads));
        let skipped = self.skip.iter().flat_map(|name| ["--skip", name]).map(ToString::to_string);
        threads.into_iter().chain(skipped).chain(self.only.iter().map(ToString::to_string)).collect()
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
