//! OCI image archives without any container tool: one layer of given files, `FROM scratch`. Same files, same bytes.
//! (OCI image format 1.1; `ctr images import`, `podman load` and `docker load` take them.)

use std::{fs::File, io::Write as _, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::sha256;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
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

/// Writes the archive of an image, whole or not at all.
pub(crate) fn write(image: &Image<'_>, file: &Path) -> Result<()> {
    write_whole(&archive(image)?, file)
}

/// Writes one archive of images of the same name for several platforms: the reader takes its own.
pub(crate) fn write_index(images: &[Image<'_>], file: &Path) -> Result<()> {
    write_whole(&index_archive(images)?, file)
}

fn write_whole(bytes: &[u8], file: &Path) -> Result<()> {
    let partial = file.with_extension(format!("partial-{}", std::process::id()));
    let mut out = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    out.write_all(bytes)?;
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
        Self { media_type, digest: sha256::of(&bytes), bytes }
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

/// The blobs of one image.
struct Parts {
    config: Blob,
    manifest: Blob,
    layer: Blob,
}

impl Parts {
    fn of(image: &Image<'_>) -> Result<Self> {
        let layer = Blob::new(LAYER, layer(image)?);
        let config = Blob::json(CONFIG, &config(image, &layer));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        Ok(Self { manifest: Blob::json(MANIFEST, &manifest), config, layer })
    }

    fn descriptor(&self, image: &Image<'_>) -> Value {
        let mut descriptor = self.manifest.descriptor();
        descriptor["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
        descriptor
    }

    fn blobs(&self) -> [&Blob; 3] {
        [&self.config, &self.manifest, &self.layer]
    }
}

fn archive(image: &Image<'_>) -> Result<Vec<u8>> {
    let parts = Parts::of(image)?;
    // `docker load` of versions that know no OCI layout looks for this.
    let for_docker = json!([{
        "Config": format!("blobs/sha256/{}", parts.config.digest),
        "RepoTags": [image.name],
        "Layers": [format!("blobs/sha256/{}", parts.layer.digest)],
    }]);
    let mut tar = layout(image.name, parts.descriptor(image))?;
    add(&mut tar, "manifest.json", for_docker.to_string().as_bytes(), 0o644)?;
    finish(tar, parts.blobs())
}

fn index_archive(images: &[Image<'_>]) -> Result<Vec<u8>> {
    let parts = images.iter().map(Parts::of).collect::<Result<Vec<_>>>()?;
    let platforms: Vec<_> = parts.iter().zip(images).map(|(parts, image)| parts.descriptor(image)).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": platforms });
    let index = Blob::json(INDEX, &index);
    let name = images.first().context("an index of no image")?.name;
    let tar = layout(name, index.descriptor())?;
    finish(tar, [&index].into_iter().chain(parts.iter().flat_map(Parts::blobs)))
}

/// The beginning of an archive that holds what `listed` describes, under this name.
fn layout(name: &str, mut listed: Value) -> Result<Builder<Vec<u8>>> {
    listed["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [listed] });
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    Ok(tar)
}

fn finish<'b>(mut tar: Builder<Vec<u8>>, blobs: impl IntoIterator<Item = &'b Blob>) -> Result<Vec<u8>> {
    for blob in blobs {
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
        check(|| archive(&image()), 3);
        // The layer is the same, and stands there twice.
        check(|| index_archive(&[image(), Image { architecture: "arm64", ..image() }]), 7);
    }

    fn check(archive: impl Fn() -> Result<Vec<u8>>, expected: usize) {
        let bytes = archive().expect("an archive");
        assert_eq!(bytes, archive().expect("an archive"));
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
        assert_eq!(blobs, expected);
    }
}
