//! Asks the kernel for the socket of a TCP segment. Every socket that it lends is given back.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Tuple4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as Tuple6, tcphdr, xdp_md,
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie};
use lb_ebpf::{Socket, Sockets, TcpHeader, Walk};

/// The network namespace of the interface that the frame came in on.
const ITS_NAMESPACE: u64 = -1_i32 as u64;

/// Socket states (`include/net/tcp_states.h`).
const TIME_WAIT: u32 = 6;
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

const ACK: u32 = 0x10;

/// Where a half-open socket of this kernel (`tcp_request_sock`) keeps the number with which it answered the SYN: whoever
/// loads the program knows. 0 if it does not.
#[unsafe(no_mangle)]
static ANSWERED_AT: u32 = 0;

/// Where what is left of a closed connection (`sock_common`, with which every socket begins) keeps the number behind the FIN that
/// it sent: from the same.
#[unsafe(no_mangle)]
static CLOSED_AT: u32 = 0;

/// The sockets of the network namespace in which a packet came in.
pub struct Kernel(pub *mut xdp_md);

impl Sockets for Kernel {
    #[inline(always)]
    fn socket(&self, walk: &Walk, tcp: &TcpHeader) -> Socket {
        // The IP header, and the part of it where the flow's addresses and ports begin.
        let ip = walk.ip();
        if walk.is_v6() {
            ask::<Tuple6>(self.0, ip[2..].as_ptr(), ip.as_ptr(), 40, tcp)
        } else {
            ask::<Tuple4>(self.0, ip[3..].as_ptr(), ip.as_ptr(), 20, tcp)
        }
    }
}

/// `flow` points to a `K`: the kernel's tuple of one family. The kernel only reads.
#[inline(always)]
fn ask<K>(context: *mut xdp_md, flow: *const u32, ip: *const u32, ip_len: u32, tcp: &TcpHeader) -> Socket {
    let flow: *mut bpf_sock_tuple = flow.cast_mut().cast();
    // SAFETY: the kernel hands a valid context, and checks that the tuple's bytes are there.
    let socket = unsafe { bpf_skc_lookup_tcp(context.cast(), flow, size_of::<K>() as u32, ITS_NAMESPACE, 0) };
    if socket.is_null() {
        return Socket::None;
    }
    // SAFETY: a socket that the kernel lends until it is released below.
    let state = unsafe { (*socket).state };
    let found = match state {
        TIME_WAIT | NEW_SYN_RECV if !is_of_one_with(socket, state, tcp) => Socket::OtherConnection,
        TIME_WAIT => Socket::TimeWait,
        LISTEN => {
            let ip: *mut c_void = ip.cast_mut().cast();
            let tcp: *mut tcphdr = (&raw const *tcp).cast_mut().cast();
            // SAFETY: a listener, and headers of these sizes. The kernel says no without a recent overflow of this
            // listener's queue, before it looks at the cookie.
            match unsafe {
                bpf_tcp_check_syncookie(socket.cast(), ip, ip_len, tcp, size_of::<TcpHeader>() as u32)
            } {
                0 => Socket::Cookie,
                _ => Socket::Listener,
            }
        }
        _ => Socket::Connection,
    };
    // SAFETY: lent above, given back once.
    unsafe { bpf_sk_release(socket.cast()) };
    found
}

/// Whether a segment is of the connection that has this socket, half-open or closed.
///
/// Half-open: if it acknowledges something, then what the socket answered. What acknowledges nothing is taken for one of it.
///
/// Closed: if it acknowledges all that the connection sent, its FIN included: its client did, or there were no TIME_WAIT, and
/// whatever comes from that client later says it again. A duplicate from before that is taken for another connection's: who
/// refuses it in the end does so by a number that its client has passed, and ignores. So is what acknowledges nothing, for a
/// RST is never answered.
///
/// What cannot be compared is taken for one of it. One function for both: the stack has no room for two.
#[inline(always)]
fn is_of_one_with(socket: *const bpf_sock, state: u32, tcp: &TcpHeader) -> bool {
    let is_closed = state == TIME_WAIT;
    // SAFETY: statics; not read at compile time, for they are written before the program is loaded.
    let at = unsafe { read_volatile(if is_closed { &raw const CLOSED_AT } else { &raw const ANSWERED_AT }) };
    if at == 0 {
        return true;
    }
    if !acknowledges(tcp) {
        return !is_closed;
    }
    let next = u32::from(!is_closed);
    number(socket, at).is_none_or(|number| u32::from_be(tcp[2]) == number.wrapping_add(next))
}

#[inline(always)]
const fn acknowledges(tcp: &TcpHeader) -> bool {
    (tcp[3] >> 8) & ACK != 0
}

/// A number that the kernel keeps at this place of a socket, whose state says what it is. To ask the kernel for a pointer of
/// that type would be to ask in vain: `bpf_skc_to_tcp_request_sock` goes by the socket's functions, and half-open sockets of
/// a listener that stands in a map of sockets, as ours do, have that map's (`tcp_bpf_prots`).
#[inline(always)]
fn number(socket: *const bpf_sock, at: u32) -> Option<u32> {
    let mut place = socket as usize;
    let slot = (&raw mut place).cast::<c_void>();
    // SAFETY: the kernel refuses what it cannot read. First the pointer, from the stack onto itself: nobody may count on from
    // one that was lent, but from what was read.
    unsafe {
        if bpf_probe_read_kernel(slot, size_of::<usize>() as u32, slot) != 0 {
            return None;
        }
        let from = place.wrapping_add(at as usize) as *const c_void;
        if bpf_probe_read_kernel(slot, size_of::<u32>() as u32, from) != 0 {
            return None;
        }
        Some(*slot.cast::<u32>())
    }
}
