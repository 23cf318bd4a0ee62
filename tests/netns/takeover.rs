//! One agent after the other on a node that serves: clients open connections throughout, and failures are counted.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use lb_tests::lab::http::Connection;
use lb_tests::lab::manifests::ingress;
use lb_tests::lab::netlink::{End, xdp_programs};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Namespace, Node, Process, UPLINK, run};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::liveness::await_all_up;
use crate::{PATIENCE, connect, edges, with_site};

const SOON: Duration = Duration::from_secs(10);

/// Clients that open connections at one time.
const CALLERS: usize = 4;

/// Updates in a row.
const UPDATES: usize = 3;

#[test]
fn updates_fail_no_new_connection() -> Result<()> {
    with_site("updates_fail_no_new_connection", &edges(1), |lab, _| {
        let (v4, v6) = (lab.vip().v4.into(), lab.vip().v6.into());
        let to = [SocketAddr::new(v4, 80), SocketAddr::new(v6, 80)];
        let mut kept = connect(lab, to[0])?;
        owner(lab, &mut kept, SHOP)?;
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            for update in 0..UPDATES {
                let mut before = lab.edges[0].run_next_agent()?;
                calls.some_more()?;
                before.ask_to_stop()?;
                if update == 0 {
                    eventually("the last request of a connection of the agent before", SOON, || {
                        let answer = kept.fetch(SHOP, "/")?;
                        ensure!(answer.header("connection") == Some("close"), "{answer:?}");
                        Ok(())
                    })?;
                }
                let end = before.wait(SOON)?;
                ensure!(end.success(), "{end}: {}", before.log());
                calls.some_more()?;
            }
            Ok(())
        })?;
        let answer = lab.edges[0].admin("/readyz")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}

/// Told to stop with no time for others to learn it, it is one whose packet path needs no time to notice its end.
#[test]
fn an_agent_that_stops_at_once_refuses_no_connection() -> Result<()> {
    run("an_agent_that_stops_at_once_refuses_no_connection", &edges(2), |lab| {
        Site::publish(lab)?;
        lab.run_agents_with(&["--grace", "1"])?;
        await_all_up(lab)?;
        let to = [SocketAddr::new(lab.vip().v4.into(), 80), SocketAddr::new(lab.vip().v6.into(), 80)];
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            calls.some_more()?;
            let agent = lab.edges[0].agent().context("it was started")?;
            agent.ask_to_stop()?;
            let end = agent.wait(SOON)?;
            ensure!(end.success(), "{end}: {}", agent.log());
            calls.some_more()
        })
    })
}

/// Without one, what listens on all addresses of the node would answer on VIPs, or nobody.
#[test]
fn there_is_a_socket_lookup_at_each_moment() -> Result<()> {
    with_site("there_is_a_socket_lookup_at_each_moment", &edges(1), |lab, _| {
        let node = &mut lab.edges[0];
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let links = node.bpffs().join("edgelb/links");
        inotify::add_watch(&watch, &links, WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE)?;
        node.kill_agent()?;
        node.run_agent(&[])?;
        node.run_next_agent()?.stop()?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Vec::new();
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.file_name() == Some(c"sk_lookup") {
                events.push(event.events());
            }
        }
        ensure!(events == [ReadFlags::MOVED_TO; 2], "{events:?}");
        Ok(())
    })
}

/// What came in without one would be the kernel's, which refuses connections that another node has.
#[test]
fn there_is_a_packet_path_at_each_moment() -> Result<()> {
    with_site("there_is_a_packet_path_at_each_moment", &edges(1), |lab, _| {
        let node = &mut lab.edges[0];
        let (link, first) = attached(node)?;
        let mut programs = vec![first];
        let namespace = node.namespace.clone();
        let seen = looks_during(&namespace, || {
            for (step, change) in SUCCESSIONS {
                change(node).context(step)?;
                let (same, program) = attached(node).context(step)?;
                ensure!(same == link, "{step}: the link {link} was followed by {same}");
                ensure!(!programs.contains(&program), "{step}: {program} again, after {programs:?}");
                programs.push(program);
            }
            Ok(())
        })?;
        // Each look finds one program; an update in between shows as the next one.
        let expected: Vec<_> = programs.iter().map(|&program| vec![program]).collect();
        ensure!(seen == expected, "{seen:?} instead of {programs:?}");
        Ok(())
    })
}

