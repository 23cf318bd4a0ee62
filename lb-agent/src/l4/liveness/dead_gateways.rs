//! Gateways that do not answer while members do, or another gateway: the node is not alone and goes on attracting, for
//! others may reach it by nothing else. But what goes to clients behind them is lost, and somebody must hear of it. Pure.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::gateways::Known;

/// One that is asked just now may answer yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Since when none of a family answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeadGateways {
    v4: Option<Instant>,
    v6: Option<Instant>,
}

impl DeadGateways {
    /// What is amiss by what is known now, in words. Where one of a family answers, it serves.
    pub(super) fn look(&mut self, gateways: &[(IpAddr, Known)], now: Instant) -> Option<String> {
        let dead = [
            look(&mut self.v4, "IPv4", gateways.iter().filter(|(address, _)| address.is_ipv4()), now),
            look(&mut self.v6, "IPv6", gateways.iter().filter(|(address, _)| address.is_ipv6()), now),
        ];
        let dead: Vec<_> = dead.into_iter().flatten().collect();
        (!dead.is_empty()).then(|| {
            let whose = dead.join(", and ");
            format!("{whose}: what is sent to clients behind it is lost, and this node attracts their packets all the same")
        })
    }
}

fn look<'a>(
    since: &mut Option<Instant>,
    family: &str,
    gateways: impl Iterator<Item = &'a (IpAddr, Known)> + Clone,
    now: Instant,
) -> Option<String> {
    let is_dead =
        gateways.clone().next().is_some() && gateways.clone().all(|(_, known)| *known == Known::Silent);
    *since = is_dead.then(|| since.unwrap_or(now));
    since.filter(|&since| now.saturating_duration_since(since) >= PATIENCE)?;
    let addresses: Vec<_> = gateways.map(|(address, _)| address.to_string()).collect();
    Some(format!("no gateway of {family} answers ({})", addresses.join(", ")))
}

#[cfg(test)]
mod tests {
    use Known::{Perhaps, Silent};

    use super::*;

    #[test]
    fn a_family_without_a_gateway_that_answers_is_told_after_a_while() {
        let start = Instant::now();
        let mut dead = DeadGateways::default();
        let mut look = |seconds, gateways: &[(&str, Known)]| {
            let all: Vec<_> = gateways
                .iter()
                .map(|&(address, known)| (address.parse::<IpAddr>().expect("an address"), known))
                .collect();
            dead.look(&all, start + Duration::from_secs(seconds)).unwrap_or_default()
        };
        let v6 = |known| [("192.0.2.1", Perhaps), ("fe80::1", known)];
        assert_eq!(look(0, &v6(Silent)), "");
        assert_eq!(look(4, &v6(Silent)), "");
        let words = look(10, &v6(Silent));
        assert!(
            words.starts_with("no gateway of IPv6 answers (fe80::1): what is sent to clients"),
            "{words}"
        );
        assert_eq!(look(20, &v6(Perhaps)), "", "it is back");
        assert_eq!(look(30, &v6(Silent)), "", "and silent from now on");
        assert_eq!(look(40, &[("192.0.2.1", Perhaps)]), "", "nobody needs one");
        let two = [("192.0.2.1", Silent), ("192.0.2.2", Perhaps)];
        look(50, &two);
        assert_eq!(look(60, &two), "", "one of them serves");
        let none = [("192.0.2.1", Silent), ("192.0.2.2", Silent), ("fe80::1", Silent)];
        look(70, &none);
        let words = look(80, &none);
        assert!(words.contains("IPv4 answers (192.0.2.1, 192.0.2.2), and no gateway of IPv6"), "{words}");
    }
}
