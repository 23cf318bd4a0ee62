//! Puts the programs where packets pass: XDP on interfaces, the socket lookup on the network namespace.
//! Links are pinned, and replaced atomically when the agent comes back: no packet meets no program.

use std::fmt;
use std::fs::File;
use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SkLookup, Xdp, XdpMode};
use lb_common::map::program;
use rtnetlink::Handle;
use tracing::{info, warn};

use super::L4Error;
use super::interface::{self, Interface};
use super::pins::{Pins, pin_error, remove_pin};
use super::probe;

/// How an interface runs the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, after the kernel made an skb: several times slower.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// An interface with our program on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index, which another interface of the same name does not have.
    pub index: u32,
    /// How it runs the program.
    pub mode: Mode,
    /// Why not in the driver.
    pub reason: Option<String>,
}

/// Why a link that was taken over is not in the driver: it is replaced in place, never detached.
const KEPT: &str = "the driver refused an earlier agent, whose link is kept; `lb-agent uninstall` before the start tries it again";

/// Attaches the programs, or puts them into the links that an earlier agent pinned; what that one has left besides is
/// removed.
pub(crate) async fn all(
    object: &mut Ebpf,
    netlink: &Handle,
    pins: &Pins,
    interfaces: &[String],
) -> Result<Vec<Attachment>, L4Error> {
    let mut attachments = Vec::new();
    for name in interfaces {
        attachments.push(xdp(object, netlink, pins, name).await?);
        interface::hide_vips(netlink, name).await?;
    }
    detach_others(pins, interfaces)?;
    sk_lookup(object, pins)?;
    pins.remove_other_layouts()?;
    Ok(attachments)
}

/// The interfaces as the agent before has left them.
pub(crate) async fn found(netlink: &Handle, interfaces: &[String]) -> Result<Vec<Attachment>, L4Error> {
    let mut attachments = Vec::new();
    for name in interfaces {
        let Interface { index, program, .. } = interface::find(netlink, name).await?;
        let is_native = program.is_some_and(|found| found.is_native);
        let mode = if is_native { Mode::Native } else { Mode::Generic };
        attachments.push(Attachment { interface: name.clone(), index, mode, reason: None });
    }
    Ok(attachments)
}

/// Removes the links of interfaces that are no longer named.
fn detach_others(pins: &Pins, interfaces: &[String]) -> Result<(), L4Error> {
    for (interface, pin) in pins.xdp_links()? {
        if !interfaces.contains(&interface) {
            std::fs::remove_file(&pin).map_err(pin_error(&pin))?;
            info!(interface, "XDP detached: no longer named by --interface");
        }
    }
    Ok(())
}

/// Attaches the packet path to an interface, or replaces it in the link that an earlier agent pinned.
pub(crate) async fn xdp(
    object: &mut Ebpf,
    netlink: &Handle,
    pins: &Pins,
    name: &str,
) -> Result<Attachment, L4Error> {
    let interface = interface::find(netlink, name).await?;
    let program: &mut Xdp = typed(object, program::XDP)?;
    let pin = pins.xdp_link(name);
    let reason = match replace(program, &pin)? {
        Replaced::Yes => Some(KEPT.to_owned()),
        Replaced::No => create(program, &interface, &pin)?,
    };
    let attached = interface::find(netlink, name).await?;
    let is_native = attached.program.is_some_and(|found| found.is_native);
    let mode = if is_native { Mode::Native } else { Mode::Generic };
    let reason = reason.filter(|_| !is_native);
    match &reason {
        Some(reason) => warn!(interface = name, %mode, reason, "XDP attached, not in the driver"),
        None => info!(interface = name, %mode, "XDP attached"),
    }
    Ok(Attachment { interface: name.to_owned(), index: attached.index, mode, reason })
}

/// Puts a program of the object into the link that is pinned for an interface. False if none is, or it hangs on nothing.
pub(crate) fn put(
    object: &mut Ebpf,
    program: &'static str,
    pins: &Pins,
    name: &str,
) -> Result<bool, L4Error> {
    let replaced = replace(typed(object, program)?, &pins.xdp_link(name))?;
    Ok(matches!(replaced, Replaced::Yes))
}

/// Looks whether the interface is there and can be ours, before anything is made.
pub(crate) async fn expect_free(netlink: &Handle, pins: &Pins, name: &str) -> Result<(), L4Error> {
    let interface = interface::find(netlink, name).await?;
    match interface.program {
        Some(found) if !pins.xdp_link(name).exists() => Err(foreign(name, found.id)),
        _ => Ok(()),
    }
}

