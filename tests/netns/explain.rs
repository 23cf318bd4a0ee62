//! `lb-agent explain` beside real connections.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lb_tests::lab::site::{API, SHOP};
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node};
use serde_json::{Value, json};

use crate::liveness::await_all_up;
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(10);

const PORT: u16 = 80;

#[test]
fn explain_names_the_owner_of_a_connection_at_every_node() -> Result<()> {
    with_site("explain_names_the_owner_of_a_connection_at_every_node", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let vip = lab.vip();
        for vip in [IpAddr::from(vip.v4), vip.v6.into()] {
            for _ in 0..2 {
                follows(lab, SocketAddr::new(vip, PORT))?;
            }
        }
        silent_member(lab, SocketAddr::new(vip.v4.into(), PORT))?;
        // The words, as people get them.
        let connection = lab.client.connect(SocketAddr::new(vip.v4.into(), PORT), SOON)?;
        let (from, to) = (connection.local_addr()?.to_string(), connection.peer_addr()?.to_string());
        for node in &lab.edges {
            let (status, text) = node.lb_agent(&["explain", "--from", &from, "--to", &to])?;
            println!("{text}");
            ensure!(status.code() == Some(0), "{status}: {text}");
            ensure!(text.contains("Service edgelb-system/ingress, port 80; the proxy answers"), "{text}");
        }
        Ok(())
    })
}

/// Who does not answer is said not to, in time, and the others' answers are there.
fn silent_member(lab: &mut Lab, to: SocketAddr) -> Result<()> {
    lab.edges[2].kill_agent()?;
    let from = SocketAddr::from(([198, 51, 100, 200], 4000));
    eventually("only edge-3 does not answer", SOON, || {
        let (_, found) = explained_any(&lab.edges[0], from, to, &[])?;
        let (second, third) = (said(&found, "edge-2"), said(&found, "edge-3"));
        ensure!(second == Some(json!(false)) && third == Some(Value::Null), "{found:#}");
        Ok(())
    })?;
    lab.edges[2].run_agent(&[])?;
    await_all_up(lab)
}

/// Whether a member says that it has the connection, if it was asked.
fn said(explanation: &Value, name: &str) -> Option<Value> {
    let asked = explanation["asked"].as_array()?.iter().find(|asked| asked["name"] == name)?;
    Some(asked["has_connection"].clone())
}

