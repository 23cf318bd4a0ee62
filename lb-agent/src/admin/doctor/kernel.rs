//! The kernel: its version, and what it can do.

use std::path::Path;

use super::Bpf;
use super::read::{Unread, setting, text};
use super::report::{Finding, Judgement, fail, judge, ok, warn};

/// What each version brought that edgelb uses.
const NEEDED: [((u32, u32), &str); 3] = [
    ((5, 9), "socket lookup programs and XDP links, without which nothing works"),
    ((5, 16), "managed neighbours, without which ways to members go stale"),
    ((6, 1), "what edgelb is tested with"),
];

/// Older ones lack the first of `NEEDED`.
const OLDEST: (u32, u32) = NEEDED[0].0;

pub(super) fn look(bpf: Bpf) -> Vec<Finding> {
    vec![
        judge("version", text("/proc/sys/kernel/osrelease"), |release| version(&release)),
        types(Path::new("/sys/kernel/btf/vmlinux").exists()).about("BTF"),
        judge("BPF JIT", setting("net/core/bpf_jit_enable"), jit),
        judge("XDP", (bpf.takes_xdp)().map_err(Unread::from), |can| {
            program(can, "CONFIG_BPF_SYSCALL and CONFIG_NET")
        }),
        judge("socket lookup", (bpf.takes_sk_lookup)().map_err(Unread::from), |can| {
            program(can, "CONFIG_BPF_SYSCALL and CONFIG_INET")
        }),
    ]
}

fn version(release: &str) -> Judgement {
    let Some(version) = parse(release) else {
        return warn(format!("{release}: not a version as Linux has them"), "compare it with 6.1");
    };
    let lacking: Vec<_> = NEEDED
        .iter()
        .filter(|(since, _)| version < *since)
        .map(|((major, minor), what)| format!("{major}.{minor} brought {what}"))
        .collect();
    let found = format!("{release}: {}", lacking.join("; "));
    match lacking.is_empty() {
        true => ok(release),
        false if version < OLDEST => fail(found, "install Linux 6.1 or newer"),
        false => warn(found, "install Linux 6.1 or newer"),
    }
}

/// `6.1` of `6.1.0-18-amd64`.
fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn types(present: bool) -> Judgement {
    if present {
        return ok("/sys/kernel/btf/vmlinux is there");
    }
    warn(
        "the kernel's types are not there: bpftool and traces show less",
        "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are",
    )
}

fn jit(enabled: u64) -> Judgement {
    match enabled {
        0 => {
            warn("off: programs are interpreted, several times slower", "sysctl -w net.core.bpf_jit_enable=1")
        }
        2 => warn("on, but it writes each program into the log", "sysctl -w net.core.bpf_jit_enable=1"),
        _ => ok("on"),
    }
}

fn program(can_load: bool, options: &str) -> Judgement {
    if can_load {
        return ok("the kernel takes such programs");
    }
    fail("the kernel has no such programs", format!("use a kernel with {options}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, tests::check};
    use super::*;

    #[test]
    fn versions() {
        for (release, status, words) in [
            ("6.18.44", Status::Ok, "6.18.44"),
            ("6.1.0-18-amd64", Status::Ok, "amd64"),
            ("10.0.0-rc1", Status::Ok, "10.0"),
            ("6.0.19", Status::Warn, "tested"),
            ("5.15.0-91-generic", Status::Warn, "managed neighbours"),
            ("5.4.0", Status::Fail, "XDP links"),
            ("4.18.0-553.el8", Status::Fail, "install Linux 6.1"),
            ("plan9", Status::Warn, "plan9"),
        ] {
            check(&version(release), status, words);
        }
    }

    #[test]
    fn what_the_kernel_was_built_with() {
        check(&types(false), Status::Warn, "CONFIG_DEBUG_INFO_BTF");
        check(&types(true), Status::Ok, "vmlinux");
        check(&jit(0), Status::Warn, "bpf_jit_enable=1");
        check(&jit(1), Status::Ok, "on");
        check(&jit(2), Status::Warn, "log");
        check(&program(false, "CONFIG_INET"), Status::Fail, "CONFIG_INET");
        check(&program(true, ""), Status::Ok, "takes");
    }
}
