//! Loads the object: maps pinned or found pinned, programs verified.

use std::io;
use std::sync::LazyLock;

use aya::maps::MapError;
use aya::programs::{SkLookup, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::map::{MAX_SERVICES, global, name, program};
use tracing::warn;

use super::L4Error;
use super::attach::typed;
use super::btf;
use super::object::object;
use super::pins::{Pins, pin_error, remove_pin};

/// Where this kernel's half-open sockets keep the number with which they answered: it does not change while it runs.
static ANSWERED_AT: LazyLock<u32> = LazyLock::new(|| {
    btf::offset("tcp_request_sock", "snt_isn").unwrap_or_else(|| {
        warn!("the kernel does not tell how its half-open sockets look (BTF): one that a repeated SYN made here may take the packets of a handshake with another member");
        0
    })
});

/// Where what is left of a closed connection keeps the number behind its FIN.
static CLOSED_AT: LazyLock<u32> = LazyLock::new(|| {
    btf::offset("sock_common", "skc_tw_snd_nxt").unwrap_or_else(|| {
        warn!("the kernel does not tell how its sockets look (BTF): what is left of a closed connection here may take the packets of a later one with the same ports at another member");
        0
    })
});

/// The object with its programs verified and nothing attached. With `pins`, maps that an earlier agent
/// pinned are taken over with what they hold.
///
/// # Errors
/// `L4Error::Load` or `L4Error::Program` with what the kernel said and what to do about it.
pub fn load(pins: Option<&Pins>) -> Result<Ebpf, L4Error> {
    let mut loader = prepared();
    if let Some(pins) = pins {
        for name in name::ALL {
            loader.map_pin_path(name, pins.map(name));
        }
        if !pins.are_of_our_layout() {
            // Other sizes, as another version has them: its programs cannot use our maps, nor ours its.
            loader.map_max_entries(name::TRAFFIC, 2 * MAX_SERVICES);
        }
    }
    let mut object = loader.load(object()).map_err(L4Error::load)?;
    let xdp: &mut Xdp = typed(&mut object, program::XDP)?;
    xdp.load().map_err(L4Error::program(program::XDP))?;
    let sk_lookup: &mut SkLookup = typed(&mut object, program::SK_LOOKUP)?;
    sk_lookup.load().map_err(L4Error::program(program::SK_LOOKUP))?;
    if let Some(pins) = pins {
        pin_own(&object, pins)?;
    }
    Ok(object)
}

/// For `load_capturing`. What an earlier agent had there is its own programs' business.
fn pin_own(object: &Ebpf, pins: &Pins) -> Result<(), L4Error> {
    for name in name::OWN {
        let pin = pins.map(name);
        remove_pin(&pin)?;
        let map = object.map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() });
        let map = map.map_err(L4Error::map(name))?;
        map.pin(&pin).map_err(|error| pin_error(&pin)(io::Error::other(error)))?;
    }
    Ok(())
}

/// Bytes of records that wait to be read: a few thousand of the usual size.
const RING: u32 = 1 << 20;

/// The programs that tell what they do, with all maps of those that `load` gave, and a ring buffer of their own.
pub(super) fn load_capturing(pins: &Pins) -> Result<Ebpf, L4Error> {
    let mut loader = prepared();
    for name in name::ALL.into_iter().chain(name::OWN) {
        loader.map_pin_path(name, pins.map(name));
    }
    loader.map_max_entries(name::CAPTURED, RING);
    let mut object = loader.load(object()).map_err(L4Error::load)?;
    for name in [program::CAPTURE, program::CAPTURE_GIVEN] {
        let program: &mut Xdp = typed(&mut object, name)?;
        program.load().map_err(L4Error::program(name))?;
    }
    Ok(object)
}

/// The packet path beside the one that is attached: it decides by the same pinned maps, and counts into maps of its own.
pub(super) fn load_beside(pins: &Pins) -> Result<Ebpf, L4Error> {
    let mut loader = prepared();
    for name in name::STATE {
        let pin = pins.map(name);
        // The loader would make what is not there.
        match pin.try_exists() {
            Ok(true) => loader.map_pin_path(name, pin),
            Ok(false) => return Err(L4Error::NothingPinned { path: pins.maps() }),
            Err(source) => return Err(L4Error::Pin { path: pin, source }),
        };
    }
    let mut object = loader.load(object()).map_err(L4Error::load)?;
    let xdp: &mut Xdp = typed(&mut object, program::XDP)?;
    xdp.load().map_err(L4Error::program(program::XDP))?;
    Ok(object)
}

/// With what the programs have to know of this kernel.
fn prepared() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.override_global(global::ANSWERED_AT, &*ANSWERED_AT, true);
    loader.override_global(global::CLOSED_AT, &*CLOSED_AT, true);
    loader
}
