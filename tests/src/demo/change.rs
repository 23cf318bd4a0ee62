//! A route change taking effect: one YAML file is replaced.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::http::Connection;
use crate::lab::site::{INGRESS, SHOP, Site};

use super::membership::PATIENCE;
use super::report::Report;

/// Changes; the median is shown.
const ROUNDS: usize = 11;

pub(super) fn of_a_route(lab: &Lab, report: &Report) -> Result<()> {
    report.part("A route changes: one file replaced, nothing reloaded");
    let to = SocketAddr::new(lab.vip().v4.into(), 80);
    let mut connection = Connection::new(lab.client.connect(to, PATIENCE)?);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (to, from) = if round % 2 == 0 { ("shop", "api") } else { ("api", "shop") };
        times.push(change(lab, &mut connection, &Site::shop_routes("shop", to), to, from)?);
    }
    change(lab, &mut connection, INGRESS, "api", "shop")?;
    times.sort();
    report.success(&format!(
        "{ROUNDS} times between api and shop for {SHOP}/api: from rename() to the first request by the new route \
         {:.1} ms (median; {:.1} to {:.1}), on one open connection",
        millis(times[ROUNDS / 2]),
        millis(times[0]),
        millis(times[ROUNDS - 1]),
    ));
    Ok(())
}

/// Puts a text in place of `ingress.yaml`, and asks until `/api` goes to another app.
fn change<S>(lab: &Lab, connection: &mut Connection<S>, text: &str, to: &str, from: &str) -> Result<Duration>
where
    S: std::io::Read + std::io::Write,
{
    let before = lab.manifests.write("ingress.yaml", text)?;
    loop {
        let answer = connection.fetch(SHOP, "/api")?;
        let time = before.elapsed();
        let pod = answer.field("pod")?;
        if pod.starts_with(to) {
            return Ok(time);
        }
        ensure!(pod.starts_with(from), "answered by {pod}");
        ensure!(time < PATIENCE, "the new route is not live after {PATIENCE:?}");
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
