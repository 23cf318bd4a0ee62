//! How an agent hands its node's packet path to the next one: over a unix socket in the state folder, where the
//! agent that has the pins listens.
//!
//! ```text
//! next:    take over 1     it has all that it needs, but the pins
//! before:  yours 1         it writes no more, and has let go of pins and socket
//! ```
//! Then the connection stays: its end tells the one before that the next one is gone.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::L4Error;

const REQUEST: &[u8] = b"take over 1\n";
const ANSWER: &[u8] = b"yours 1\n";

/// Both sides are on one machine, and neither has to think about it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Wait this long when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the agent that has the pins is asked for them. Whoever has the pins has this path.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Listens; what an agent that died has left is replaced. To be called with the pins locked only.
    pub(crate) fn open(path: &Path) -> Result<Self, L4Error> {
        let open = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            UnixListener::bind(path)
        };
        let listener = open().map_err(|source| L4Error::HandOver { path: path.to_owned(), source })?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Waits for an agent that asks for the pins. From then on the path is that agent's: it is gone while the
    /// pins are still locked, so that no socket but ours is taken away.
    pub(crate) async fn successor(&self) -> Successor {
        loop {
            let asked = match self.listener.accept().await {
                Ok((stream, _)) => {
                    timeout(PATIENCE, heard(stream)).await.unwrap_or_else(|late| Err(late.into()))
                }
                Err(error) => {
                    sleep(ACCEPT_PAUSE).await;
                    Err(error)
                }
            };
            match asked.and_then(|successor| fs::remove_file(&self.path).map(|()| successor)) {
                Ok(successor) => return successor,
                Err(error) => warn!(%error, "somebody asked for the packet path in vain"),
            }
        }
    }
}

/// The agent that is to have the pins next.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
}

impl Successor {
    /// Tells it that the pins are free, then waits until it is gone.
    pub(crate) async fn outlive(mut self) {
        if self.stream.write_all(ANSWER).await.is_ok() {
            // It says nothing more.
            let _ = self.stream.read(&mut [0]).await;
        }
    }
}

async fn heard(mut stream: UnixStream) -> io::Result<Successor> {
    let user = stream.peer_cred()?.uid();
    if user != geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, format!("user {user} may not")));
    }
    expect(&mut stream, REQUEST).await?;
    Ok(Successor { stream })
}

/// The agent that had the pins before: as long as this lives, it does not take them back.
#[derive(Debug)]
pub(crate) struct Predecessor {
    _stream: UnixStream,
}

/// Asks the agent that listens at `path` for the pins, and returns when it has let go of them.
pub(crate) async fn ask(path: &Path) -> io::Result<Predecessor> {
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(REQUEST).await?;
        expect(&mut stream, ANSWER).await?;
        Ok(Predecessor { _stream: stream })
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

async fn expect(stream: &mut UnixStream, words: &[u8]) -> io::Result<()> {
    let mut said = vec![0; words.len()];
    stream.read_exact(&mut said).await?;
    if said == words {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    Err(io::Error::new(ErrorKind::InvalidData, format!("the other side said {:?}", said.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_agent_is_heard_answered_and_missed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run/handover.sock");
        let door = Door::open(&path).expect("nothing is there");
        let next = tokio::spawn({
            let path = path.clone();
            async move { ask(&path).await }
        });
        let successor = door.successor().await;
        drop(door);
        assert!(!path.exists(), "the path is the next agent's");
        let outlived = tokio::spawn(successor.outlive());
        let before = next.await.expect("no panic").expect("it is answered");
        assert!(!outlived.is_finished());
        drop(before);
        timeout(PATIENCE, outlived).await.expect("its end is seen").expect("no panic");
    }

    #[tokio::test]
    async fn strangers_are_not_handed_anything() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("handover.sock");
        let door = Door::open(&path).expect("nothing is there");
        let mut stranger = UnixStream::connect(&path).await.expect("the door is there");
        stranger.write_all(b"GET / HTTP/1.1\r\n").await.expect("it listens");
        let next = tokio::spawn(async move { ask(&path).await });
        let successor = door.successor().await;
        tokio::spawn(successor.outlive());
        next.await.expect("no panic").expect("the agent is answered");
    }

    #[tokio::test]
    async fn what_a_dead_agent_left_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("handover.sock");
        drop(Door::open(&path).expect("nothing is there"));
        let refused = ask(&path).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        Door::open(&path).expect("the old one is replaced");
    }
}
