//! Backends for benchmarks and tests: they answer at once, and cost as little as possible.

mod grpc;
mod http1;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// Starts one on loopback, on a thread of its own, for as long as the process lives. It speaks HTTP/1.1 and answers with 128
/// bytes, `/bytes/N` with N of them; what is uploaded is read to its end, and WebSocket messages come back.
///
/// # Errors
/// Those of the system.
pub fn start() -> Result<SocketAddr> {
    start_at(Ipv4Addr::LOCALHOST.into(), http1::answer)
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
    start_at(own.context("this machine has no IPv4 address but loopback's")?.into(), http1::answer)
}

/// As `start`, for gRPC, HTTP/2 by prior knowledge: a unary call has its own message back, whatever its method.
///
/// # Errors
/// As `start`.
pub fn start_grpc() -> Result<SocketAddr> {
    start_at(Ipv4Addr::LOCALHOST.into(), grpc::answer)
}

fn start_at<F, A>(address: IpAddr, answer: F) -> Result<SocketAddr>
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((address, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("backend".into())
        .spawn(move || runtime.block_on(accept(listener, answer)))?;
    Ok(address)
}

async fn accept<F, A>(listener: std::net::TcpListener, answer: F)
where
    F: Fn(TcpStream) -> A,
    A: Future<Output = ()> + Send + 'static,
{
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        tokio::spawn(answer(stream));
    }
}
