//! Leaves debug information out of the object. BTF, which the kernel and loaders read, is made of it by then and stays.
//! Sections keep their numbers, by which symbols and relocations name them: those left out are only empty.

/// What the names of sections begin with that no loader reads: DWARF, and relocations for linkers.
const LEFT_OUT: [&[u8]; 4] = [b".debug_", b".rel.debug_", b".rel.BTF\0", b".rel.BTF.ext\0"];

/// Lengths of an ELF file's header, and of a section's.
const FILE_HEADER: usize = 64;
const SECTION_HEADER: usize = 64;

/// Where the file's header has the place of the sections' headers, their number, and which section has the names.
const SECTIONS_AT: usize = 0x28;
const SECTIONS: usize = 0x3c;
const NAMES: usize = 0x3e;

/// Where a section's header has its kind, where it lies, its length and its alignment.
const KIND: usize = 4;
const OFFSET: usize = 24;
const LEN: usize = 32;
const ALIGNMENT: usize = 48;

/// A section without bytes in the file.
const NOBITS: u64 = 8;

/// An object without its debug information; `None` if it is no ELF file of 64 bits, little-endian.
pub(super) fn without_debug_info(object: &[u8]) -> Option<Vec<u8>> {
    if object.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let headers_at = number(object, SECTIONS_AT, 8)?;
    let headers = object.get(headers_at..)?.chunks_exact(SECTION_HEADER);
    let headers: Vec<&[u8]> = headers.take(number(object, SECTIONS, 2)?).collect();
    let names = contents(object, headers.get(number(object, NAMES, 2)?)?)?;
    let mut stripped = object.get(..FILE_HEADER)?.to_vec();
    let mut moved = Vec::new();
    for header in headers {
        let name = names.get(number(header, 0, 4)?..)?;
        let is_left_out = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        let bytes = if is_left_out { &[] } else { contents(object, header)? };
        align(&mut stripped, number(header, ALIGNMENT, 8)?);
        let mut header = header.to_vec();
        set(&mut header, OFFSET, stripped.len())?;
        if is_left_out {
            set(&mut header, LEN, 0)?;
        }
        stripped.extend(bytes);
        moved.extend(header);
    }
    align(&mut stripped, 8);
    let headers_at = stripped.len();
    set(&mut stripped, SECTIONS_AT, headers_at)?;
    stripped.extend(moved);
    Some(stripped)
}

fn contents<'o>(object: &'o [u8], header: &[u8]) -> Option<&'o [u8]> {
    if number(header, KIND, 4)? as u64 == NOBITS {
        return Some(&[]);
    }
    let offset = number(header, OFFSET, 8)?;
    object.get(offset..offset.checked_add(number(header, LEN, 8)?)?)
}

fn align(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment.max(1)), 0);
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let mut word = [0; 8];
    word[..len].copy_from_slice(bytes.get(at..at + len)?);
    usize::try_from(u64::from_le_bytes(word)).ok()
}

fn set(bytes: &mut [u8], at: usize, value: usize) -> Option<()> {
    bytes.get_mut(at..at + 8)?.copy_from_slice(&(value as u64).to_le_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object of these sections, with the names in the last one.
    fn object(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let names =
            sections.iter().flat_map(|(name, _)| [name.as_bytes(), &[0]].concat()).collect::<Vec<_>>();
        let mut object = vec![0; FILE_HEADER];
        object[..6].copy_from_slice(b"\x7fELF\x02\x01");
        object[SECTIONS] = sections.len() as u8 + 1;
        object[NAMES] = sections.len() as u8;
        let mut headers = Vec::new();
        let mut name_at = 0;
        for (name, bytes) in sections.iter().copied().chain([("", names.as_slice())]) {
            let mut header = vec![0; SECTION_HEADER];
            header[..4].copy_from_slice(&(name_at as u32).to_le_bytes());
            header[KIND] = 1;
            for (at, value) in [(OFFSET, object.len()), (LEN, bytes.len()), (ALIGNMENT, 1)] {
                set(&mut header, at, value).expect("there is room");
            }
            object.extend(bytes);
            headers.extend(header);
            name_at += name.len() + 1;
            name_at = name_at.min(names.len() - 1);
        }
        let headers_at = object.len();
        set(&mut object, SECTIONS_AT, headers_at).expect("there is room");
        object.extend(headers);
        object
    }

    /// The bytes of each section but the names.
    fn sections(object: &[u8]) -> Vec<&[u8]> {
        let headers = &object[number(object, SECTIONS_AT, 8).expect("a header")..];
        let headers = headers.chunks(SECTION_HEADER).take(usize::from(object[NAMES]));
        headers.map(|header| contents(object, header).expect("they are there")).collect()
    }

    #[test]
    fn debug_information_goes_and_all_else_stays_in_its_place() {
        let whole = object(&[
            (".text", b"code"),
            (".debug_info", &[7; 1_000]),
            (".rel.text", b"relocations"),
            (".rel.debug_info", &[8; 1_000]),
            (".BTF", b"types"),
            (".rel.BTF", &[9; 100]),
            (".BTF.ext", b"lines"),
            (".rel.BTF.ext", &[9; 100]),
        ]);
        let stripped = without_debug_info(&whole).expect("it is an object");
        let left: [&[u8]; 8] = [b"code", b"", b"relocations", b"", b"types", b"", b"lines", b""];
        assert_eq!(sections(&stripped), left);
        assert!(stripped.len() + 2_200 <= whole.len() + 8, "{} of {}", stripped.len(), whole.len());
        assert_eq!(without_debug_info(&stripped), Some(stripped), "nothing more to leave out");
    }

    #[test]
    fn what_is_no_object_or_cut_is_refused() {
        let whole = object(&[(".text", b"code")]);
        for len in [0, 5, FILE_HEADER - 1, FILE_HEADER + 2, whole.len() - 1] {
            assert_eq!(without_debug_info(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(without_debug_info(&[b"\x7fELF\x01\x01", &whole[6..]].concat()), None, "32 bits");
    }
}
