//! `lb-agent doctor` and `lb-agent uninstall`, which need no agent: their flags.

use std::path::PathBuf;

use clap::Args;

use super::{AdminSocket, DEFAULT_STATE};

/// `lb-agent doctor`
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Interface to look at. Repeat it, or separate names by commas. [default: auto, as `run` has it; where that
    /// finds none, those that are up and have an address]
    #[arg(long, env = "EDGELB_INTERFACES", value_name = "IF", value_delimiter = ',')]
    pub interface: Vec<String>,
    /// Where maps and links are pinned.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Where an agent that runs here is asked how it is.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent uninstall`
#[derive(Clone, Debug, Args)]
pub struct Uninstall {
    /// Where maps and links are pinned.
    #[arg(long, env = "EDGELB_BPFFS", value_name = "DIR", default_value = crate::l4::pins::DEFAULT_ROOT)]
    pub bpffs: PathBuf,
    /// Where agents of this node meet and store state.
    #[arg(long, env = "EDGELB_STATE", value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// Stay when it is done, until told to stop: the pod of a DaemonSet is to keep running.
    #[arg(long)]
    pub stay: bool,
    /// Remove from the cluster instead of from this node.
    #[arg(long)]
    pub cluster: bool,
    /// With --cluster: how to reach it. [default: as `run` has it]
    #[arg(long, env = "EDGELB_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// With --cluster: edgelb's own namespace.
    #[arg(long, env = "EDGELB_NAMESPACE", value_name = "NAME", default_value = "edgelb-system")]
    pub namespace: String,
}
