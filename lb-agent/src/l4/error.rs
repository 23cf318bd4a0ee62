//! What can go wrong between state and kernel, said with what to do about it.

use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::{ProgramError, links::LinkError};
use thiserror::Error;

/// Why the packet path is not up.
#[derive(Debug, Error)]
pub enum L4Error {
    /// No BPF filesystem.
    #[error(
        "{path} is not on a BPF filesystem: mount one with `mount -t bpf bpf /sys/fs/bpf`, \
         or name another with --bpffs"
    )]
    NoBpfFilesystem {
        /// Where pins should go.
        path: PathBuf,
    },
    /// A pin cannot be made or read.
    #[error("cannot use the pin {path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No agent has left its maps there.
    #[error(
        "there are no maps in {path}: either no agent of this version has run here, or it was told another place by \
         --bpffs"
    )]
    NothingPinned {
        /// The folder.
        path: PathBuf,
    },
    /// Another agent runs with the same pins.
    #[error(
        "another agent runs with the pins in {path}: stop it first, have this one --take-over, \
         or name another place with --bpffs"
    )]
    PinsInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The socket over which agents of one node hand over cannot be had.
    #[error("cannot listen on {path} for the next agent: {source}; name another place with --state")]
    HandOver {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel refuses maps or programs.
    #[error("cannot load the packet path into the kernel: {hint}: {source}")]
    Load {
        /// What to do about it.
        hint: &'static str,
        /// What aya said.
        source: Box<aya::EbpfError>,
    },
    /// The kernel refuses a program.
    #[error("program {name}: {source}")]
    Program {
        /// The program.
        name: &'static str,
        /// What aya said.
        source: Box<ProgramError>,
    },
    /// A map is not what it should be.
    #[error("map {name}: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// What aya said.
        source: MapError,
    },
    /// A link cannot be pinned or replaced.
    #[error("link on {interface}: {source}")]
    Link {
        /// The interface, or what else it hangs on.
        interface: String,
        /// What aya said.
        source: Box<LinkError>,
    },
    /// No such interface.
    #[error("there is no network interface {name}: --interface must name one of {present}")]
    NoInterface {
        /// As given.
        name: String,
        /// What there is.
        present: String,
    },
    /// `auto` stands beside names.
    #[error("--interface auto finds the interfaces itself: leave out {others}, or leave out auto")]
    AutoAmongNames {
        /// The names.
        others: String,
    },
    /// `auto`, and no interface shows itself.
    #[error(
        "--interface auto takes the interface of the default route, and there is none that can be taken{passed_over}: \
         name the interface with --interface, one of {present}"
    )]
    NoUplink {
        /// Those that have a default route, and why it cannot be they; empty if there are none.
        passed_over: String,
        /// What there is.
        present: String,
    },
    /// Another XDP program is on the interface.
    #[error(
        "{interface} carries another XDP program: {program} (id {id}); remove it (`ip link set dev {interface} \
         xdp off`; if it hangs on a link, by what made it), or take the interface out of --interface"
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
        /// The program's name.
        program: String,
        /// Its id, as `bpftool prog show id` takes it.
        id: u32,
    },
    /// The kernel's tables of links, routes and neighbours do not answer.
    #[error("netlink: {action}: {source}")]
    Netlink {
        /// What was asked.
        action: String,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// A socket or a file.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Both places of a key are taken: only keys made for it do this.
    #[error("too many VIPs and ports share a place in the service table: remove one of those added last")]
    ServiceTableCrowded,
    /// More services than the maps hold.
    #[error("{wanted} VIPs and ports, but the maps hold {limit}")]
    TooManyServices {
        /// Entries wanted.
        wanted: usize,
        /// Entries there are.
        limit: usize,
    },
}

impl L4Error {
    /// A failed load, with a hint that fits the error.
    pub(crate) fn load(source: aya::EbpfError) -> Self {
        let hint = if is_permission(&source) {
            "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; `lb-agent doctor` says what is missing"
        } else {
            "`lb-agent doctor` says what this kernel lacks"
        };
        Self::Load { hint, source: Box::new(source) }
    }

    pub(crate) fn program(name: &'static str) -> impl Fn(ProgramError) -> Self {
        move |source| Self::Program { name, source: Box::new(source) }
    }

    pub(crate) fn map(name: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { name, source }
    }

    pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source }
    }
}

fn is_permission(error: &aya::EbpfError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::PermissionDenied;
        }
        cause = error.source();
    }
    false
}
