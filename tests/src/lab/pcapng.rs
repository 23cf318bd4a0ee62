//! Reads pcapng, by the specification (draft-ietf-opsawg-pcapng) rather than by the code that writes it: what a test needs.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A packet of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its interface.
    pub interface: String,
    /// Since 1970.
    pub at: Duration,
    /// What there is of it.
    pub bytes: Vec<u8>,
    /// Its length.
    pub length: u32,
    /// What is said of it.
    pub comment: String,
}

/// The packets of a file with times in nanoseconds, in this machine's byte order.
///
/// # Errors
/// If a block is not whole, or says what it must not.
pub fn read(file: &[u8]) -> Result<Vec<Packet>> {
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    let mut rest = file;
    ensure!(word(rest, 0)? == 0x0a0d_0d0a && word(rest, 8)? == 0x1a2b_3c4d, "no section comes first");
    while !rest.is_empty() {
        let length = word(rest, 4)? as usize;
        let (block, behind) = rest.split_at_checked(length).context("a block is cut off")?;
        ensure!(length >= 12 && word(block, length - 4)? == length as u32, "a block says two lengths");
        let body = &block[8..length - 4];
        match word(block, 0)? {
            1 => {
                let options = options(body.get(8..).context("a short interface")?)?;
                ensure!(option(&options, 9) == Some(&[9]), "times are in nanoseconds");
                interfaces.push(text(option(&options, 2))?);
            }
            6 => packets.push(packet(body, &interfaces)?),
            0x0a0d_0d0a | 5 => {}
            other => bail!("a block of the type {other:#x}"),
        }
        rest = behind;
    }
    Ok(packets)
}

fn packet(body: &[u8], interfaces: &[String]) -> Result<Packet> {
    let [interface, high, low, kept, length] = [0, 4, 8, 12, 16].map(|at| word(body, at));
    let kept = kept? as usize;
    let options = options(body.get(20 + kept.next_multiple_of(4)..).context("a packet is cut off")?)?;
    Ok(Packet {
        interface: interfaces.get(interface? as usize).context("no such interface")?.clone(),
        at: Duration::from_nanos(u64::from(high?) << 32 | u64::from(low?)),
        bytes: body[20..20 + kept].to_vec(),
        length: length?,
        comment: text(option(&options, 1))?,
    })
}

/// Codes and values.
fn options(mut bytes: &[u8]) -> Result<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    loop {
        let [a, b, c, d] = *bytes.first_chunk().context("options without an end")?;
        let (code, length) = (u16::from_ne_bytes([a, b]), usize::from(u16::from_ne_bytes([c, d])));
        if code == 0 {
            return Ok(all);
        }
        all.push((code, bytes.get(4..4 + length).context("an option is cut off")?));
        bytes = bytes.get(4 + length.next_multiple_of(4)..).context("an option is cut off")?;
    }
}

fn option<'a>(options: &[(u16, &'a [u8])], code: u16) -> Option<&'a [u8]> {
    options.iter().find(|(found, _)| *found == code).map(|(_, value)| *value)
}

fn text(value: Option<&[u8]>) -> Result<String> {
    Ok(String::from_utf8(value.unwrap_or_default().to_vec())?)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context("a block is cut off")?;
    Ok(u32::from_ne_bytes(word.try_into()?))
}