/// A connection is explained by the node that has it, whichever node is asked, and nothing is counted.
fn follows(lab: &Lab, to: SocketAddr) -> Result<()> {
    let stream = lab.client.connect(to, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    let from = stream.local_addr()?;
    let mut connection = lb_tests::lab::http::Connection::new(stream);
    let owner = owner(lab, &mut connection, SHOP)?;
    for node in &lab.edges {
        // A machine that does much else may answer late.
        let found = eventually("all members answer", SOON, || {
            let found = explained(node, from, to, &[], 0)?;
            let asked = found["asked"].as_array().context("the others are asked")?;
            ensure!(asked.iter().all(|asked| !asked["has_connection"].is_null()), "{found:#}");
            Ok(found)
        })?;
        ensure!(found["node"] == node.name && found["same_program"] == true, "{found:#}");
        ensure!(found["service"]["object"] == "Service edgelb-system/ingress", "{found:#}");
        let row = found["flow"]["row"].as_array().context("a row")?;
        let place = row.iter().find(|place| place["name"] == owner.name).context("the owner is in no row")?;
        ensure!(found["owner"] == owner.name, "{} has {from}; {} says {found:#}", owner.name, node.name);
        ensure!(place["has_connection"] == true, "{found:#}");
        let is_here = node.name == owner.name;
        ensure!(if is_here { place["here"] == true } else { place["state"] == "up" }, "{found:#}");
        for other in lab.edges.iter().filter(|other| other.name != node.name) {
            ensure!(said(&found, &other.name) == Some(json!(other.name == owner.name)), "{found:#}");
        }
        if let (false, Some(sent)) =
            (found["sent"].is_null(), lab.edges.iter().find(|n| found["sent"]["to"] == n.name))
        {
            let outer: SocketAddr = found["sent"]["outer_destination"].as_str().context("text")?.parse()?;
            ensure!(sent.link.host.both().contains(&outer.ip()), "{outer} is not of {}", sent.name);
            ensure!(found["sent"]["tag_ok"] == true, "{found:#}");
        }
        // A SYN from another port opens where a first packet goes.
        let other = SocketAddr::new(from.ip(), 1);
        // The client may still have something to acknowledge.
        eventually("explaining counts nothing", SOON, || {
            let before = counted(node)?;
            explained(node, from, to, &[], 0)?;
            explained(node, other, to, &["--syn"], 0)?;
            ensure!(counted(node)? == before, "{} counted what was only explained", node.name);
            Ok(())
        })?;
    }
    Ok(())
}

/// Of a request, the agent and the folder that it reads say the same, and it is so.
#[test]
fn explain_names_the_app_that_answers_a_request() -> Result<()> {
    with_site("explain_names_the_app_that_answers_a_request", &edges(1), |lab, _| {
        let vip = SocketAddr::new(lab.vip().v4.into(), PORT);
        let folder = lab.edges[0].manifests.display().to_string();
        for (host, path, service, app) in [
            (SHOP, "/x?y", "demo/shop:http", Some("shop")),
            (SHOP, "/api/x", "demo/api:http", Some("api")),
            (API, "/x", "demo/api:80", Some("api")),
            ("other.example.org", "/", "", None),
        ] {
            if let Some(app) = app {
                let answer = connect(lab, vip)?.fetch(host, path)?;
                ensure!(answer.field("pod")?.starts_with(app), "{host}{path}: {}", answer.field("pod")?);
            }
            let code = i32::from(app.is_none());
            for from in [&[][..], &["--manifests", &folder]] {
                let found = explained_request(&lab.edges[0], host, path, from, code)?;
                let listeners = found["listeners"].as_array().context("listeners")?;
                ensure!(!listeners.is_empty(), "{found:#}");
                for listener in listeners {
                    let of_app = listener["backend"]["service"].as_str().unwrap_or_default();
                    let reason = listener["reply"]["reason"].as_str().unwrap_or_default();
                    ensure!(
                        (of_app, reason) == (service, if app.is_some() { "" } else { "no_route" }),
                        "{found:#}"
                    );
                }
            }
        }
        // The words, as people get them.
        let (status, text) = lab.edges[0].lb_agent(&["explain", "--host", SHOP, "--path", "/api/x"])?;
        println!("{text}");
        ensure!(status.code() == Some(0) && text.contains("demo/api:http"), "{status}: {text}");
        let nowhere = ["explain", "--host", SHOP, "--manifests", "/nowhere"];
        let (status, text) = lab.edges[0].lb_agent(&nowhere)?;
        ensure!(status.code() == Some(2) && text.contains("/nowhere"), "{status}: {text}");
        lab.edges[0].kill_agent()?;
        let (status, text) = lab.edges[0].lb_agent(&nowhere[..3])?;
        ensure!(status.code() == Some(2), "{status}: {text}");
        Ok(())
    })
}

fn explained_request(node: &Node, host: &str, path: &str, from: &[&str], code: i32) -> Result<Value> {
    let question = [&["explain", "--json", "--host", host, "--path", path], from].concat();
    let (status, text) = node.lb_agent(&question)?;
    let found: Value = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
    ensure!(status.code() == Some(code), "{status}: {found:#}");
    Ok(found)
}

#[test]
fn explain_says_why_nobody_answers() -> Result<()> {
    with_site("explain_says_why_nobody_answers", &edges(1), |lab, _| {
        let vip = IpAddr::from(lab.vip().v4);
        let from = SocketAddr::from(([198, 51, 100, 200], 4000));
        let node = &lab.edges[0];
        let at = |ip, port| SocketAddr::new(ip, port);
        for (to, arguments, verdict, outcome) in [
            (at(vip, 80), &["--proto", "udp"][..], "no_service", "refused"),
            (at(vip, 81), &[][..], "no_service", "refused"),
            (at(IpAddr::from([192, 0, 2, 77]), 80), &[][..], "not_for_vip", "left"),
            // Nobody has this connection.
            (at(vip, 80), &[][..], "delivered_first_hop", "refused"),
        ] {
            let found = explained(node, from, to, arguments, 1)?;
            ensure!(found["verdict"] == verdict && found["outcome"] == outcome, "{found:#}");
        }
        udp_without_listener(lab, from)?;
        dead_agent(lab, from)
    })
}

/// A UDP port of the Service, for which there is no listener.
fn udp_without_listener(lab: &Lab, from: SocketAddr) -> Result<()> {
    let edge = include_str!("../../deploy/examples/edge.yaml");
    lab.manifests.write("edge.yaml", &format!("{edge}    - {{name: dns, port: 53, protocol: UDP}}\n"))?;
    let to = SocketAddr::new(lab.vip().v4.into(), 53);
    eventually("the port is a service", SOON, || {
        let found = explained(&lab.edges[0], from, to, &["--proto", "udp"], 1)?;
        ensure!(found["verdict"] == "no_local_service" && found["outcome"] == "dropped", "{found:#}");
        ensure!(found["service"]["has_listener"] == false, "{found:#}");
        Ok(())
    })
}

/// The maps are enough; only the names are missing.
fn dead_agent(lab: &mut Lab, from: SocketAddr) -> Result<()> {
    let to = SocketAddr::new(lab.vip().v4.into(), PORT);
    lab.edges[0].kill_agent()?;
    let found = explained(&lab.edges[0], from, to, &["--syn"], 0)?;
    ensure!(found["outcome"] == "delivered" && found["node"].is_null(), "{found:#}");
    ensure!(found["agent_silent"].as_str().is_some_and(|why| why.contains("no agent answers")), "{found:#}");
    let (status, text) =
        lab.edges[0].lb_agent(&["explain", "--from", &from.to_string(), "--to", "[::1]:80"])?;
    ensure!(status.code() == Some(2) && text.contains("one family"), "{status}: {text}");
    let (status, text) = lab.edges[0].lb_agent(&["uninstall"])?;
    ensure!(status.success(), "{text}");
    let arguments = ["explain", "--from", &from.to_string(), "--to", &to.to_string()];
    let (status, text) = lab.edges[0].lb_agent(&arguments)?;
    ensure!(status.code() == Some(2) && text.contains("there are no maps in"), "{status}: {text}");
    Ok(())
}

/// Former memberships may have to go first.
const SETTLED: Duration = Duration::from_secs(40);

#[test]
fn explain_follows_a_row_of_two_members() -> Result<()> {
    with_site("explain_follows_a_row_of_two_members", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let to = SocketAddr::new(lab.vip().v4.into(), PORT);
        let names = |node: &Node, from: SocketAddr| {
            let (_, found) = explained_any(node, from, to, &[])?;
            let row = found["flow"]["row"].as_array().context("no row")?;
            Ok::<Vec<_>, anyhow::Error>(row.iter().map(|member| member["name"].clone()).collect())
        };
        // Each node switches in its own time.
        let row = |from: SocketAddr| {
            let (first, second) = (names(&lab.edges[0], from)?, names(&lab.edges[1], from)?);
            ensure!(first == second, "not yet alike: {first:?}, {second:?}");
            Ok(first)
        };
        let mut ports = (4000..4100).map(|port| SocketAddr::from(([198, 51, 100, 200], port)));
        let is_of_second = |from: &SocketAddr| row(*from).is_ok_and(|row| row[0] == "edge-2");
        let watched = ports.find(is_of_second).context("edge-2 opens nothing")?;

        lab.write_nodes(&["edge-2"])?;
        eventually("edge-1 opens what edge-2 did", SOON, || {
            let row = row(watched)?;
            ensure!(row[0] == "edge-1", "{row:?}");
            Ok(())
        })?;
        let connections: Vec<_> = (0..24).map(|_| lab.client.connect(to, SOON)).collect::<Result<_, _>>()?;
        // It comes back: its rows name edge-1, where these are, too.
        lab.write_nodes(&[])?;
        let from = eventually("one of them is in a row of two", SETTLED, || {
            for connection in &connections {
                let from = connection.local_addr()?;
                if row(from)? == ["edge-2", "edge-1"] {
                    return Ok(from);
                }
            }
            let rows: Vec<_> =
                connections.iter().take(6).map(|connection| row(connection.local_addr()?)).collect();
            bail!("none is: {rows:?}, {}", String::from_utf8_lossy(&lab.edges[1].admin("/readyz")?.body))
        })?;
        // edge-2 opens the bucket now, and has to look further.
        let sent = explained(&lab.edges[1], from, to, &[], 0)?;
        ensure!(sent["verdict"] == "sent" && sent["owner"] == "edge-1", "{sent:#}");
        ensure!(sent["flow"]["row"][0]["has_connection"] == false, "{sent:#}");
        ensure!(sent["sent"]["place"] == 2 && sent["sent"]["direction"] == "from_opener", "{sent:#}");
        // edge-1 has the connection, but as a first hop asks in the order of the row.
        let asks = explained(&lab.edges[0], from, to, &[], 0)?;
        ensure!(asks["sent"]["to"] == "edge-2" && asks["sent"]["then"] == json!(["edge-1"]), "{asks:#}");
        ensure!(asks["owner"] == "edge-1" && asks["flow"]["row"][1]["has_connection"] == true, "{asks:#}");
        // A SYN asks the former opener first.
        let syn = explained(&lab.edges[0], from, to, &["--syn"], 0)?;
        ensure!(syn["verdict"] == "found_second" && syn["owner"] == "edge-1", "{syn:#}");
        Ok(())
    })
}

