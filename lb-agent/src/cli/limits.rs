//! The flag that says how much clients may ask of the proxy.

use clap::Args;

use crate::l7::{Limit, Limits, Setting};

/// Limits to clients.
#[derive(Clone, Debug, Args)]
pub struct ClientLimits {
    /// Another value for a limit to what clients may ask. Repeat it, or separate settings by commas.
    #[arg(long = "limit", env = "EDGELB_LIMITS", value_name = "NAME=VALUE", value_delimiter = ',', long_help = long_help())]
    pub settings: Vec<Setting>,
}

impl ClientLimits {
    /// All limits, with the values that were set. The last word on one counts.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.settings.iter().copied().fold(Limits::default(), Limits::with)
    }
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
    fn every_limit_stands_in_the_help() {
        let help = long_help();
        for limit in Limit::ALL {
            assert!(help.contains(&format!("\n  {limit}={}: ", limit.default())), "{limit} in {help}");
        }
    }
}
