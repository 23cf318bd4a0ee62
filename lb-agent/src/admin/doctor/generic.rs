//! Questions to the kernel over generic netlink: a family by name, a command, attributes. Only what the
//! doctor needs: one question, one answer.

use std::io::{Error, ErrorKind, Result};

use rtnetlink::packet_core::{
    DefaultNla, Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlaBuffer, NlasIterator,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// linux/genetlink.h: the family that knows the others.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Of a netlink message, and of the generic part after it.
const HEADER_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;

/// An attribute to send.
pub(super) type Attribute = DefaultNla;

/// An attribute that was received.
pub(super) type Received<'a> = NlaBuffer<&'a [u8]>;

/// A family of questions.
#[derive(Debug)]
pub(super) struct Family {
    socket: Socket,
    id: u16,
}

impl Family {
    /// The family of a name; `NotFound` if the kernel has none.
    pub(super) fn open(name: &str) -> Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        // The kernel answers before a question is sent completely: there is nothing to wait for.
        socket.set_non_blocking(true)?;
        let mut family = Self { socket, id: GENL_ID_CTRL };
        let name = Attribute::new(CTRL_ATTR_FAMILY_NAME, [name.as_bytes(), &[0]].concat());
        let answer = family.ask(CTRL_CMD_GETFAMILY, &[name])?;
        let id = find(&answer, CTRL_ATTR_FAMILY_ID).and_then(|id| id.value().try_into().ok());
        family.id = u16::from_ne_bytes(id.ok_or(ErrorKind::InvalidData)?);
        Ok(family)
    }

    /// Asks, and gives the attributes of the answer.
    pub(super) fn ask(&self, command: u8, attributes: &[Attribute]) -> Result<Vec<u8>> {
        self.socket.send_to(&question(self.id, command, attributes), &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        payload(&answer)
    }
}

/// The first attribute of a kind.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<Received<'_>> {
    each(attributes).find(|attribute| attribute.kind() == kind)
}

/// The attributes up to the first that is cut short.
pub(super) fn each(attributes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    NlasIterator::new(attributes).map_while(std::result::Result::ok)
}

fn question(family: u16, command: u8, attributes: &[Attribute]) -> Vec<u8> {
    let length = HEADER_LEN + GENERIC_HEADER_LEN + attributes.buffer_len();
    let mut message = vec![0; length];
    let mut header = NetlinkBuffer::new(&mut message);
    header.set_length(length as u32);
    header.set_message_type(family);
    header.set_flags(NLM_F_REQUEST);
    message[HEADER_LEN] = command;
    message[HEADER_LEN + 1] = 1;
    attributes.emit(&mut message[HEADER_LEN + GENERIC_HEADER_LEN..]);
    message
}

fn payload(answer: &[u8]) -> Result<Vec<u8>> {
    let invalid = || Error::from(ErrorKind::InvalidData);
    let message = NetlinkBuffer::new_checked(answer).map_err(|_| invalid())?;
    let payload = message.payload();
    if message.message_type() == NLMSG_ERROR {
        let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or_else(invalid)?;
        return Err(Error::from_raw_os_error(-code));
    }
    payload.get(GENERIC_HEADER_LEN..).map(<[u8]>::to_vec).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_every_kernel_has_is_found() {
        let family = Family::open("nlctrl").expect("the kernel has the controller itself");
        assert_eq!(family.id, GENL_ID_CTRL);
    }

    #[test]
    fn an_unknown_family_is_not_found() {
        let error = Family::open("edgelb-no-such").expect_err("nobody has registered it");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn answers_that_are_cut_short_are_refused() {
        let answer = question(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &[Attribute::new(1, vec![1, 2, 3])]);
        assert_eq!(
            find(&payload(&answer).expect("complete"), 1).map(|found| found.value().to_vec()),
            Some(vec![1, 2, 3])
        );
        for length in 0..answer.len() {
            assert!(payload(&answer[..length]).is_err(), "{length} bytes");
        }
    }
}
