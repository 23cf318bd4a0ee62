//! Where a control plane runs: its addresses, and how its processes get there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;

use anyhow::{Result, bail};

use super::starter::Starter;
use crate::lab::Namespace;

/// The API server's port, and etcd's for clients and for its own kind.
pub(crate) const API_PORT: u16 = 6443;
const ETCD_PORTS: [u16; 2] = [2379, 2380];

/// How many addresses are tried.
const TRIES: u16 = 64;

/// The ground that a control plane stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) address: Ipv4Addr,
    pub(crate) starter: Starter,
    /// If it is not this process's own.
    pub(crate) namespace: Option<Namespace>,
    pub(crate) service_ranges: &'static str,
    /// Whether pods reach the API server by the Service `kubernetes`.
    pub(crate) has_pods: bool,
}

impl Ground {
    /// An address of its own in 127.0.0.0/8 gives each control plane all ports: nobody takes the API server's while it
    /// is away.
    pub(crate) fn loopback(number: u16) -> Result<Self> {
        let address = (0..TRIES).map(|turn| loopback(process::id(), number + turn)).find(|&it| is_free(it));
        let Some(address) = address else {
            bail!("no address of 127.0.0.0/8 has the ports of a control plane")
        };
        let starter = Starter::new(|| Ok(()))?;
        Ok(Self { address, starter, namespace: None, service_ranges: "198.51.100.128/25", has_pods: false })
    }

    pub(crate) fn api(&self) -> SocketAddr {
        (self.address, API_PORT).into()
    }

    pub(crate) fn etcd(&self) -> [String; 2] {
        ETCD_PORTS.map(|port| format!("http://{}:{port}", self.address))
    }
}

/// Not the first /16, where others may listen.
fn loopback(pid: u32, number: u16) -> Ipv4Addr {
    let [_, high, middle, low] = pid.to_be_bytes();
    let second = 1 + (u16::from(high) + 16 * (number % 8)) % 250;
    Ipv4Addr::new(127, u8::try_from(second).unwrap_or(1), middle, low)
}

fn is_free(address: Ipv4Addr) -> bool {
    ETCD_PORTS.into_iter().chain([API_PORT]).all(|port| TcpListener::bind((address, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::loopback;

    #[test]
    fn control_planes_of_a_process_have_different_addresses() {
        let addresses: Vec<_> = (0..8).map(|number| loopback(4_194_303, number)).collect();
        assert!(addresses.iter().all(|address| address.is_loopback() && address.octets()[1] > 0));
        assert!((1..8).all(|n| !addresses[..n].contains(&addresses[n])));
    }
}
