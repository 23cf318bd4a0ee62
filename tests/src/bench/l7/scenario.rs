//! What is measured: one row for each scenario, with what its clients do and what edgelb is to reach.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::load::{Exchange, Http1, Http2, Load, Opens, Paced};
use super::site::{Needs, PLAIN, Routes};

/// One of them.
pub(super) struct Scenario {
    /// As the command line has it.
    pub(super) name: &'static str,
    /// For people.
    pub(super) words: &'static str,
    pub(super) site: Needs,
    pub(super) task: Task,
    /// What edgelb's first figure may be, as a part of the best peer's.
    pub(super) goal: Option<f64>,
}

/// What is done with a peer that serves the site.
pub(super) enum Task {
    /// Turns under load.
    Load(Load),
    /// Turns with clients that keep its core busy, and with twice as many.
    Overload(Http1),
    /// Hosts are added under load.
    Change,
    /// Memory with the site's routes, once each of them has been asked for.
    Routes,
    /// Memory with so many idle connections, or as many as there are descriptors for.
    Idle(Opens, u64),
}

/// Less work than the best of the others.
const USUAL: Option<f64> = Some(0.9);
/// Bodies from 1 MiB.
const LARGE: Option<f64> = Some(0.6);
const HANDSHAKE: Option<f64> = Some(0.55);

const TLS: Needs = Needs { tls: true, ..PLAIN };
const GRPC: Needs = Needs { grpc: true, ..TLS };
const UPGRADES: Needs = Needs { upgrades: true, ..PLAIN };

const fn routes(routes: Routes) -> Needs {
    Needs { routes, ..PLAIN }
}

const fn http1(exchange: Exchange) -> Task {
    Task::Load(Load::Http1(Http1 { connections: 64, opens: Opens::Clear, exchange }))
}

const fn handshakes(opens: Opens) -> Task {
    Task::Load(Load::Http1(Http1 { connections: 16, opens, exchange: Exchange::Last }))
}

const MIB: usize = 1 << 20;

pub(super) const ALL: [Scenario; 20] = [
    Scenario {
        name: "h1",
        words: "HTTP/1.1 keep-alive, 128 B",
        site: PLAIN,
        task: http1(Exchange::Get(128)),
        goal: USUAL,
    },
    Scenario {
        name: "tls",
        words: "HTTP/1.1 keep-alive over TLS 1.3, 128 B",
        site: TLS,
        task: Task::Load(Load::Http1(Http1 {
            connections: 64,
            opens: Opens::Tls,
            exchange: Exchange::Get(128),
        })),
        goal: USUAL,
    },
    Scenario {
        name: "h2",
        words: "HTTP/2 over TLS, 4 x 100 streams, 128 B",
        site: TLS,
        task: Task::Load(Load::Http2(Http2 { connections: 4, streams: 100, grpc: false })),
        goal: USUAL,
    },
    Scenario {
        name: "grpc",
        words: "gRPC unary, HTTP/2 on both sides, 4 x 100 streams",
        site: GRPC,
        task: Task::Load(Load::Http2(Http2 { connections: 4, streams: 100, grpc: true })),
        goal: USUAL,
    },
    Scenario {
        name: "body-64k",
        words: "64 KiB bodies",
        site: PLAIN,
        task: http1(Exchange::Get(65_536)),
        goal: USUAL,
    },
    Scenario {
        name: "body-1m",
        words: "1 MiB bodies",
        site: PLAIN,
        task: http1(Exchange::Get(MIB)),
        goal: LARGE,
    },
    Scenario {
        name: "upload-1m",
        words: "uploads of 1 MiB",
        site: PLAIN,
        task: http1(Exchange::Post(MIB)),
        goal: LARGE,
    },
    Scenario {
        name: "handshake",
        words: "full TLS 1.3 handshake and one request",
        site: TLS,
        task: handshakes(Opens::TlsAnew),
        goal: HANDSHAKE,
    },
    Scenario {
        name: "resumed",
        words: "resumed TLS 1.3 handshake and one request",
        site: TLS,
        task: handshakes(Opens::TlsResumed),
        goal: USUAL,
    },
    Scenario {
        name: "connect",
        words: "a new connection for each request",
        site: PLAIN,
        task: http1(Exchange::Last),
        goal: USUAL,
    },
    Scenario {
        name: "hosts",
        words: "2,000 hosts",
        site: routes(Routes::Hosts(2_000)),
        task: http1(Exchange::Get(128)),
        goal: USUAL,
    },
    Scenario {
        name: "paths",
        words: "10,000 routes on one host",
        site: routes(Routes::Paths(10_000)),
        task: http1(Exchange::Get(128)),
        goal: USUAL,
    },
    Scenario {
        name: "websocket",
        words: "WebSocket echo, 200 B",
        site: UPGRADES,
        task: Task::Load(Load::WebSocket { connections: 64 }),
        goal: USUAL,
    },
    Scenario {
        name: "rate",
        words: "3,000 requests a second",
        site: PLAIN,
        task: Task::Load(Load::Paced(Paced { connections: 64, rate: 3_000 })),
        goal: USUAL,
    },
    Scenario {
        name: "overload",
        words: "twice the clients that saturate it, 128 B",
        site: PLAIN,
        task: Task::Overload(Http1 { connections: 128, opens: Opens::Clear, exchange: Exchange::Get(128) }),
        goal: None,
    },
    Scenario {
        name: "change",
        words: "a host is added to 2,000 under load",
        site: routes(Routes::Hosts(2_000)),
        task: Task::Change,
        goal: None,
    },
    Scenario {
        name: "routes-2000",
        words: "memory with 2,000 hosts",
        site: routes(Routes::Hosts(2_000)),
        task: Task::Routes,
        goal: USUAL,
    },
    Scenario {
        name: "routes-10000",
        words: "memory with 10,000 hosts",
        site: routes(Routes::Hosts(10_000)),
        task: Task::Routes,
        goal: USUAL,
    },
    Scenario {
        name: "idle",
        words: "memory with idle TLS connections",
        site: TLS,
        task: Task::Idle(Opens::TlsAnew, 10_000),
        goal: USUAL,
    },
    Scenario {
        name: "idle-clear",
        words: "memory with 100,000 idle connections in the clear",
        site: PLAIN,
        task: Task::Idle(Opens::Clear, 100_000),
        goal: USUAL,
    },
];

/// Those with these names, in the order of the table; all, if none is named.
pub(super) fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|scenario| scenario.name != name.as_str()))
    {
        bail!("there is no scenario {unknown:?}: `cargo xtask bench l7 --list` shows them");
    }
    let is_wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(ALL.iter().filter(is_wanted).collect())
}

/// The table for people.
pub(super) fn list() -> String {
    ALL.iter().fold(String::new(), |mut text, scenario| {
        let goal = scenario.goal.map_or_else(String::new, |goal| format!("  (goal {goal})"));
        let _ = writeln!(text, "{:13} {}{goal}", scenario.name, scenario.words);
        text
    })
}
