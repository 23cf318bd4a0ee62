//! WebSocket messages that come back, one at a time on each connection.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;

use super::super::site::{HOST, Listen, Site};
use super::{Clients, Opener, Opens, Window, check};
use crate::chaos::client::http1::Http;
use crate::chaos::client::messages;
use crate::pattern::Pattern;

pub(super) fn start(
    connections: usize,
    listen: Listen,
    site: &Site,
    window: &Rc<Window>,
    clients: &mut Clients,
) -> Result<()> {
    for number in 0..connections {
        let opener = Opener::new(Opens::Clear, b"http/1.1", listen, site)?;
        clients.spawn_local(talk(opener, number as u64, window.clone()));
    }
    Ok(())
}

async fn talk(mut opener: Opener, seed: u64, window: Rc<Window>) -> Result<()> {
    let mut http = Http::new(opener.open().await?);
    let upgrade = messages::UPGRADE;
    http.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n").as_bytes()).await?;
    check(http.head().await?.status, 101)?;
    let mut pattern = Pattern::new(seed);
    let mut sent = Instant::now();
    while !window.is_closed() {
        messages::echo(&mut http, &mut pattern).await?;
        sent = window.note(sent);
    }
    messages::close(&mut http).await?;
    Ok(())
}
