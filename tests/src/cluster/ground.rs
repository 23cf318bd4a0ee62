//! Where a control plane runs: its addresses, and how its processes get there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process;

use anyhow::{Context, Result};

use super::address;
use super::forward::Forward;
use super::starter::Starter;
use crate::lab::Namespace;
use crate::lab::netlink::add_address;

/// The API server's port, and etcd's for clients and for its own kind.
const API_PORT: u16 = 6443;
const ETCD_PORTS: [u16; 2] = [2379, 2380];

/// How many addresses are tried.
const TRIES: u16 = 64;

/// The ground that a control plane stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The API server's, where it runs.
    address: Ipv4Addr,
    /// The API server's, where this process is.
    outside: Ipv4Addr,
    etcd: Ipv4Addr,
    pub(crate) starter: Starter,
    pub(crate) service_ranges: &'static str,
    /// Whether pods reach the API server by the Service `kubernetes`.
    pub(crate) has_pods: bool,
    _forward: Option<Forward>,
}

impl Ground {
    /// An address of its own in 127.0.0.0/8 gives each control plane all ports: nobody takes the API server's while it
    /// is away.
    pub(crate) fn loopback(number: u16) -> Result<Self> {
        let address = free_address(number)?;
        Ok(Self {
            address,
            outside: address,
            etcd: address,
            starter: Starter::new(|| Ok(()))?,
            service_ranges: "198.51.100.128/25",
            has_pods: false,
            _forward: None,
        })
    }

    /// On the router of a cluster. This process, and a person's shell, reach it by an address in 127.0.0.0/8.
    pub(crate) fn router(router: &Namespace, number: u16) -> Result<Self> {
        let outside = free_address(number)?;
        let (address, api) = (address::API, (address::API, API_PORT).into());
        add_address(router, "lo", address.into())?;
        let inside = router.clone();
        Ok(Self {
            address,
            outside,
            etcd: Ipv4Addr::LOCALHOST,
            starter: Starter::new(move || Ok(inside.enter()?))?,
            service_ranges: address::SERVICES,
            has_pods: true,
            _forward: Some(Forward::start((outside, API_PORT).into(), router, api)?),
        })
    }

    /// Where the API server listens.
    pub(crate) fn api(&self) -> SocketAddr {
        (self.address, API_PORT).into()
    }

    /// Where this process finds it.
    pub(crate) fn outside(&self) -> SocketAddr {
        (self.outside, API_PORT).into()
    }

    /// etcd's URLs for its clients and for its own kind.
    pub(crate) fn etcd(&self) -> [String; 2] {
        ETCD_PORTS.map(|port| format!("http://{}:{port}", self.etcd))
    }

    /// All addresses that the API server is known by.
    pub(crate) fn names(&self) -> Vec<IpAddr> {
        [self.address, self.outside, Ipv4Addr::LOCALHOST, address::KUBERNETES].map(IpAddr::from).to_vec()
    }
}

fn free_address(number: u16) -> Result<Ipv4Addr> {
    let mut addresses = (0..TRIES).map(|turn| loopback(process::id(), number + turn));
    addresses.find(|&it| is_free(it)).context("no address of 127.0.0.0/8 has the ports of a control plane")
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
