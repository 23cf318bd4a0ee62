//! `--keep`: the lab stays, with commands to play with it.

use anyhow::Result;

use crate::lab::site::SHOP;
use crate::lab::{Lab, UPLINK, program};

use super::curl::Curl;
use super::report::Report;

pub(super) fn hand_over(lab: Lab, report: &Report) -> Result<()> {
    let lb_lab = program("lb-lab", "LB_LAB")?.display().to_string();
    let url = format!("https://{SHOP}/api");
    let curl = Curl { url: &url, over_v6: false }.arguments(&lab)?.join(" ");
    let folder = lab.keep()?;
    let folder = folder.display();
    report.title("The lab is still up. Some things to try:");
    for (what, command) in [
        ("ask through the VIP", format!("{lb_lab} exec client -- curl {curl}")),
        ("change a route and ask again", format!("$EDITOR {folder}/manifests/ingress.yaml")),
        (
            "counters of a node",
            format!("curl -s --unix-socket {folder}/run/edge-1/admin.sock http://localhost/metrics"),
        ),
        (
            "what an agent knows",
            format!("curl -s --unix-socket {folder}/run/edge-1/admin.sock http://localhost/debug/snapshot"),
        ),
        ("what an agent says", format!("tail -f {folder}/log/edge-1-agent.log")),
        ("a shell on a node", format!("{lb_lab} exec edge-2 -- bash")),
        (
            "watch the encapsulation (apt-get install tcpdump)",
            format!("{lb_lab} exec router -- tcpdump -ni edge-2 udp port 6080"),
        ),
        ("a node's link goes down", format!("{lb_lab} exec edge-3 -- ip link set {UPLINK} down")),
        ("remove the lab", format!("{lb_lab} down")),
    ] {
        report.note(what);
        report.command(&command);
    }
    Ok(())
}
