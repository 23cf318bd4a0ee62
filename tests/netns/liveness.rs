//! Members that fall silent, as the others see it.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_common::encap::DEFAULT_PORT;
use lb_common::probe::{LEN, is_control};
use lb_common::verdict::DropReason;
use lb_tests::lab::capture::{Capture, inject};
use lb_tests::lab::netlink::{End, set_up};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node, UPLINK};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::forged::expect;
use crate::membership::{is_alone, openers, rows};
use crate::{PATIENCE, connect, edges, with_site};

/// Long enough for a machine that does much else: the figure itself is printed.
const DOWN: Duration = Duration::from_secs(2);

const SOON: Duration = Duration::from_secs(10);

/// Former memberships have to go first.
const SETTLED: Duration = Duration::from_secs(40);

#[test]
fn a_member_that_is_cut_off_is_down_for_the_others_and_alone() -> Result<()> {
    with_site("a_member_that_is_cut_off_is_down_for_the_others_and_alone", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let cut = End { namespace: &lab.edges[2].namespace, interface: UPLINK };
        let start = Instant::now();
        set_up(cut, false)?;
        for node in &lab.edges[..2] {
            eventually("edge-3 is down", DOWN, || expect_state(node, "edge-3", "down"))?;
            println!("{} sees edge-3 down {:?} after its link", node.name, start.elapsed());
        }
        for peer in ["edge-1", "edge-2"] {
            eventually("so are the others for it", DOWN, || expect_state(&lab.edges[2], peer, "down"))?;
        }
        eventually("it is alone", SOON, || expect_alone(&lab.edges[2], true))?;
        eventually("it attracts nothing", SOON, || expect_attracted(&lab.edges[2], &[]))?;
        let words = String::from_utf8_lossy(&lab.edges[2].admin("/readyz")?.body).into_owned();
        ensure!(words.contains("this node is alone: no member answers"), "{words}");
        let (_, doctor) = lab.edges[2].lb_agent(&["doctor"])?;
        // It judges nobody.
        ensure!(![words, doctor].concat().contains("no new flows"), "it passes over others");
        for (node, other) in [(&lab.edges[0], "edge-2"), (&lab.edges[1], "edge-1")] {
            expect_state(node, other, "up")?;
            expect_alone(node, false)?;
        }
        Ok(())
    })
}

/// So long a silent member may get new flows, whichever node the router sends them to.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A machine that does much else may be late, but not each time.
const ATTEMPTS: usize = 5;

/// A first hop that is no member has to know who is down, too.
#[test]
fn a_silent_member_gets_no_new_flows_from_any_first_hop() -> Result<()> {
    with_site("a_silent_member_gets_no_new_flows_from_any_first_hop", &edges(4), |lab, _| {
        await_all_up(lab)?;
        lab.write_nodes(&["edge-4"])?;
        let (silent, others) = (&lab.edges[2], [0, 1, 3].map(|at| &lab.edges[at]));
        eventually("edge-4 is a first hop alone", SETTLED, || {
            for node in &lab.edges {
                let left = dump(node)?["memberships"]["agreed"][0]["members"]["edge-4"].clone();
                ensure!(left.is_null() && is_alone(&rows(node)?), "{}: {left}", node.name);
            }
            Ok(())
        })?;
        let id = dump(others[0])?["peers"].as_array().and_then(|all| {
            all.iter().find(|peer| peer["name"] == "edge-3").and_then(|peer| peer["id"].as_u64())
        });
        let id = id.context("it is a peer")?;
        let opens_at =
            |node: &Node| -> Result<bool> { Ok(rows(node)?.iter().any(|row| u64::from(row.opener()) == id)) };
        let mut took = Vec::new();
        for _ in 0..ATTEMPTS {
            for node in others {
                eventually("edge-3 is up", SETTLED, || expect_state(node, "edge-3", "up"))?;
                until("it has new flows", SETTLED, || opens_at(node).unwrap_or(false))?;
            }
            let start = Instant::now();
            silent.link_down()?;
            for node in others {
                until("it gets no new flows", SOON, || opens_at(node).is_ok_and(|opens| !opens))?;
            }
            took.push(start.elapsed());
            println!("no first hop sends new flows there after {:?}", start.elapsed());
            if start.elapsed() < AT_ONCE {
                lab.spread_vips(&[&lab.edges[3]])?;
                let to = SocketAddr::new(lab.vip().v4.into(), 80);
                for _ in 0..32 {
                    let answer = connect(lab, to)?.fetch(SHOP, "/")?;
                    ensure!(answer.status == 200, "{answer:?}");
                }
                return Ok(());
            }
            silent.link_up()?;
        }
        anyhow::bail!("late each time: {took:?}")
    })
}

