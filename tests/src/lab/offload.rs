//! Checksum offload of an interface: the only file of the tests that needs `unsafe`.
//! veth leaves checksums to a card that is not there, and an encapsulated packet would keep the unfinished one.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

use super::netlink::End;

/// `ETHTOOL_STXCSUM` of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes the stack finish checksums before packets leave by this end (and with it switches off segmentation
/// offload, which depends on it), as `ethtool -K IF tx off` does.
pub(crate) fn finish_checksums(end: End<'_>) -> Result<()> {
    end.namespace
        .run(|| switch_off(end.interface))
        .with_context(|| format!("tx checksum offload of {} in {}", end.interface, end.namespace.name()))
}

fn switch_off(interface: &str) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut value = EthtoolValue { command: SET_TX_CHECKSUM, data: 0 };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
    };
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCETHTOOL reads an `ifreq` with a terminated name (shorter than the zeroed field), whose data
    // points to an `ethtool_value`, as this command wants; both live on this stack frame until it returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
