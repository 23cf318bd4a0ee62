//! Embeds the BPF object.

fn main() {}
