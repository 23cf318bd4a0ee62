//! A backend for benchmarks and tests: answers every head with 128 bytes, and costs as little as possible.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Starts it on loopback, on a thread of its own, for as long as the process lives.
///
/// # Errors
/// Those of the system.
pub fn start() -> Result<SocketAddr> {
    start_at(Ipv4Addr::LOCALHOST.into())
}

/// As `start`, where an object of the API can name it, which takes no loopback address for an endpoint: at one of
/// the machine's own. Packets to it do not leave the machine.
///
/// # Errors
/// As `start`, and if the machine has no such address.
pub fn start_for_api() -> Result<SocketAddr> {
    let found = nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address);
    let mut addresses = found.filter_map(|address| Some(address.as_sockaddr_in()?.ip()));
    let own = addresses.find(|address| !address.is_loopback() && !address.is_link_local());
    start_at(own.context("this machine has no IPv4 address but loopback's")?.into())
}

fn start_at(address: IpAddr) -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((address, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("backend".into()).spawn(move || runtime.block_on(accept(listener)))?;
    Ok(address)
}

async fn accept(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// Requests have no body and are not pipelined: each ends a read.
async fn answer(mut stream: TcpStream) {
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut head = Vec::with_capacity(4096);
    drop(stream.set_nodelay(true));
    while let Ok(1..) = stream.read_buf(&mut head).await {
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
