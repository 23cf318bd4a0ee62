//! Where fields of the running kernel's structures lie, by its own word: BTF (`Documentation/bpf/btf.rst`).

use std::fs;

/// What a kernel built with `CONFIG_DEBUG_INFO_BTF` tells.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;

/// Kinds of types (`enum` in `linux/btf.h`).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
}

/// Bytes from the start of a structure of the running kernel to one of its fields, which may stand in structures and unions
/// without a name. None if the kernel does not tell.
pub(super) fn offset(structure: &str, field: &str) -> Option<u32> {
    Btf::parse(&fs::read(VMLINUX).ok()?)?.offset(structure, field)
}

/// Types and the strings that they name, as they lie in the file.
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// A type, and what follows its head.
struct Type<'a> {
    name: u32,
    kind: u32,
    has_bit_fields: bool,
    more: &'a [u8],
}

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*data.first_chunk()?) != MAGIC {
            return None;
        }
        let body = data.get(word(data, 4)? as usize..)?;
        let section = |at| body.get(word(data, at)? as usize..)?.get(..word(data, at + 4)? as usize);
        Some(Self { types: section(8)?, strings: section(16)? })
    }

    fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let mut all = self.types();
        let found = all.find(|one| one.kind == kind::STRUCT && self.is(one.name, structure))?;
        let bits = self.bits(found, field)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    fn bits(&self, structure: Type<'a>, field: &str) -> Option<u32> {
        structure.more.chunks_exact(12).find_map(|one| {
            let (name, id, at) = (word(one, 0)?, word(one, 4)?, word(one, 8)?);
            // With the flag, the upper byte is a bit field's size.
            let at = if structure.has_bit_fields { at & 0x00ff_ffff } else { at };
            if self.is(name, field) {
                return Some(at);
            }
            let inner = || self.types().nth(id.checked_sub(1)? as usize);
            let inner = if name == 0 { inner() } else { None };
            let inner = inner.filter(|one| matches!(one.kind, kind::STRUCT | kind::UNION))?;
            Some(at + self.bits(inner, field)?)
        })
    }

    /// All types, of which the first has the number 1; up to one that is cut off.
    fn types(&self) -> impl Iterator<Item = Type<'a>> {
        let mut rest = self.types;
        std::iter::from_fn(move || {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
            let (more, behind) = rest.get(12..)?.split_at_checked(len_behind(kind, count))?;
            rest = behind;
            Some(Type { name, kind, has_bit_fields: info >> 31 == 1, more })
        })
    }

    fn is(&self, at: u32, name: &str) -> bool {
        let found = self.strings.get(at as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        found.is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Bytes behind the 12 that each type has.
const fn len_behind(kind: u32, count: u32) -> usize {
    let count = count as usize;
    match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
        kind::ENUM | kind::FUNC_PROTO => count * 8,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRINGS: &[u8] = b"\0int\0pair\0first\0second\0low\0one\0other\0";

    /// `struct pair { int first; int second; int low: 3; union { int one; struct { int skipped; int other; }; } }`, behind types
    /// of other kinds.
    fn pair() -> Vec<u8> {
        let info = |kind: u32, count: u32, flag: u32| flag << 31 | kind << 24 | count;
        let types = [
            // 1: int. 2: int[2]. 3: a function without a name.
            [1, info(kind::INT, 0, 0), 4, 32].as_slice(),
            &[0, info(kind::ARRAY, 0, 0), 0, 1, 1, 2],
            &[0, info(kind::FUNC_PROTO, 1, 0), 1, 10, 1],
            // 4: the inner structure. 5: the union.
            &[0, info(kind::STRUCT, 2, 0), 8, 0, 1, 0, 31, 1, 32],
            &[0, info(kind::UNION, 2, 0), 8, 27, 1, 0, 0, 4, 0],
            &[5, info(kind::STRUCT, 4, 1), 20, 10, 1, 0, 16, 1, 32, 23, 1, 3 << 24 | 68, 0, 5, 96],
        ]
        .concat();
        let (types_len, strings_len) = (types.len() as u32 * 4, STRINGS.len() as u32);
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, types_len, types_len, strings_len];
        let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        words.chain(STRINGS.iter().copied()).collect()
    }

    #[test]
    fn a_field_is_found_by_its_names() {
        let data = pair();
        let btf = Btf::parse(&data).expect("a whole one");
        for (structure, field, expected) in [
            ("pair", "first", Some(0)),
            ("pair", "second", Some(4)),
            ("pair", "low", None),
            ("pair", "one", Some(12)),
            ("pair", "other", Some(16)),
            ("pair", "secon", None),
            ("pai", "first", None),
            ("int", "first", None),
        ] {
            assert_eq!(btf.offset(structure, field), expected, "{structure}.{field}");
        }
    }

    #[test]
    fn what_is_cut_off_tells_nothing_that_is_not_there() {
        let data = pair();
        for len in 0..data.len() {
            let found = Btf::parse(&data[..len]).and_then(|btf| btf.offset("pair", "second"));
            assert_eq!(found, None, "{len} bytes");
        }
        assert!(Btf::parse(&[0; 64]).is_none());
    }
}
