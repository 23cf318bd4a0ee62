//! `KUBEBUILDER_ASSETS`: the folder in which the ecosystem's tools keep etcd, kube-apiserver and kubectl. What of it
//! has the pinned version is used.

use std::{env, path::PathBuf, process::Command};

use super::parts::Part;

/// The user's own program, if there is one and its version is ours.
pub(super) fn find(part: &Part) -> Option<PathBuf> {
    let arguments: &[&str] = match part.program {
        "etcd" | "kube-apiserver" => &["--version"],
        "kubectl" => &["version", "--client"],
        _ => return None,
    };
    let folder = env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty())?;
    let program = PathBuf::from(folder).join(part.program).canonicalize().ok()?;
    let output = Command::new(&program).args(arguments).output().ok()?;
    let wanted = part.module().version;
    if says(&String::from_utf8_lossy(&output.stdout), wanted) {
        eprintln!("edgelb: using {}", program.display());
        return Some(program);
    }
    eprintln!("edgelb: {} is not {wanted}: building our own", program.display());
    None
}

fn says(output: &str, version: &str) -> bool {
    output.split_whitespace().any(|word| word.trim_start_matches('v') == version)
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn versions_are_whole_words() {
        assert!(says("etcd Version: 3.6.16\nGit SHA: x\n", "3.6.16"));
        assert!(says("Kubernetes v1.36.3\n", "1.36.3"));
        assert!(says("Client Version: v1.36.3\nKustomize Version: v5.8.0\n", "1.36.3"));
        assert!(!says("Kubernetes v1.36.30\n", "1.36.3"));
        assert!(!says("Kubernetes v1.36.3-rc.0\n", "1.36.3"));
    }
}