type Change = fn(&mut Node) -> Result<()>;

/// Each way in which one agent comes after another. What follows after a death is asked where the first one was.
const SUCCESSIONS: [(&str, Change); 4] = [
    ("a death", |node| {
        node.kill_agent()?;
        node.run_agent(&[])
    }),
    ("an update", |node| follow(node, &[])),
    ("an update to another layout", |node| follow(node, &["--other-layout"])),
    ("an update back", |node| follow(node, &[])),
];

fn follow(node: &mut Node, arguments: &[&str]) -> Result<()> {
    let mut before = node.start_next_agent(arguments)?;
    node.await_ready()?;
    before.stop().map(drop)
}

/// The link on the uplink, and the program in it, which is what the interface runs.
fn attached(node: &Node) -> Result<(u32, u32)> {
    let pin = node.bpffs().join(format!("edgelb/links/xdp-{UPLINK}"));
    let info = FdLink::from(PinnedLink::from_pin(pin)?).info()?;
    let runs = xdp_programs(End { namespace: &node.namespace, interface: UPLINK })?;
    ensure!(runs == [info.program_id()], "the link has {}, the interface {runs:?}", info.program_id());
    Ok((info.id(), info.program_id()))
}

/// The programs on the uplink as long as `work` takes: what looks at it found, where that differs from the look before.
fn looks_during(namespace: &Namespace, work: impl FnOnce() -> Result<()>) -> Result<Vec<Vec<u32>>> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let (mut seen, mut looks) = (Vec::new(), 0_usize);
            while !over.load(Ordering::Relaxed) {
                seen.push(xdp_programs(End { namespace, interface: UPLINK })?);
                seen.dedup();
                looks += 1;
            }
            println!("{looks} looks at the uplink");
            anyhow::Ok(seen)
        });
        let worked = work();
        over.store(true, Ordering::Relaxed);
        let seen = looks.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        worked.and(seen)
    })
}

#[test]
fn an_agent_that_fails_to_follow_costs_nothing() -> Result<()> {
    with_site("an_agent_that_fails_to_follow_costs_nothing", &edges(1), |lab, _| {
        let to = [SocketAddr::new(lab.vip().v4.into(), 80)];
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            let node = &lab.edges[0];
            let generation = || node.metric(KERNEL_GENERATION);
            let at_first = generation()?;
            // What an agent does up to the moment at which it has the pins.
            let mut next = UnixStream::connect(node.hand_over_socket())?;
            next.set_read_timeout(Some(PATIENCE))?;
            next.write_all(b"take over 1\n")?;
            let mut answer = [0; 8];
            next.read_exact(&mut answer)?;
            assert_eq!(&answer, b"yours 1\n");
            ensure!(!node.hand_over_socket().exists(), "the socket is the next agent's");

            let late = "late.example.org";
            lab.manifests.write("late.yaml", &ingress("late", &[(late, "/", "shop")], &[]))?;
            eventually("the new host, by the proxy of the agent before", SOON, || {
                let status = connect(lab, to[0])?.fetch(late, "/")?.status;
                ensure!(status == 200, "{status}");
                Ok(())
            })?;
            calls.some_more()?;
            assert_eq!(generation()?.to_bits(), at_first.to_bits(), "it has no right to the maps any more");
            drop(next);
            until("the kernel follows again", SOON, || generation().is_ok_and(|now| now > at_first))?;
            calls.some_more()
        })?;
        // It hands over again, to a real one.
        let mut before = lab.edges[0].run_next_agent()?;
        before.stop()?;
        calls.during(&lab.client.clone(), &to, || calls.some_more())
    })
}

#[test]
fn an_agent_that_dies_is_replaced_by_the_one_before() -> Result<()> {
    with_site("an_agent_that_dies_is_replaced_by_the_one_before", &edges(1), |lab, _| {
        let to = [SocketAddr::new(lab.vip().v4.into(), 80)];
        let before = lab.edges[0].run_next_agent()?;
        lab.edges[0].kill_agent()?;
        lab.edges[0].agent_before(before);
        eventually("answers by the agent before", SOON, || connect(lab, to[0])?.fetch(SHOP, "/").map(drop))?;
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || calls.some_more())
    })
}

