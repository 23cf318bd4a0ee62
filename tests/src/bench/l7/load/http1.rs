//! HTTP/1.1: bytes made beforehand, answers read as far as it takes to find their end.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use tokio::net::TcpStream;

use super::super::site::{Listen, Site};
use super::{Clients, Exchange, Http1, Opener, Window, check};
use crate::chaos::client::http1::Http;

pub(super) fn start(
    load: Http1,
    listen: Listen,
    site: &Site,
    window: &Rc<Window>,
    clients: &mut Clients,
) -> Result<()> {
    let requests: Rc<[Bytes]> =
        site.targets().map(|(host, path)| request(load.exchange, host, path)).collect();
    for number in 0..load.connections {
        let opener = Opener::new(load.opens, b"http/1.1", listen, site)?;
        // Each client begins elsewhere, so that they do not ask for the same all the time.
        let first = number * requests.len() / load.connections;
        clients.spawn_local(ask(opener, load.exchange, requests.clone(), first, window.clone()));
    }
    Ok(())
}

/// A request, head and body.
pub(crate) fn request(exchange: Exchange, host: &str, path: &str) -> Bytes {
    let (method, path, more, body) = match exchange {
        Exchange::Get(128) => ("GET", path.to_owned(), String::new(), 0),
        Exchange::Get(bytes) => ("GET", format!("/bytes/{bytes}"), String::new(), 0),
        Exchange::Post(bytes) => ("POST", path.to_owned(), format!("Content-Length: {bytes}\r\n"), bytes),
        Exchange::Last => ("GET", path.to_owned(), "Connection: close\r\n".to_owned(), 0),
    };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n{more}\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes.into()
}

async fn ask(
    mut opener: Opener,
    kind: Exchange,
    requests: Rc<[Bytes]>,
    first: usize,
    window: Rc<Window>,
) -> Result<()> {
    let mut requests = requests.iter().cycle().skip(first);
    let mut sent = Instant::now();
    while !window.is_closed() {
        let mut http = Http::new(opener.open().await?);
        while let Some(request) = requests.next()
            && !window.is_closed()
        {
            let closes = exchange(&mut http, request).await?;
            sent = window.note(sent);
            if closes || kind == Exchange::Last {
                break;
            }
        }
    }
    Ok(())
}

/// One request and its answer; whether the connection ends with it.
pub(crate) async fn exchange<S: super::open::Stream>(http: &mut Http<S>, request: &[u8]) -> Result<bool> {
    http.send(request).await?;
    let head = http.head().await?;
    check(head.status, 200)?;
    http.skip(head.length).await?;
    Ok(head.closes)
}

/// Whether a host answers on a new connection.
pub(crate) async fn answers(listen: Listen, host: &str) -> bool {
    let asked = async {
        let mut http = Http::new(TcpStream::connect(listen.http).await?);
        exchange(&mut http, &request(Exchange::Last, host, "/")).await
    };
    asked.await.is_ok()
}