/// Its link has a carrier again, but it reaches nobody: what the network sent it would be lost.
#[test]
fn a_node_without_routes_attracts_nothing() -> Result<()> {
    with_site("a_node_without_routes_attracts_nothing", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let (node, vips) = (&lab.edges[2], attracted(&lab.edges[0])?);
        expect_attracted(node, &vips)?;
        node.lose_routes()?;
        eventually("it is alone", SOON, || expect_alone(node, true))?;
        eventually("it attracts nothing", SOON, || expect_attracted(node, &[]))?;
        let start = Instant::now();
        until("three seconds with a carrier", SOON, || {
            expect_alone(node, true).expect("a carrier without routes leads nowhere");
            expect_attracted(node, &[]).expect("nothing is attracted");
            start.elapsed() > Duration::from_secs(3)
        })?;
        node.restore_routes()?;
        eventually("it is not alone any more", SOON, || expect_alone(node, false))?;
        eventually("it attracts as before", SOON, || expect_attracted(node, &vips))?;
        eventually("members answer", SOON, || expect_state(node, "edge-1", "up"))
    })
}

/// What it opens where others do not look for it would be lost once it is back.
#[test]
fn a_node_that_is_cut_off_opens_nothing_for_the_others() -> Result<()> {
    with_site("a_node_that_is_cut_off_opens_nothing_for_the_others", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let node = &lab.edges[2];
        let all = openers(&rows(&lab.edges[0])?);
        let expect_all = || {
            ensure!(openers(&rows(node)?) == all, "it opens for others");
            Ok(())
        };
        eventually("nobody needs what may have been before", SETTLED, || {
            ensure!(is_alone(&rows(node)?), "others may have flows");
            expect_all()
        })?;
        node.link_down()?;
        eventually("it is alone", SOON, || expect_alone(node, true))?;
        // Not as it was before it knew.
        eventually("it judges nobody, and asks who may have its flows", SOON, || {
            ensure!(!is_alone(&rows(node)?), "it asks nobody");
            expect_all()
        })?;
        node.link_up()?;
        until("one is up", SOON, || {
            expect_all().expect("nobody is down for its rows on its way back");
            expect_state(node, "edge-1", "up").is_ok()
        })
    })
}

#[test]
fn a_node_whose_gateway_answers_is_not_alone() -> Result<()> {
    with_site("a_node_whose_gateway_answers_is_not_alone", &edges(2), |lab, _| {
        await_all_up(lab)?;
        lab.edges[1].kill_agent()?;
        eventually("edge-2 is down", DOWN, || expect_state(&lab.edges[0], "edge-2", "down"))?;
        // Its gateway is asked several times meanwhile.
        let ready = |words: &str| {
            let answer = lab.edges[0].admin("/readyz")?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == 200 && text.contains(words), "{text}");
            Ok(())
        };
        eventually("it is told", SOON, || ready("edge-2 is silent since 3 s: no new flows go there"))?;
        let (_, doctor) = lab.edges[0].lb_agent(&["doctor"])?;
        ensure!(doctor.contains("warn  agent            edge-2 is silent"), "{doctor}");
        let (status, doctor) = lab.edges[1].lb_agent(&["doctor"])?;
        ensure!(!status.success(), "{doctor}");
        ensure!(doctor.contains("FAIL  agent            its programs are in the kernel, but"), "{doctor}");
        expect_alone(&lab.edges[0], false)?;
        lab.edges[1].run_agent(&[])?;
        eventually("edge-2 is up", SOON, || expect_state(&lab.edges[0], "edge-2", "up"))
    })
}

