//! TCP connections from where this process is into a namespace.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::lab::Namespace;

/// A port here that stands for one there, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Forward(#[expect(dead_code, reason = "its drop ends the thread")] oneshot::Sender<()>);

impl Forward {
    pub(crate) fn start(here: SocketAddr, namespace: &Namespace, there: SocketAddr) -> Result<Self> {
        // A socket belongs for good to the namespace that it was made in.
        let listener = StdListener::bind(here).with_context(|| format!("listening at {here}"))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let namespace = namespace.clone();
        thread::Builder::new().name("forward".to_owned()).spawn(move || {
            if namespace.enter().is_ok() {
                runtime.block_on(serve(listener, there, ended));
            }
        })?;
        Ok(Self(end))
    }
}

async fn serve(listener: StdListener, there: SocketAddr, mut ended: oneshot::Receiver<()>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(stream, there));
                }
            }
            _ = &mut ended => return,
        }
    }
}

/// Whichever side breaks, the other one notices.
async fn connection(mut near: TcpStream, there: SocketAddr) -> std::io::Result<()> {
    let mut far = TcpStream::connect(there).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}
