//! What a cargo that we start may inherit from the cargo that started us: its network settings and its job
//! slots, but no flags, wrappers or targets (clippy's wrapper, say, would make the object empty).

use std::{env, process::Command};

/// Cargo's own variables that describe the user's machine rather than the build in progress.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_BUILD_JOBS",
];

/// Variables that cargo sets for build scripts, or that change what rustc does.
const DROPPED: [&str; 9] =
    ["RUSTC", "RUSTDOC", "RUSTFLAGS", "TARGET", "HOST", "OUT_DIR", "PROFILE", "OPT_LEVEL", "DEBUG"];

/// Removes from `command`'s environment what would leak from an outer cargo into an inner one.
pub(crate) fn leave_outer_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
    command
}

fn leaks(name: &str) -> bool {
    if name.starts_with("CARGO") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    DROPPED.contains(&name) || name.starts_with("RUSTC_") || name.starts_with("RUSTDOC")
}

#[cfg(test)]
mod tests {
    use super::leaks;

    #[test]
    fn flags_and_wrappers_leak_but_the_users_settings_do_not() {
        for name in
            ["CARGO", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC_WORKSPACE_WRAPPER", "TARGET"]
        {
            assert!(leaks(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_MAKEFLAGS", "RUSTUP_TOOLCHAIN", "PATH"] {
            assert!(!leaks(name), "{name}");
        }
    }
}