/// Members answer over IPv4, so it is not alone; who connects over IPv6 hears nothing, and somebody must know why.
#[test]
fn a_gateway_that_is_dead_in_one_family_is_told() -> Result<()> {
    with_site("a_gateway_that_is_dead_in_one_family_is_told", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let (node, vips) = (&lab.edges[0], attracted(&lab.edges[0])?);
        let words = "no gateway of IPv6 answers (";
        let told = |is_told| {
            let answer = node.admin("/readyz")?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == 200 && text.contains(words) == is_told, "{text}");
            Ok(())
        };
        told(false)?;
        node.gateway_over_v6(false)?;
        eventually("it is told", SETTLED, || told(true))?;
        let (_, doctor) = node.lb_agent(&["doctor"])?;
        ensure!(doctor.contains(&format!("warn  agent            {words}")), "{doctor}");
        expect_alone(node, false)?;
        expect_attracted(node, &vips)?;
        node.gateway_over_v6(true)?;
        eventually("it answers again", SETTLED, || told(false))
    })
}

#[test]
fn a_stopped_agent_is_down_until_it_has_answered_for_a_while() -> Result<()> {
    with_site("a_stopped_agent_is_down_until_it_has_answered_for_a_while", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let pid = Pid::from_raw(lab.edges[1].agent().context("it was started")?.id().cast_signed());
        let (first, second) = (&lab.edges[0], &lab.edges[1]);
        let start = Instant::now();
        kill(pid, Signal::SIGSTOP)?;
        eventually("edge-2 is down", DOWN, || expect_state(first, "edge-2", "down"))?;
        println!("edge-1 sees edge-2 down {:?} after SIGSTOP", start.elapsed());
        until("a silence of two seconds", SOON, || start.elapsed() > Duration::from_secs(2))?;
        let back = Instant::now();
        kill(pid, Signal::SIGCONT)?;
        eventually("edge-2 is up", SOON, || expect_state(first, "edge-2", "up"))?;
        println!("and up {:?} after SIGCONT", back.elapsed());
        ensure!(back.elapsed() >= Duration::from_secs(1), "after {:?}", back.elapsed());
        for peer in ["edge-1", "edge-3"] {
            let flaps = second.metric(&format!("lb_l4_peer_flaps_total{{member=\"{peer}\"}}"))?;
            ensure!(flaps == 0.0, "edge-2 took its own absence for the silence of {peer}");
        }
        Ok(())
    })
}

#[test]
fn forged_probes_change_nothing() -> Result<()> {
    with_site("forged_probes_change_nothing", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let answer = captured_answer(lab)?;
        let first = &lab.edges[0];
        let with = |at: usize, packet: &[u8]| {
            let mut packet = packet.to_vec();
            packet[GUE + at] ^= 1;
            packet
        };
        expect(lab, first, &with(LEN - 1, &answer), DropReason::BadTag.into()).context("tag")?;
        expect(lab, first, &with(23, &answer), DropReason::BadTag.into()).context("sequence")?;
        expect(lab, first, &with(11, &answer), DropReason::WrongCluster.into()).context("cluster")?;
        expect(lab, first, &answer[..GUE + 4], DropReason::MalformedEncap.into()).context("cut")?;

        let pid = Pid::from_raw(lab.edges[1].agent().context("it was started")?.id().cast_signed());
        kill(pid, Signal::SIGSTOP)?;
        let first = &lab.edges[0];
        // What was an answer once is none to any other ask.
        eventually("edge-2 is down, whoever repeats its words", DOWN, || {
            inject(&lab.client, &answer)?;
            expect_state(first, "edge-2", "down")
        })?;
        let start = Instant::now();
        until("two seconds of replays", SOON, || {
            let is_sent = inject(&lab.client, &answer).is_ok();
            is_sent && start.elapsed() > Duration::from_secs(2)
        })?;
        expect_state(first, "edge-2", "down")?;
        connect(lab, SocketAddr::new(lab.vip().v4.into(), 80)).map(drop)?;
        Ok(kill(pid, Signal::SIGCONT)?)
    })
}

