//! The peers' configuration files: those of `tests/bench/l7` with a site's facts filled in.
//!
//! `@NAME@` stands for a value. A line that begins with `@tls`, `@clear`, `@grpc`, `@http1`, `@upgrades` or `@requests` is there if
//! the site has that, the last meaning no upgrades.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::site::{Listen, Site};

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/l7");

/// Writes `folder/name` in one step, for peers that watch it.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let parent = path.parent().context("a file in a folder")?;
    fs::create_dir_all(parent)?;
    // Beside the file's folder: a peer that reads all that is in it must not see a half.
    let new = folder.join(".new");
    fs::write(&new, text).with_context(|| new.display().to_string())?;
    fs::rename(&new, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The template `name`, filled in.
pub(super) fn fill(name: &str, site: &Site, listen: Listen, folder: &Path) -> Result<String> {
    let path = Path::new(TEMPLATES).join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(lines(&text, &conditions(site))
        .replace("@HTTP@", &listen.http.to_string())
        .replace("@HTTP_PORT@", &listen.http.port().to_string())
        .replace("@HTTPS@", &listen.https.to_string())
        .replace("@HTTPS_PORT@", &listen.https.port().to_string())
        .replace("@BACKEND@", &site.backend.to_string())
        .replace("@BACKEND_IP@", &site.backend.ip().to_string())
        .replace("@BACKEND_PORT@", &site.backend.port().to_string())
        .replace("@CONNECTIONS@", &site.descriptors.connections().to_string())
        .replace("@DESCRIPTORS@", &site.descriptors.0.to_string())
        .replace("@FOLDER@", &folder.display().to_string()))
}

/// Writes certificate and key as `cert.pem` and `key.pem`, and both as `both.pem`.
pub(super) fn write_certificate(site: &Site, folder: &Path) -> Result<()> {
    let (chain, key) = (&site.certificate.chain, &site.certificate.key);
    write(folder, "cert.pem", chain)?;
    write(folder, "key.pem", key)?;
    write(folder, "both.pem", &format!("{chain}{key}")).map(drop)
}

fn conditions(site: &Site) -> [(&'static str, bool); 6] {
    let needs = site.needs;
    [
        ("@tls ", needs.tls),
        ("@clear ", !needs.tls),
        ("@grpc ", needs.grpc),
        ("@http1 ", !needs.grpc),
        ("@upgrades ", needs.upgrades),
        ("@requests ", !needs.upgrades),
    ]
}

/// The lines whose conditions hold, without these.
fn lines(text: &str, conditions: &[(&str, bool)]) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let condition = conditions.iter().find_map(|(name, holds)| Some((line.strip_prefix(name)?, *holds)));
        match condition {
            Some((_, false)) => continue,
            Some((rest, true)) => kept.push_str(rest),
            None => kept.push_str(line),
        }
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn lines_are_kept_if_their_condition_holds() {
        let text = "a\n@tls   b\n@grpc c\n  d @tls\n";
        assert_eq!(lines(text, &[("@tls ", true), ("@grpc ", false)]), "a\n  b\n  d @tls\n");
    }
}
