//! The corpora of the fuzz targets as plain tests, and what is near them. Included by the crates whose parsers are tried,
//! as neither of them can have it from the other.

use std::fs;
use std::path::Path;

/// Of each file, so many that are a little different; the same ones each time. A fuzzer looks for more.
const NEAR: u64 = 50;

/// Calls this with every file of the corpus, and with what is near.
pub(crate) fn hold(crate_folder: &str, name: &str, parser: fn(&[u8])) {
    let folder = Path::new(crate_folder).join("../tests/fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let near = std::env::var("LB_FUZZ_NEAR").map_or(NEAR, |text| text.parse().expect("a number"));
    let mut count = 0;
    for file in files {
        let file = file.expect("an entry").path();
        let bytes = fs::read(&file).expect("a file");
        for seed in 0..=near {
            let tried = if seed == 0 { bytes.clone() } else { Chance(seed).changed(&bytes) };
            let _told = Told { file: &file, tried: &tried };
            parser(&tried);
        }
        count += 1;
    }
    assert!(count > 3, "{name} has {count}");
}

/// Says with which bytes a parser panicked.
struct Told<'t> {
    file: &'t Path,
    tried: &'t [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}, as \"{}\"", self.file.display(), self.tried.escape_ascii());
        }
    }
}

/// Numbers that look random: SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    /// The same with one to four changes.
    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        const TELLING: &[u8] = b"\0\r\n\t ,;:%/.\\-+=\"0189afAFx[]\x7f\x80\xff";
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let to = at + self.below(bytes.len() - at + 1).min(64);
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..to)),
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..to),
                _ => bytes.insert(at, TELLING[self.below(TELLING.len())]),
            }
        }
        bytes
    }
}
