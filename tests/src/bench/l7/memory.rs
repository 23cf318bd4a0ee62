//! What a peer's memory is: with its routes, and with connections on which nothing happens.

use std::net::Ipv4Addr;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use tokio::task::{JoinSet, LocalSet};

use super::figure::{Figure, Figures};
use super::load::{self, Exchange, Opener, Opens};
use super::site::{HOST, Site};
use super::subject::Subject;
use crate::chaos::client::http1::Http;

/// Connections that are being opened at one time, each from an address of its own: one has not enough ports.
const AT_ONCE: u8 = 32;

/// Once each of the routes has been asked for.
pub(super) fn with_routes(subject: &Subject, site: &Site) -> Result<Figures> {
    LocalSet::new().block_on(&load::runtime()?, async {
        let mut opener = Opener::new(Opens::Clear, b"http/1.1", subject.listen, site)?;
        let mut http = Http::new(opener.open().await?);
        for (host, path) in site.targets() {
            if load::exchange(&mut http, &load::request(Exchange::Get(128), host, path)).await? {
                http = Http::new(opener.open().await?);
            }
        }
        Ok(vec![(Figure::MEMORY, subject.memory()?)])
    })
}

/// With so many connections, each of which had one request.
pub(super) fn with_idle(opens: Opens, subject: &Subject, site: &Site, connections: u64) -> Result<Figures> {
    LocalSet::new().block_on(&load::runtime()?, async {
        let before = subject.memory()?;
        let request = load::request(Exchange::Get(128), HOST, "/");
        let left = Rc::new(std::cell::Cell::new(connections));
        let mut openers = JoinSet::new();
        for number in 1..=AT_ONCE {
            let opener = Opener::new(opens, b"http/1.1", subject.listen, site)?;
            let mut opener = opener.from(Ipv4Addr::new(127, 0, 1, number));
            let (request, left) = (request.clone(), left.clone());
            openers.spawn_local(async move {
                let mut idle = Vec::new();
                while let Some(less) = left.get().checked_sub(1) {
                    left.set(less);
                    let mut http = Http::new(opener.open().await?);
                    if load::exchange(&mut http, &request).await? {
                        return Err(anyhow!("a connection ended with its first request"));
                    }
                    idle.push(http);
                }
                Ok(idle)
            });
        }
        let mut idle = Vec::new();
        while let Some(opened) = openers.join_next().await {
            idle.extend(opened??);
        }
        let memory = subject.memory()?;
        // Each of them still answers: none was closed to save memory.
        for http in &mut idle {
            load::exchange(http, &request).await?;
        }
        let each = (memory - before) * 1_024.0 / connections as f64;
        Ok(vec![(Figure::MEMORY, memory), (Figure::EACH, each)])
    })
}
