//! OCI image archives without any container tool: one layer of given files, `FROM scratch`. Same files, same bytes.
//! (OCI image format 1.1; `ctr images import`, `podman load` and `docker load` take them.)

use std::{fs::File, io::Write as _, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image for one platform.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// `registry/name:tag`
    pub(crate) name: &'a str,
    /// As Go calls it: `amd64`, `arm64`.
    pub(crate) architecture: &'a str,
    /// Empty folders, without a slash in front.
    pub(crate) folders: &'a [&'a str],
    /// Executable files: their paths in the image, without a slash in front, and contents.
    pub(crate) programs: &'a [(&'a str, Vec<u8>)],
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) arguments: &'a [&'a str],
}

/// Writes the archive, whole or not at all.
pub(crate) fn write(image: &Image<'_>, file: &Path) -> Result<()> {
    let bytes = archive(image)?;
    let partial = file.with_extension(format!("partial-{}", std::process::id()));
    let mut out = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    out.write_all(&bytes)?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
}

/// What of the image refers to its parts.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, digest, bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

fn archive(image: &Image<'_>) -> Result<Vec<u8>> {
    let layer = Blob::new(LAYER, layer(image)?);
    let config = Blob::json(CONFIG, &config(image, &layer));
    let manifest = Blob::json(
        MANIFEST,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        }),
    );
    let mut listed = manifest.descriptor();
    listed["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
    listed["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [listed] });
    // `docker load` of versions that know no OCI layout looks for this.
    let for_docker = json!([{
        "Config": format!("blobs/sha256/{}", config.digest),
        "RepoTags": [image.name],
        "Layers": [format!("blobs/sha256/{}", layer.digest)],
    }]);
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    add(&mut tar, "manifest.json", for_docker.to_string().as_bytes(), 0o644)?;
    for blob in [&config, &manifest, &layer] {
        add(&mut tar, &format!("blobs/sha256/{}", blob.digest), &blob.bytes, 0o644)?;
    }
    Ok(tar.into_inner()?)
}

fn config(image: &Image<'_>, layer: &Blob) -> Value {
    json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": { "Entrypoint": image.entrypoint, "Cmd": image.arguments, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)] },
    })
}

fn layer(image: &Image<'_>) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for folder in image.folders {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, format!("{folder}/"), &[][..])?;
    }
    for (path, contents) in image.programs {
        add(&mut tar, path, contents, 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, contents: &[u8], mode: u32) -> Result<()> {
    Ok(tar.append_data(&mut header(mode, contents.len()), path, contents)?)
}

/// Nobody's, of no time.
fn header(mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn image() -> Image<'static> {
        Image {
            name: "edgelb.dev/x:1",
            architecture: "amd64",
            folders: &["tmp"],
            programs: &[],
            entrypoint: &["/x"],
            arguments: &["run"],
        }
    }

    #[test]
    fn an_archive_is_the_same_each_time_and_its_digests_hold() {
        let bytes = archive(&image()).expect("an archive");
        assert_eq!(bytes, archive(&image()).expect("an archive"));
        let mut blobs = 0;
        for entry in tar::Archive::new(&bytes[..]).entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).expect("its contents");
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                blobs += 1;
                assert_eq!(Blob::new(LAYER, contents).digest, digest);
            }
        }
        assert_eq!(blobs, 3);
    }
}
