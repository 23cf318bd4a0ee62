//! `lb-agent health`, `drain` and `top`, which ask the agent of this node: their flags, and where it listens.

use std::env;
use std::path::PathBuf;

use clap::Args;

use super::DEFAULT_STATE;

/// `lb-agent health`
#[derive(Clone, Debug, Args)]
pub struct Health {
    /// Ask only whether it runs and answers, ready or not.
    #[arg(long)]
    pub live: bool,
    /// Count a node that drains as ready, if it works: for who replaces agents one by one and would wait for it for ever.
    #[arg(long, conflicts_with = "live")]
    pub exclude_drain: bool,
    /// Where it listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent drain`
#[derive(Clone, Debug, Args)]
pub struct Drain {
    /// Wait until it is done, and say how it goes.
    #[arg(long)]
    pub wait: bool,
    /// Call a drain off instead: this node takes new flows again.
    #[arg(long, conflicts_with_all = ["wait", "deadline"])]
    pub cancel: bool,
    /// After this time, connections that are left are closed. Told again, the new one counts.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::model::DRAIN_SECONDS)]
    pub deadline: u32,
    /// Where the agent listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// `lb-agent top`
#[derive(Clone, Debug, Args)]
pub struct Top {
    /// Show it once and end, as it does where the output is no terminal. Takes a second: it tells figures of one.
    #[arg(long)]
    pub once: bool,
    /// Once, as JSON: names stay the same from version to version.
    #[arg(long)]
    pub json: bool,
    /// Where the agent listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// Where a running agent listens for its operator.
#[derive(Clone, Debug, Args)]
pub struct AdminSocket {
    /// The agent's unix socket.
    #[arg(long, env = "EDGELB_ADMIN_SOCKET", value_name = "PATH", default_value_os_t = default_admin_socket())]
    pub admin_socket: PathBuf,
}

/// Where the agent's own socket is unless told otherwise: in `/run/edgelb`, or among the user's own files if
/// that is not root.
fn default_admin_socket() -> PathBuf {
    let user = nix::unistd::geteuid();
    let folder = match env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() => PathBuf::from(DEFAULT_STATE),
        Some(folder) if !folder.is_empty() => PathBuf::from(folder).join("edgelb"),
        _ => env::temp_dir().join(format!("edgelb-{user}")),
    };
    folder.join("admin.sock")
}
