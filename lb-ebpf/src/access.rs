//! Reads and writes of packet memory. The only file of this library that dereferences raw pointers.
//! Bytes are checked once, as a `Window`; loads and stores within it cost nothing more.

use crate::frame::Frame;

/// `LEN` bytes of a frame that are known to be there. It must not outlive a call of `adjust_head` or `truncate`.
#[derive(Clone, Copy)]
pub(crate) struct Window<const LEN: usize> {
    address: usize,
}

/// Plain data of which any bytes are a value.
///
/// # Safety
/// No padding, no invalid bit patterns.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u8 {}
// SAFETY: integers.
unsafe impl Plain for u16 {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}
// SAFETY: an array has no padding between its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
// SAFETY: `repr(C, packed(4))`, integers only, of whole words.
unsafe impl Plain for lb_common::encap::Header {}

impl<const LEN: usize> Window<LEN> {
    /// The bytes from `offset` on, if the frame has them.
    #[inline(always)]
    pub(crate) fn new(frame: &impl Frame, offset: usize) -> Option<Self> {
        let address = opaque(frame.start() + offset);
        if address + LEN > frame.end() { None } else { Some(Self { address }) }
    }

    /// The `T` at `OFFSET` as it stands in the packet (network order), whatever its alignment.
    #[inline(always)]
    pub(crate) fn load<T: Plain, const OFFSET: usize>(self) -> T {
        const { assert!(OFFSET + size_of::<T>() <= LEN) };
        // SAFETY: `new` checked the bytes, `Frame` promises that they can be read.
        unsafe { read(self.address + OFFSET) }
    }

    /// The sum of all its 16-bit words in this machine's order, for a checksum: folded once, to 17 bits.
    #[inline(always)]
    pub(crate) fn sum(self) -> u32 {
        const { assert!(LEN.is_multiple_of(4) && LEN < 1 << 16) };
        let mut sum = 0_u64;
        for index in 0..LEN / 4 {
            // SAFETY: `new` checked the bytes, `Frame` promises that they can be read.
            sum += u64::from(unsafe { read::<u32>(self.address + index * 4) });
        }
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        (sum & 0xffff) as u32 + (sum >> 16) as u32
    }

    /// Stores a `T` at `OFFSET`.
    #[inline(always)]
    pub(crate) fn store<T: Plain, const OFFSET: usize>(self, value: T) {
        const { assert!(OFFSET + size_of::<T>() <= LEN) };
        let pointer = (self.address + OFFSET) as *mut T;
        if cfg!(target_arch = "bpf") {
            // SAFETY: `new` checked the bytes, `Frame` promises that they can be written; alignment as in `read`.
            unsafe { pointer.write(value) }
        } else {
            // SAFETY: as above.
            unsafe { pointer.write_unaligned(value) }
        }
    }
}

/// The `T` at an address, whatever its alignment.
///
/// # Safety
/// Its bytes can be read.
#[inline(always)]
unsafe fn read<T: Plain>(address: usize) -> T {
    let pointer = address as *const T;
    // LLVM's BPF back end would split an unaligned load into bytes, though the machines under the JIT
    // (x86-64, arm64) load unaligned words as fast; the verifier asks for no alignment of packets there.
    if cfg!(target_arch = "bpf") {
        // SAFETY: the caller says so.
        unsafe { pointer.read() }
    } else {
        // SAFETY: as above.
        unsafe { pointer.read_unaligned() }
    }
}

/// A value of which the compiler knows nothing, so that it can neither compute it a second time nor drop a
/// comparison that the verifier needs: the verifier knows a range only for the very register that was compared.
#[inline(always)]
#[must_use]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a register copied to itself. (Empty, it would share its address with the next instruction,
        // and the kernel refuses line information with two entries for one.)
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}
