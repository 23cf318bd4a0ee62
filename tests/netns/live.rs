//! A change of one YAML file is live without a restart, a reload or a broken connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::manifests::ingress;
use lb_tests::lab::site::{SHOP, Site};

use crate::{connect, edges, with_site};

/// What is promised is a median of 50 ms on a quiet machine; here it only must not hang.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn a_route_changes_under_a_connection() -> Result<()> {
    with_site("a_route_changes_under_a_connection", &edges(1), |lab, _| {
        let mut connection = connect(lab, SocketAddr::new(lab.vip().v4.into(), 80))?;
        let mut times = Vec::new();
        for round in 0..10 {
            let app = ["api", "shop"][round % 2];
            let before = lab.manifests.write("ingress.yaml", &Site::shop_routes(app, "api"))?;
            loop {
                let answer = connection.fetch(SHOP, "/")?;
                ensure!(answer.status == 200, "{} during the change", answer.status);
                if answer.field("pod")?.starts_with(app) {
                    break;
                }
                ensure!(before.elapsed() < LIMIT, "still the old route after {LIMIT:?}");
            }
            times.push(before.elapsed());
        }
        times.sort();
        println!("rename to first request by the new route: median {:?}, worst {:?}", times[5], times[9]);
        Ok(())
    })
}

#[test]
fn a_broken_file_leaves_the_last_good_state() -> Result<()> {
    with_site("a_broken_file_leaves_the_last_good_state", &edges(1), |lab, _| {
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        lab.manifests.write("ingress.yaml", "kind: Ingress\n  this: is: no YAML\n")?;
        // A later change shows that the broken file was read.
        lab.manifests.write("more.yaml", &ingress("more", &[("more.example.org", "/", "shop")], &[]))?;
        let start = Instant::now();
        let mut connection = connect(lab, to)?;
        while connection.fetch("more.example.org", "/")?.status != 200 {
            ensure!(start.elapsed() < LIMIT, "the good file is not live");
        }
        let status = connection.fetch(SHOP, "/").context("after the broken file")?.status;
        assert_eq!(status, 200, "the last good state of the broken file's objects");
        Ok(())
    })
}