#[test]
fn an_update_of_the_agent_is_no_silence() -> Result<()> {
    with_site("an_update_of_the_agent_is_no_silence", &edges(2), |lab, _| {
        await_all_up(lab)?;
        for _ in 0..3 {
            let mut before = lab.edges[0].run_next_agent()?;
            eventually("the next agent asks", SOON, || expect_state(&lab.edges[0], "edge-2", "up"))?;
            before.stop()?;
        }
        let flaps = lab.edges[1].metric("lb_l4_peer_flaps_total{member=\"edge-1\"}")?;
        let lost = lab.edges[1].metric("lb_l4_peer_lost_probes_total{member=\"edge-1\"}")?;
        println!("{lost} probes lost over three updates");
        ensure!(flaps == 0.0, "edge-1 was taken for dead {flaps} times");
        connect(lab, SocketAddr::new(lab.vip().v4.into(), 80))?.fetch(SHOP, "/").map(drop)
    })
}

#[test]
fn probing_seven_members_costs_little() -> Result<()> {
    with_site("probing_seven_members_costs_little", &edges(7), |lab, _| {
        await_all_up(lab)?;
        let node = &mut lab.edges[0];
        let pid = node.agent().context("it was started")?.id();
        let asked = |node: &Node| node.metric("lb_l4_peer_probes_total{member=\"edge-2\"}");
        let (before, probes, start) = (probes_ticks(pid)?, asked(node)?, Instant::now());
        eventually("ten seconds' probes", 3 * SOON, || {
            let now = asked(node)?;
            ensure!(now >= probes + 100.0, "{} probes", now - probes);
            Ok(())
        })?;
        let (ticks, time) = (probes_ticks(pid)? - before, start.elapsed());
        // A clock tick is 10 ms wherever Linux is built as distributions do.
        let share = ticks as f64 / time.as_secs_f64();
        println!("probing six peers: {share:.2} % of one core, over {time:?}");
        ensure!(share < 20.0, "{share} % of one core");
        Ok(())
    })
}

/// CPU time of the prober's thread, in clock ticks.
fn probes_ticks(pid: u32) -> Result<u64> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let Some((_, rest)) = stat.split_once("(probes) ") else { continue };
        let fields: Vec<_> = rest.split(' ').collect();
        return Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?);
    }
    anyhow::bail!("the agent has no thread for probes")
}

/// Where the GUE header starts: after the outer IPv4 and UDP headers.
const GUE: usize = 20 + 8;

/// An answer of edge-2 to edge-1.
fn captured_answer(lab: &Lab) -> Result<Vec<u8>> {
    const ANSWER: u8 = 2;
    let [to, from] = [0, 1].map(|at| lab.edges[at].link.host.v4.octets());
    Capture::start(&lab.router)?.next(PATIENCE, |packet| {
        packet.len() == GUE + LEN
            && packet[9] == 17
            && packet[22..24] == DEFAULT_PORT.to_be_bytes()
            && is_control(packet[GUE])
            && packet[GUE + 5] == ANSWER
            && packet[12..16] == from
            && packet[16..20] == to
    })
}

/// Waits until each node sees all others up.
pub(crate) fn await_all_up(lab: &Lab) -> Result<()> {
    for node in &lab.edges {
        for peer in lab.edges.iter().filter(|peer| peer.name != node.name) {
            eventually("all are up", SOON, || expect_state(node, &peer.name, "up"))?;
        }
    }
    Ok(())
}

pub(crate) fn expect_state(node: &Node, peer: &str, state: &str) -> Result<()> {
    let dump = dump(node)?;
    let found = dump["peers"].as_array().and_then(|all| all.iter().find(|found| found["name"] == peer));
    let found = found.with_context(|| format!("{} knows no {peer}", node.name))?;
    ensure!(found["state"] == state, "{}: {found}", node.name);
    Ok(())
}

fn expect_alone(node: &Node, alone: bool) -> Result<()> {
    let dump = dump(node)?;
    ensure!(dump["alone"] == alone, "{}: alone {}", node.name, dump["alone"]);
    Ok(())
}

fn expect_attracted(node: &Node, vips: &[Value]) -> Result<()> {
    let attracted = attracted(node)?;
    ensure!(attracted == vips, "{}: {attracted:?}", node.name);
    Ok(())
}

/// The VIPs that the node may attract.
fn attracted(node: &Node) -> Result<Vec<Value>> {
    dump(node)?["attracted"].as_array().cloned().context("no list of VIPs")
}

pub(crate) fn dump(node: &Node) -> Result<Value> {
    Ok(serde_json::from_slice(&node.admin("/debug/snapshot")?.body)?)
}
