//! `cargo xtask dist`: what a release consists of, in target/dist. Static binaries, their OCI images without any
//! container tool, the manifests in one file each, and checksums.

mod binary;
mod manifests;
mod pgo;
mod sums;
mod zig;

use std::{env, ffi::OsString, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    lab_program,
    oci::{self, Image},
    workspace::target_dir,
};
use binary::Architecture;

pub(crate) use manifests::one_file;

/// The image's name without its tag: `deploy/base/daemonset.yaml` names it.
const NAME: &str = "edgelb.dev/edgelb";

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The machines that it is for.
    #[arg(long, value_delimiter = ',', default_value = "amd64,arm64")]
    arch: Vec<Architecture>,
    /// How it is built: `dist`, as it is shipped, or `dev`, in a fraction of the time.
    #[arg(long, default_value = "dist")]
    profile: Profile,
    /// Without profile-guided optimisation, which this machine's own architecture gets: compiled once, not twice.
    #[arg(long)]
    no_pgo: bool,
}

/// A profile of the workspace.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Profile {
    /// As it is shipped.
    Dist,
    /// As the tests are.
    Dev,
}

impl Profile {
    /// As everything else is built by it.
    const fn as_cargo_has_it(self) -> lab_program::Profile {
        match self {
            Self::Dist => lab_program::DIST,
            Self::Dev => lab_program::DEV,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let folder = target_dir()?.join("dist");
    fs::create_dir_all(&folder)?;
    let mut architectures = options.arch.clone();
    architectures.sort_unstable();
    architectures.dedup();
    let mut made = Vec::new();
    let mut programs = Vec::new();
    for &architecture in &architectures {
        let built = binary::build(architecture, options.profile, !options.no_pgo)?;
        let file = format!("lb-agent-{architecture}");
        fs::copy(&built, folder.join(&file)).with_context(|| format!("cannot copy {}", built.display()))?;
        programs.push((architecture.name(), [("lb-agent", fs::read(&built)?)]));
        made.push(file);
    }
    made.extend(images(&programs, &folder)?);
    for (file, overlay) in [("install.yaml", "base"), ("uninstall.yaml", "uninstall")] {
        fs::write(folder.join(file), one_file(overlay, &image_name())?)?;
        made.push(file.to_owned());
    }
    sums::write(&folder, &made)?;
    println!("{}: {}, SHA256SUMS", folder.display(), made.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Names the agent to a program that starts one.
const AGENT: &str = "LB_AGENT";

/// What is shipped for this machine's own architecture, for a program that measures it; nothing if the user names one,
/// which is measured as it is.
pub(crate) fn agent() -> Result<Option<(&'static str, OsString)>> {
    if env::var_os(AGENT).is_some() {
        return Ok(None);
    }
    let program = binary::build(Architecture::ours()?, Profile::Dist, true)?;
    Ok(Some((AGENT, program.into())))
}

/// The files of an image.
type Files = [(&'static str, Vec<u8>); 1];

/// One archive for each machine; with several, one more for all of them.
fn images(programs: &[(&'static str, Files)], folder: &Path) -> Result<Vec<String>> {
    let name = image_name();
    let images: Vec<_> = programs.iter().map(|(machine, files)| image(&name, machine, files)).collect();
    let mut made = Vec::new();
    for image in &images {
        let file = format!("edgelb-{}.oci.tar", image.architecture);
        oci::write(image, &folder.join(&file))?;
        made.push(file);
    }
    if images.len() > 1 {
        oci::write_index(&images, &folder.join("edgelb.oci.tar"))?;
        made.push("edgelb.oci.tar".to_owned());
    }
    Ok(made)
}

fn image<'a>(name: &'a str, architecture: &'a str, programs: &'a Files) -> Image<'a> {
    Image {
        name,
        architecture,
        folders: &["dev", "etc", "proc", "run", "sys", "tmp"],
        programs,
        entrypoint: &["/lb-agent"],
        arguments: &["run"],
    }
}

/// All crates of the workspace have one version.
pub(crate) fn image_name() -> String {
    format!("{NAME}:{}", env!("CARGO_PKG_VERSION"))
}