/// Attaches the socket lookup to this process's network namespace, or replaces the pinned link.
fn sk_lookup(object: &mut Ebpf, pins: &Pins) -> Result<(), L4Error> {
    let pin = pins.sk_lookup_link();
    let namespace = File::open("/proc/self/ns/net")
        .map_err(|source| L4Error::System { action: "open /proc/self/ns/net", source })?;
    let name = program::SK_LOOKUP;
    let program: &mut SkLookup = typed(object, name)?;
    // aya has no replacement for this kind of link. Several may hang on one namespace and the first that chooses a socket
    // wins: the new one is there before the old one goes, and its pin takes the old one's place in one step. An agent
    // that dies in between leaves both.
    let next = pins.next_sk_lookup_link();
    remove_pin(&next)?;
    let id = program.attach(namespace).map_err(L4Error::program(name))?;
    let link = program.take_link(id).map_err(L4Error::program(name))?;
    keep(link.into(), &next, "the network namespace")?;
    std::fs::rename(&next, &pin).map_err(pin_error(&pin))
}

enum Replaced {
    Yes,
    No,
}

/// Puts the program into a pinned link, if there is one that still hangs on its interface.
fn replace(program: &mut Xdp, pin: &Path) -> Result<Replaced, L4Error> {
    let label = pin.display().to_string();
    let Some(old) = unpin_later(pin, &label)? else { return Ok(Replaced::No) };
    let link = XdpLink::try_from(FdLink::from(old)).map_err(link_error(&label))?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // The pin goes on holding the link; what is dropped here is only this process's handle.
            drop(program.take_link(id).map_err(L4Error::program(program::XDP))?);
            Ok(Replaced::Yes)
        }
        // The interface was deleted: the link hangs on nothing.
        Err(ProgramError::SyscallError(error)) => {
            info!(pin = %label, error = %error.io_error, "the pinned link is void, attaching anew");
            drop(unpin(pin, &label)?);
            Ok(Replaced::No)
        }
        Err(error) => Err(L4Error::program(program::XDP)(error)),
    }
}

/// Attaches to an interface without a program of ours: in the driver if it can, and says why if it cannot.
fn create(program: &mut Xdp, interface: &Interface, pin: &Path) -> Result<Option<String>, L4Error> {
    if let Some(found) = interface.program {
        return Err(foreign(&interface.name, found.id));
    }
    let (id, reason) = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
        Ok(id) => (id, None),
        Err(ProgramError::SyscallError(error)) => {
            let id = program.attach_to_if_index(interface.index, XdpMode::Skb);
            let reason = format!("the driver refused: {}", error.io_error);
            (id.map_err(L4Error::program(program::XDP))?, Some(reason))
        }
        Err(error) => return Err(L4Error::program(program::XDP)(error)),
    };
    let link = program.take_link(id).map_err(L4Error::program(program::XDP))?;
    let link = FdLink::try_from(link).map_err(link_error(&interface.name))?;
    keep(link, pin, &interface.name)?;
    Ok(reason)
}

fn foreign(interface: &str, id: u32) -> L4Error {
    let name = probe::program_name(id).ok().filter(|name| !name.is_empty());
    let program = name.unwrap_or_else(|| "unnamed".to_owned());
    L4Error::ForeignProgram { interface: interface.to_owned(), program, id }
}

/// The link behind a pin, which stays.
fn unpin_later(pin: &Path, label: &str) -> Result<Option<PinnedLink>, L4Error> {
    if !pin.exists() {
        return Ok(None);
    }
    PinnedLink::from_pin(pin).map(Some).map_err(link_error(label))
}

/// Removes a pin and gives its link: dropped, it detaches.
fn unpin(pin: &Path, label: &str) -> Result<Option<FdLink>, L4Error> {
    let Some(link) = unpin_later(pin, label)? else { return Ok(None) };
    link.unpin().map(Some).map_err(pin_error(pin))
}

fn keep(link: FdLink, pin: &Path, label: &str) -> Result<(), L4Error> {
    link.pin(pin).map(drop).map_err(|error| {
        let source = std::io::Error::other(error);
        L4Error::Pin { path: pin.to_owned(), source: std::io::Error::other(format!("{label}: {source}")) }
    })
}

fn link_error(label: &str) -> impl Fn(LinkError) -> L4Error {
    let interface = label.to_owned();
    move |source| L4Error::Link { interface: interface.clone(), source: Box::new(source) }
}

/// A program of the object by name and type.
pub(crate) fn typed<'o, T>(object: &'o mut Ebpf, name: &'static str) -> Result<&'o mut T, L4Error>
where
    &'o mut T: TryFrom<&'o mut aya::programs::Program, Error = ProgramError>,
{
    let missing = || L4Error::program(name)(ProgramError::NotLoaded);
    object.program_mut(name).ok_or_else(missing)?.try_into().map_err(L4Error::program(name))
}
