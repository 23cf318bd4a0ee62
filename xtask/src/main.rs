//! edgelb's developer commands: one file or folder per subcommand.

mod bench;
mod build_ebpf;
mod chaos;
mod cluster;
mod demo;
mod dist;
mod ebpf;
mod lab_program;
mod npm;
mod oci;
mod preflight;
mod programs;
mod pypi;
mod rights;
mod sha256;
mod soak;
mod test;
mod tidy;
mod versions;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Builds, tests and shows edgelb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Show edgelb at work: three edge nodes in network namespaces, and real clients.
    Demo(demo::Options),
    /// Count the connections that break while nodes come, die and change, in network namespaces.
    Chaos(chaos::Options),
    /// Load the proxy with all kinds of clients for half an hour, while its configuration changes all the time.
    Soak(soak::Options),
    /// Build the kernel program into target/bpf/edgelb.bpf.o, installing what that needs.
    BuildEbpf,
    /// Run the test tiers: all that the repository has, or those that are named.
    Test(test::Options),
    /// A real Kubernetes on this machine, in network namespaces, that stays up until it is taken down.
    Cluster(cluster::Options),
    /// Check the invariants that the compiler does not: who knows whom, one owner file, names in documents.
    Tidy,
    /// Make what a release consists of: static binaries, OCI images, install.yaml and checksums, in target/dist.
    Dist(dist::Options),
    /// Measure, print a table, and write target/bench/NAME.json.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::BuildEbpf => build_ebpf::run(),
        Task::Test(options) => test::run(&options),
        Task::Cluster(options) => cluster::run(options),
        Task::Dist(options) => dist::run(&options),
        Task::Tidy => tidy::run(),
        Task::Soak(options) => soak::run(&options).map(|never| match never {}),
        Task::Chaos(options) => chaos::run(&options).map(|never| match never {}),
        Task::Demo(options) => demo::run(options).map(|never| match never {}),
        Task::Bench(options) => bench::run(options).map(|never| match never {}),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
