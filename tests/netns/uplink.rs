//! `--interface auto`: the interface with the default route is taken and no other, whatever it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::netlink::{
    End, add_address, connect as veth, remove_default_routes, set_up, xdp_programs,
};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node, UPLINK, run};
use serde_json::{Value, json};

use crate::{PATIENCE, connect, edges};

const AUTO: &str = "auto";

/// A pod's end, as a network plugin makes it.
const POD: &str = "cali0";

#[test]
fn auto_takes_the_interface_with_the_default_route() -> Result<()> {
    run("auto_takes_the_interface_with_the_default_route", &edges(2), |lab| {
        for node in &mut lab.edges {
            add_pod(node)?;
            node.interface = AUTO;
        }
        serve(lab)?;
        for node in &lab.edges {
            let why = "auto: veth, has the default route of IPv4 and IPv6";
            assert_eq!(interfaces(node)?, [json!([UPLINK, why, "native"])]);
            let pod = End { namespace: &node.namespace, interface: POD };
            ensure!(xdp_programs(pod)?.is_empty(), "a program on {POD}");
            let (status, text) = node.lb_agent(&["doctor"])?;
            ensure!(text.contains(&format!("{UPLINK} ({why})")), "{status}\n{text}");
            let (_, text) = node.lb_agent(&["health"])?;
            ensure!(text.contains("packets on eth0 (native)"), "{text}");
        }
        Ok(())
    })
}

#[test]
fn auto_takes_a_bridge_as_it_is() -> Result<()> {
    run("auto_takes_a_bridge_as_it_is", &edges(2), |lab| {
        lab.edges[0].raise_bridge("br0")?;
        lab.edges[0].interface = AUTO;
        serve(lab)?;
        let why = "auto: bridge, has the default route of IPv4 and IPv6";
        assert_eq!(interfaces(&lab.edges[0])?, [json!(["br0", why, "generic"])]);
        Ok(())
    })
}

#[test]
fn auto_without_a_default_route_says_what_to_name() -> Result<()> {
    run("auto_without_a_default_route_says_what_to_name", &edges(1), |lab| {
        Site::publish(lab)?;
        remove_default_routes(&lab.edges[0].namespace)?;
        let node = &mut lab.edges[0];
        for (interface, words) in [
            (AUTO, "there is none that can be taken: name the interface with --interface, one of lo, eth0"),
            ("eth0,auto", "leave out eth0, or leave out auto"),
        ] {
            node.interface = interface;
            let error = node.run_agent(&[]).expect_err("nothing to attach to");
            ensure!(format!("{error:#}").contains(words), "{error:#}");
        }
        Ok(())
    })
}

#[test]
fn a_member_whose_address_is_elsewhere_is_told() -> Result<()> {
    run("a_member_whose_address_is_elsewhere_is_told", &edges(1), |lab| {
        let node = &mut lab.edges[0];
        veth(&node.namespace, "eth1", &node.namespace, "far1")?;
        set_up(End { namespace: &node.namespace, interface: "eth1" }, true)?;
        let elsewhere: IpAddr = [198, 51, 100, 200].into();
        add_address(&node.namespace, "eth1", elsewhere)?;
        node.interface = AUTO;
        lab.manifests.write("nodes.yaml", &lb_tests::lab::manifests::nodes(&[("edge-1", elsewhere)], &[]))?;
        lab.edges[0].run_agent(&[])?;
        let agent = lab.edges[0].agent().context("it was started")?;
        eventually("the warning", Duration::from_secs(5), || {
            let log = agent.log();
            let is_said = log.contains("on which nobody takes them") && log.contains("interface=\"eth1\"");
            ensure!(is_said, "{log}");
            Ok(())
        })
    })
}

/// A veth with an address, up, without a default route.
fn add_pod(node: &Node) -> Result<()> {
    veth(&node.namespace, POD, &node.namespace, "pod")?;
    add_address(&node.namespace, POD, [192, 0, 2, 200].into())
}

/// Each connection is answered, whichever node is its first hop.
fn serve(lab: &mut Lab) -> Result<()> {
    Site::publish(lab)?;
    lab.run_agents()?;
    for vip in lab.vip().both() {
        for _ in 0..16 {
            eventually("an answer", PATIENCE, || {
                let status = connect(lab, SocketAddr::new(vip, 80))?.fetch(SHOP, "/")?.status;
                ensure!(status == 200, "{status}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Name, reason and mode of each interface with the packet path.
fn interfaces(node: &Node) -> Result<Vec<Value>> {
    let snapshot: Value = serde_json::from_slice(&node.admin("/debug/snapshot")?.body)?;
    let all = snapshot["interfaces"].as_array().context("no interfaces")?;
    Ok(all.iter().map(|found| json!([found["name"], found["why"], found["mode"]])).collect())
}
