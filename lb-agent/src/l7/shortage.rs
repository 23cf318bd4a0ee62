//! What this system has none of for a connection: no endpoint is to blame for that.

use std::io;

use nix::errno::Errno;

/// What is short.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shortage {
    /// The process has as many descriptors as it may (`RLIMIT_NOFILE`).
    ProcessDescriptors,
    /// The system has as many open files as it may (`fs.file-max`).
    SystemDescriptors,
    /// The kernel has no memory for the socket.
    Memory,
    /// Towards the endpoint, all ports of this node are in use (`net.ipv4.ip_local_port_range`), or it has no address.
    LocalAddress,
}

impl Shortage {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 4] =
        [Self::ProcessDescriptors, Self::SystemDescriptors, Self::Memory, Self::LocalAddress];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProcessDescriptors => "process_descriptors",
            Self::SystemDescriptors => "system_descriptors",
            Self::Memory => "memory",
            Self::LocalAddress => "local_address",
        }
    }

    /// By what socket(2) and connect(2) say; none where they say something of the endpoint.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        Some(match Errno::from_raw(error.raw_os_error()?) {
            Errno::EMFILE => Self::ProcessDescriptors,
            Errno::ENFILE => Self::SystemDescriptors,
            Errno::ENOMEM | Errno::ENOBUFS => Self::Memory,
            Errno::EADDRNOTAVAIL => Self::LocalAddress,
            _ => return None,
        })
    }
}

/// Why there is no connection to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Unconnected {
    /// It takes none, or not in time.
    #[default]
    Refused,
    /// Something is short here.
    Short,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_here_is_no_word_of_the_endpoint() {
        for (index, shortage) in Shortage::ALL.into_iter().enumerate() {
            assert_eq!(shortage as usize, index, "{shortage:?}");
        }
        for (errno, expected) in [
            (Errno::EMFILE, Some("process_descriptors")),
            (Errno::ENFILE, Some("system_descriptors")),
            (Errno::ENOBUFS, Some("memory")),
            (Errno::ENOMEM, Some("memory")),
            (Errno::EADDRNOTAVAIL, Some("local_address")),
            (Errno::ECONNREFUSED, None),
            (Errno::EHOSTUNREACH, None),
            (Errno::ETIMEDOUT, None),
        ] {
            assert_eq!(Shortage::of(&errno.into()).map(Shortage::label), expected, "{errno}");
        }
    }
}