/// What a node says of a packet, as JSON, if it ends with this code.
fn explained(node: &Node, from: SocketAddr, to: SocketAddr, arguments: &[&str], code: i32) -> Result<Value> {
    let (status, found) = explained_any(node, from, to, arguments)?;
    ensure!(status.code() == Some(code), "{status}: {found:#}");
    Ok(found)
}

fn explained_any(
    node: &Node,
    from: SocketAddr,
    to: SocketAddr,
    arguments: &[&str],
) -> Result<(ExitStatus, Value)> {
    let (from, to) = (from.to_string(), to.to_string());
    let question = [&["explain", "--json", "--from", &from, "--to", &to], arguments].concat();
    let (status, text) = node.lb_agent(&question)?;
    let found = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
    Ok((status, found))
}

/// All counters of a node that clients' packets move; probes come all the time.
fn counted(node: &Node) -> Result<Vec<String>> {
    let metrics = String::from_utf8(node.admin("/metrics")?.body)?;
    let of_packets = |line: &&str| {
        let is_counter = line.starts_with("lb_l4_packets_total") || line.starts_with("lb_l4_service_");
        is_counter
            && !["\"probe\"", "\"not_for_vip\"", "\"unparsed\""].iter().any(|other| line.contains(other))
    };
    Ok(metrics.lines().filter(of_packets).map(str::to_owned).collect())
}
