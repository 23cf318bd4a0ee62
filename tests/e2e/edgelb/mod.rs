//! The whole, as a user has it: install.yaml applied to a cluster of real nodes, traffic, updates, lost nodes, and
//! the way out. One cluster for all of it, because raising one takes longer than most steps.

mod flow_key;
mod history;
mod install;
mod nodes;
mod outage;
mod removal;
mod site;
mod traffic;
mod updates;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_tests::cluster::{Settings, run};
use lb_tests::lab::wait::eventually;

use self::site::Site;

/// The nodes of the cluster.
const ALL: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn from_apply_to_traffic_and_back() -> Result<()> {
    let settings = Settings { images: vec![site::file("edgelb.tar")?], ..Settings::default() };
    run("edgelb", &settings, |cluster| {
        let mut site = Site::new(cluster)?;
        for (name, step) in STEPS {
            let start = Instant::now();
            step(&mut site).with_context(|| format!("step: {name}"))?;
            println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
        }
        Ok(())
    })
}

type Step = fn(&mut Site<'_>) -> Result<()>;

/// In this order: each begins with what the one before left.
const STEPS: [(&str, Step); 20] = [
    ("install.yaml is taken, strictly, and rolled out", install::applies),
    ("agents have the shipped rights on the node, and no more", install::rights_are_as_shipped),
    ("three members, known to all", install::all_are_members),
    ("an app is published: addresses of Service and Ingress", install::publishes_an_app),
    ("VIPs answer by IPv4 and IPv6, HTTP and TLS, on all nodes", traffic::is_spread),
    ("a rolling update fails no new connection", updates::of_edgelb),
    ("another flow key takes its place and fails no call", flow_key::is_rolled),
    (
        "a history edited into nonsense: the last good one stays, and all are told",
        history::stays_when_it_is_edited,
    ),
    ("an app that is scaled and rolled fails none", updates::of_the_app),
    ("an outage longer than all Leases fails none, and throws nobody out", outage::outlasts_every_lease),
    ("a drained edge node, with a pod of the app, fails none", nodes::drained),
    ("all nodes drain: they go on, and that is told", nodes::all_drained),
    ("a node that is drained by a taint", nodes::tainted),
    ("a node that is taken out of the edge", nodes::unlabelled),
    ("a power cut: the node leaves when its Lease expires", nodes::power_cut),
    ("the node comes back", nodes::comes_back),
    ("a power cut of the leader: another leads, and takes it out", nodes::power_cut_of_the_leader),
    ("it comes back, too", nodes::comes_back),
    ("uninstall leaves nothing on nodes, one that lost its label included", removal::leaves_out_nobody),
    ("nor in the cluster", removal::of_objects),
];

/// Waits for a condition, as long as a busy machine may take.
fn soon<T>(what: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
    eventually(what, PATIENCE, ask)
}
