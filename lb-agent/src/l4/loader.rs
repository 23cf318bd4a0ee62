//! Loads the object: maps pinned or found pinned, programs verified.

use aya::programs::{SkLookup, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::map::{name, program};

use super::L4Error;
use super::attach::typed;
use super::object::OBJECT;
use super::pins::Pins;

/// The object with its programs verified and nothing attached. With `pins`, maps that an earlier agent
/// pinned are taken over with what they hold.
///
/// # Errors
/// `L4Error::Load` or `L4Error::Program` with what the kernel said and what to do about it.
pub fn load(pins: Option<&Pins>) -> Result<Ebpf, L4Error> {
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pins {
        for name in name::ALL {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    let mut object = loader.load(OBJECT).map_err(L4Error::load)?;
    let xdp: &mut Xdp = typed(&mut object, program::XDP)?;
    xdp.load().map_err(L4Error::program(program::XDP))?;
    let sk_lookup: &mut SkLookup = typed(&mut object, program::SK_LOOKUP)?;
    sk_lookup.load().map_err(L4Error::program(program::SK_LOOKUP))?;
    Ok(object)
}
