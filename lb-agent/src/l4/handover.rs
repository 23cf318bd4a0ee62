//! How an agent hands its node's packet path to the next one: over a unix socket in the state folder, where the
//! agent that has the pins listens.
//!
//! ```text
//! next:    take over 1     it has all that it needs, but the pins
//! before:  yours 1         it writes no more, and has let go of pins and socket;
//!          N               then how many listening sockets it has, 4 bytes in network order,
//!          .               and the sockets, each with one byte, as SCM_RIGHTS
//! ```
//! Both have the sockets then: what waits in them, handshakes under way and SYN cookies outlive each of the two.
//! The connection stays: its end tells the one before that the next one is gone.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::L4Error;

const REQUEST: &[u8] = b"take over 1\n";
const ANSWER: &[u8] = b"yours 1\n";

/// Both sides are on one machine, and neither has to think about it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is asked may stand still on a busy machine after it has let go of the pins: whoever took them then would have none of its
/// sockets, and not be missed by it. If it dies, its side of the connection ends.
const PATIENCE_WITH_ANSWER: Duration = Duration::from_secs(60);

/// More listening sockets than any agent has.
const MOST_SOCKETS: u32 = 1 << 16;

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
    /// Tells it that the pins are free, and gives it the listening sockets; then waits until it is gone.
    pub(crate) async fn outlive(mut self, sockets: &[&TcpListener]) {
        match self.give(sockets).await {
            // It says nothing more.
            Ok(()) => _ = self.stream.read(&mut [0]).await,
            Err(error) => warn!(%error, "the next agent did not take over"),
        }
    }

    async fn give(&mut self, sockets: &[&TcpListener]) -> io::Result<()> {
        self.stream.write_all(ANSWER).await?;
        self.stream.write_u32(sockets.len() as u32).await?;
        for socket in sockets {
            self.stream.async_io(Interest::WRITABLE, || send(&self.stream, socket.as_fd())).await?;
        }
        Ok(())
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
    /// The sockets that it accepted connections from, and still does.
    pub(crate) sockets: Vec<TcpListener>,
    _stream: UnixStream,
}

/// Asks the agent that listens at `path` for the pins, and returns when it has let go of them.
pub(crate) async fn ask(path: &Path) -> io::Result<Predecessor> {
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(REQUEST).await?;
        expect(&mut stream, ANSWER).await?;
        let count = stream.read_u32().await?;
        if count > MOST_SOCKETS {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("the other side has {count} sockets"),
            ));
        }
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(stream.async_io(Interest::READABLE, || receive(&stream)).await?);
        }
        Ok(Predecessor { sockets, _stream: stream })
    };
    timeout(PATIENCE_WITH_ANSWER, ask).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// A socket goes with a byte, for the kernel sends none alone.
fn send(to: &UnixStream, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(to, &[IoSlice::new(b".")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(from: &UnixStream) -> io::Result<TcpListener> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    let socket = rights.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a socket is missing"))?;
    Ok(socket.into())
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
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("it is bound");
        let outlived = tokio::spawn(async move { successor.outlive(&[&socket, &socket]).await });
        let before = next.await.expect("no panic").expect("it is answered");
        assert!(!outlived.is_finished());
        let of = |socket: &TcpListener| socket.local_addr().expect("a socket");
        assert_eq!(before.sockets.iter().map(of).collect::<Vec<_>>(), [address; 2]);
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
        tokio::spawn(async move { successor.outlive(&[]).await });
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
