//! Twice the clients of those that already keep a proxy's core busy: how much is still done, and how late.

use anyhow::Result;

use super::Options;
use super::figure::{Figure, Figures};
use super::load::{self, Http1, Load, Measured};
use super::site::Site;
use super::subject::Subject;

/// One turn with so many clients, and one with twice as many. It is overload if its core was busy already with the first.
pub(super) fn turn(clients: Http1, subject: &Subject, site: &Site, options: &Options) -> Result<Figures> {
    let turn =
        |clients| load::turn(Load::Http1(clients), subject.listen, site, options.turn, || subject.cpu_time());
    let once = turn(clients)?;
    Ok(compared(&once, &turn(Http1 { connections: 2 * clients.connections, ..clients })?))
}

fn compared(once: &Measured, twice: &Measured) -> Figures {
    vec![
        (Figure::GOODPUT, 100.0 * twice.rate / once.rate),
        (Figure::SLOWER, twice.p99 / once.p99),
        (Figure::P99, twice.p99),
        (Figure::RATE, twice.rate),
        (Figure::BUSY, once.busy),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_twice_the_load_does_is_compared_to_the_load_itself() {
        let once = Measured { cpu: 10.0, p50: 500.0, p99: 1_000.0, rate: 10_000.0, busy: 100.0 };
        let figures = compared(&once, &Measured { rate: 9_500.0, p99: 1_900.0, ..once });
        assert_eq!(figures[..2], [(Figure::GOODPUT, 95.0), (Figure::SLOWER, 1.9)]);
    }
}
