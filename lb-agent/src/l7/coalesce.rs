//! Small writes in one plain call. HTTP libraries hand over head and body as a vector; for a few hundred bytes
//! a copy is cheaper than what `writev` costs above `send`. And over TLS it is one record instead of two.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

use super::splice::poll_io;

/// Up to here a copy is cheaper.
const SMALL: usize = 2048;

/// As `poll_write_vectored`, for slices that may be small together.
pub(super) fn poll_write<T: AsyncWrite + Unpin>(
    stream: &mut T,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    joined(slices, |joined| match joined {
        Some(all) => Pin::new(stream).poll_write(cx, all),
        None => Pin::new(stream).poll_write_vectored(cx, slices),
    })
}

/// As `poll_write`, to a socket that is closed after that: the last of it goes with the end, in one packet.
pub(super) fn poll_write_last(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    joined(slices, |joined| {
        let send = || match joined {
            Some(all) => rustix::net::send(socket, all, flags),
            None => rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags),
        };
        poll_io(cx, socket, Interest::WRITABLE, || Ok(send()?))
    })
}

/// With all of it as one slice, if it is one already or is small together.
fn joined<R>(slices: &[IoSlice<'_>], write: impl FnOnce(Option<&[u8]>) -> R) -> R {
    if let [only] = slices {
        return write(Some(only));
    }
    let mut together = [0; SMALL];
    write(copy(slices, &mut together).map(|length| &together[..length]))
}

/// How much it is, if all of it has room.
fn copy(slices: &[IoSlice<'_>], together: &mut [u8; SMALL]) -> Option<usize> {
    let mut length = 0;
    for slice in slices {
        together.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(slices: &[&[u8]], expected: Option<&[u8]>) {
        let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut together = [0; SMALL];
        let copied = copy(&slices, &mut together).map(|length| &together[..length]);
        assert_eq!(copied, expected);
    }

    #[test]
    fn small_slices_are_joined_in_order() {
        check(&[b"head", b"", b"body"], Some(b"headbody"));
        check(&[], Some(b""));
        check(&[&[b'x'; SMALL]], Some(&[b'x'; SMALL]));
        check(&[&[b'x'; SMALL], b"y"], None);
    }
}
