//! The flags about clients of the proxy: how much they may ask, and who may speak for them.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;

use crate::l7::{Limit, Limits, Setting, Trust};

/// What is said of clients.
#[derive(Clone, Debug, Args)]
pub struct Clients {
    /// Another value for a limit to what clients may ask. Repeat it, or separate settings by commas.
    #[arg(long = "limit", env = "EDGELB_LIMITS", value_name = "NAME=VALUE", value_delimiter = ',', long_help = long_help())]
    pub settings: Vec<Setting>,
    /// Proxies in front of this one, as networks or addresses: their X-Forwarded-* and Forwarded headers are believed and
    /// gone on with, those of all others replaced. Repeat it, or separate them by commas.
    #[arg(long, env = "EDGELB_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Load balancers in front of this one that begin each connection with a PROXY header (version 1 or 2), which names the
    /// client. From them a connection without one is closed; of all others such a header is no HTTP.
    #[arg(long, env = "EDGELB_PROXY_PROTOCOL", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub proxy_protocol: Vec<IpNet>,
}

impl Clients {
    /// Whose word about clients counts.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust { headers: self.trusted_proxies.clone(), proxy_protocol: self.proxy_protocol.clone() }
    }

    /// All limits, with the values that were set. The last word on one counts.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.settings.iter().copied().collect()
    }

    /// What is wrong with these, where that depends on more than one.
    pub(super) fn wrong(&self) -> Option<String> {
        self.limits().check().err().map(|error| format!("--limit: {error}"))
    }
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or(alone).map_err(|_| format!("{text:?} is no network such as 192.0.2.0/24, and no address"))
}

fn long_help() -> String {
    let mut help = "Another value for a limit to what clients may ask. Repeat it, or separate settings by commas: \
                    head-bytes=32768. What reaches a limit is counted under its name (lb_l7_limits_reached_total).\n"
        .to_owned();
    for limit in Limit::ALL {
        help += &format!("\n  {limit}={}: {}", limit.default(), limit.help());
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_alone_are_taken() {
        let parsed = ["192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "::1"]
            .map(|text| network(text).map(|net| net.to_string()));
        assert_eq!(
            parsed,
            ["192.0.2.0/24", "192.0.2.1/32", "2001:db8::/32", "::1/128"].map(|text| Ok(text.to_owned()))
        );
        assert!(network("edge-1").is_err_and(|error| error.contains("\"edge-1\"")));
    }

    #[test]
    fn every_limit_stands_in_the_help() {
        let help = long_help();
        for limit in Limit::ALL {
            assert!(help.contains(&format!("\n  {limit}={}: ", limit.default())), "{limit} in {help}");
        }
    }
}
