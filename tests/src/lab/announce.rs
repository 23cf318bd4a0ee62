//! The lab's announcer: it hears from each agent which VIPs its node may attract, and has the router spread them over
//! those nodes, or send them to one of those as an election in the network would. A node whose agent ends, however it
//! does, ends its stream, and with it its route.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::Link;
use super::namespace::Namespace;
use super::topology::spread_vips;
use super::{Lab, VIP};

/// How soon the announcer sees that it is over, or that an agent is there again.
const TURN: Duration = Duration::from_millis(20);

/// Announces for as long as it lives; the router's last route stays.
#[derive(Debug)]
pub struct Announcer {
    over: Arc<AtomicBool>,
    routes: Arc<Routes>,
    followers: Vec<JoinHandle<()>>,
}

impl Lab {
    /// Has the agents say over which nodes the router spreads the VIPs, in place of `spread_vips`: at first over none.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn announce(&self) -> Result<Announcer> {
        self.announce_by(None)
    }

    /// The same, with all packets for one node: for the first that may attract them, until another one is elected.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn announce_at_one(&self) -> Result<Announcer> {
        self.announce_by(Some(String::new()))
    }

    fn announce_by(&self, elected: Option<String>) -> Result<Announcer> {
        self.spread_vips(&[])?;
        let over = Arc::<AtomicBool>::default();
        let state = Mutex::new(State { elected, ..State::default() });
        let routes = Arc::new(Routes { router: self.router.clone(), state });
        let follower = |node: &super::Node| {
            let (over, routes) = (over.clone(), routes.clone());
            let (socket, link) = (node.admin_socket(), node.link);
            let name = node.name.clone();
            thread::spawn(move || follow(&socket, &over, |attracts| routes.set(&name, link, attracts)))
        };
        let followers = self.edges.iter().map(follower).collect();
        Ok(Announcer { followers, routes, over })
    }
}

impl Announcer {
    /// Has all packets go to this node from now on, if it may attract them.
    ///
    /// # Panics
    /// If the router does not take the route.
    pub fn elect(&self, node: &super::Node) {
        self.routes.change(|state| state.elected = Some(node.name.clone()));
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for follower in self.followers.drain(..) {
            if follower.join().is_err() {
                eprintln!("a follower of announcements ended by a panic");
            }
        }
    }
}

/// What the router is told.
#[derive(Debug)]
struct Routes {
    router: Namespace,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The nodes that may attract the VIPs.
    willing: BTreeMap<String, Link>,
    /// Who is to have all packets, if it is one.
    elected: Option<String>,
    /// What the router has.
    over: Vec<Link>,
}

impl State {
    fn wanted(&self) -> Vec<Link> {
        let Some(elected) = &self.elected else { return self.willing.values().copied().collect() };
        let first = || self.willing.values().next();
        self.willing.get(elected).or_else(first).copied().into_iter().collect()
    }
}

impl Routes {
    fn set(&self, node: &str, link: Link, attracts: bool) {
        self.change(|state| match attracts {
            true => drop(state.willing.insert(node.to_owned(), link)),
            false => drop(state.willing.remove(node)),
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let wanted = state.wanted();
        if wanted != state.over {
            spread_vips(&self.router, &wanted).expect("the router takes the route");
            state.over = wanted;
        }
    }
}

fn follow(socket: &Path, over: &AtomicBool, set: impl Fn(bool)) {
    while !over.load(Ordering::Relaxed) {
        // An end is an end, whatever it was.
        if let Err(error) = listen(socket, over, &set)
            && error.downcast_ref::<std::io::Error>().is_none()
        {
            eprintln!("announcements of {}: {error:#}", socket.display());
        }
        if !over.load(Ordering::Relaxed) {
            set(false);
        }
        thread::sleep(TURN);
    }
}

/// Follows one stream to its end.
fn listen(socket: &Path, over: &AtomicBool, set: &impl Fn(bool)) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TURN))?;
    stream.write_all(b"GET /attracted HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while !over.load(Ordering::Relaxed) {
        match stream.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        }
        // What else there is are headers, and lengths of chunks.
        if line.first() == Some(&b'[') {
            let vips: Vec<IpAddr> = serde_json::from_slice(&line).context("a list of addresses")?;
            set(VIP.both().iter().all(|vip| vips.contains(vip)));
        }
        line.clear();
    }
    Ok(())
}