/// Whoever comes first, each of the two has had its turn in the end; and the one that has the packet path then leaves it
/// to one of those before.
#[test]
fn two_that_follow_at_once_come_one_after_the_other() -> Result<()> {
    with_site("two_that_follow_at_once_come_one_after_the_other", &edges(1), |lab, _| {
        let (v4, v6) = (lab.vip().v4.into(), lab.vip().v6.into());
        let to = [SocketAddr::new(v4, 80), SocketAddr::new(v6, 80)];
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            let node = &mut lab.edges[0];
            let mut agents = vec![node.start_next_agent(&[])?, node.start_next_agent(&[])?];
            agents.push(node.take_agent().context("the last one")?);
            let ids: Vec<_> = agents.iter().map(Process::id).collect();
            let log = || agents[0].log();
            until("two have handed over", PATIENCE * 4, || {
                log().matches("handed over to the next").count() == 2
            })?;
            let mut holder = 0;
            until("the third has the packet path", SOON, || {
                holder = holder_of(node).unwrap_or_default();
                holder != 0 && holder != ids[0]
            })?;
            calls.some_more()?;
            let mut last = agents.remove(ids.iter().position(|id| *id == holder).context("one of them")?);
            last.ask_to_stop()?;
            // With calls all the time, there may be no moment without one before its grace is over.
            ensure!(last.wait(2 * SOON)?.success(), "{}", last.log());
            until("one before has taken back", SOON, || {
                holder_of(node).is_ok_and(|now| now != holder && ids.contains(&now))
            })?;
            calls.some_more()?;
            let holder = holder_of(node)?;
            agents.retain_mut(|agent| agent.id() == holder || agent.stop().is_err());
            calls.some_more()?;
            ensure!(agents.len() == 1, "{}", agents[0].log());
            // Else it would end with this test's steps, and calls with it.
            node.agent_before(agents.remove(0));
            Ok(())
        })
    })
}

/// The process that listens where agents of a node ask for the packet path.
fn holder_of(node: &Node) -> Result<u32> {
    let door = UnixStream::connect(node.hand_over_socket())?;
    let listens = getsockopt(&door, PeerCredentials)?;
    Ok(listens.pid().cast_unsigned())
}

const KERNEL_GENERATION: &str = "lb_agent_generation{stage=\"kernel\"}";

/// What clients of one host met.
#[derive(Default)]
pub(crate) struct Calls {
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Calls {
    /// Opens connections, each for one request, as long as `work` takes; none may fail.
    pub(crate) fn during(
        &self,
        client: &Namespace,
        to: &[SocketAddr],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let over = AtomicBool::new(false);
        let worked = thread::scope(|scope| {
            for caller in 0..CALLERS {
                let to = to[caller % to.len()];
                let over = &over;
                scope.spawn(move || {
                    client.run(|| {
                        while !over.load(Ordering::Relaxed) {
                            self.call(to);
                        }
                    });
                });
            }
            let worked = work();
            over.store(true, Ordering::Relaxed);
            worked
        });
        let failures = std::mem::take(&mut *self.failures.lock().expect("no caller panics"));
        let answered = self.answered.load(Ordering::Relaxed);
        ensure!(failures.is_empty(), "{} of {answered} calls failed: {failures:?}", failures.len());
        println!("{answered} calls, none failed");
        worked
    }

    /// Waits for answers to calls that begin from now on.
    pub(crate) fn some_more(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", SOON, || self.answered.load(Ordering::Relaxed) > before + 20 * CALLERS)
    }

    fn call(&self, to: SocketAddr) {
        match call(to) {
            Ok(()) => _ = self.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => self.failures.lock().expect("no caller panics").push(format!("{to}: {error:#}")),
        }
    }
}

fn call(to: SocketAddr) -> Result<()> {
    let stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut connection = Connection::new(stream);
    let status = connection.send("GET", SHOP, "/", &[("Connection", "close")])?.status;
    ensure!(status == 200, "status {status}");
    connection.await_end()
}
