//! Container images: an archive that `docker load` reads, made without Docker.
//!
//! The archive has the layout of newer Dockers: an OCI image layout whose blobs `manifest.json` names as
//! well. So one file, with one copy of the layer, is read by Docker since 1.10 (through `manifest.json`),
//! by containerd and podman, and by whatever reads OCI. Docker's own form before 1.10 (`repositories`, a
//! folder for each layer) is left out. The bytes depend on the content alone.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::data::image::{Image, Shipped};
use crate::data::target::Target;
use crate::data::types::{Arch, RelPath, Sha256};
use crate::error::Result;
use crate::plan::{EPOCH, Plan, Step};

use super::tarball::Tarball;

/// How images are written. Raised when the same definition gives other bytes.
const FORMAT: u32 = 1;

/// [`EPOCH`] as images write times.
const CREATED: &str = "2020-01-01T00:00:00Z";
const _: () = assert!(EPOCH == 1_577_836_800);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image that a bundle will hold, decided before anything is built.
#[derive(Debug, Clone)]
pub struct Planned {
    pub image: Image,
    pub arch: Arch,
}

/// One file of an image.
#[derive(Debug, Clone)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

/// A written archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The image's id: the digest of its configuration.
    pub id: Sha256,
    pub bytes: Vec<u8>,
    /// Of the archive.
    pub sha256: Sha256,
}

/// The images of a target, whose programs are built by `plans`. What was true of the target's own
/// versions and architectures must be so after `--set`: fails if a file of an image does not ship, or
/// the files of one are of more than one architecture.
pub fn plan(target: &Target, plans: &[Plan]) -> Result<BTreeMap<RelPath, Planned>> {
    let mut shipped = Shipped::new();
    for plan in plans {
        for step in &plan.steps {
            let Step::Install { to, .. } = step else { continue };
            shipped.insert(to, (&plan.choice.recipe, plan.choice.arch));
        }
    }
    let planned = |(path, image): (&RelPath, &Image)| {
        let arch = image.arch(&target.text, &shipped)?;
        Ok((path.clone(), Planned { image: image.clone(), arch }))
    };
    target.images.iter().map(planned).collect()
}

impl Planned {
    /// Path in the image → path in the bundle.
    pub fn files(&self) -> impl Iterator<Item = (&RelPath, &RelPath)> {
        self.image.files.iter().map(|(path, from)| (path, from.get_ref()))
    }

    /// All that decides the archive's bytes, besides those of the programs.
    pub fn text(&self) -> String {
        format!("image {FORMAT} {}\n{}", self.arch, self.image.text())
    }

    /// Writes the archive; `contents` has the files by their path in the image.
    pub fn pack(&self, contents: &BTreeMap<&RelPath, Content>) -> Result<Packed> {
        let layer = Blob::new(LAYER, self.layer(contents)?);
        let config = Blob::new(CONFIG, self.config(&layer)?);
        let manifest = Blob::new(MANIFEST, text(&manifest(&config, &layer))?);
        let files = BTreeMap::from([
            ("index.json".to_owned(), text(&self.index(&manifest))?),
            ("manifest.json".to_owned(), text(&self.docker_manifest(&config, &layer))?),
            ("oci-layout".to_owned(), text(&json!({"imageLayoutVersion": "1.0.0"}))?),
        ]);
        let id = config.sha256.clone();
        let blobs = [layer, config, manifest].into_iter().map(|blob| (blob.path(), blob.bytes));
        let mut tar = Tarball::new(Vec::new());
        for (path, bytes) in files.into_iter().chain(blobs).collect::<BTreeMap<_, _>>() {
            tar.file(&path, &bytes, false)?;
        }
        let bytes = tar.finish()?;
        Ok(Packed { id, sha256: Sha256::of(&bytes), bytes })
    }

    /// The one layer: everything that is in the image.
    fn layer(&self, contents: &BTreeMap<&RelPath, Content>) -> Result<Vec<u8>> {
        let files = contents.iter().map(|(path, content)| (path.as_str(), Entry::File(content)));
        let links = self.image.links.iter().map(|(path, target)| (path.as_str(), Entry::Link(target.as_str())));
        let mut tar = Tarball::new(Vec::new());
        for (path, entry) in files.chain(links).collect::<BTreeMap<_, _>>() {
            match entry {
                Entry::File(content) => tar.file(path, &content.bytes, content.executable)?,
                Entry::Link(target) => tar.link(path, target)?,
            }
        }
        tar.finish()
    }

    /// What Docker and OCI both read; its digest is the image's id.
    fn config(&self, layer: &Blob) -> Result<Vec<u8>> {
        let (architecture, variant) = platform(self.arch);
        let env = self.image.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text(&Config {
            architecture,
            variant,
            os: "linux",
            created: CREATED,
            config: Run { env, entrypoint: &self.image.entrypoint, cmd: &self.image.cmd },
            rootfs: json!({"type": "layers", "diff_ids": [layer.digest()]}),
            history: json!([{"created": CREATED, "created_by": "slipway"}]),
        })
    }

    /// For Docker: what the archive holds, and the name it is loaded under.
    fn docker_manifest(&self, config: &Blob, layer: &Blob) -> Value {
        json!([{"Config": config.path(), "RepoTags": [self.image.name], "Layers": [layer.path()]}])
    }

    /// For all others: the same, in OCI's words. The name is given as containerd and as podman want it.
    fn index(&self, manifest: &Blob) -> Value {
        let name = &self.image.name;
        let mut entry = manifest.descriptor();
        entry["annotations"] =
            json!({"io.containerd.image.name": name.full(), "org.opencontainers.image.ref.name": name.tag()});
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    }
}

enum Entry<'a> {
    File(&'a Content),
    Link(&'a str),
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'static str>,
    os: &'static str,
    created: &'static str,
    config: Run<'a>,
    rootfs: Value,
    history: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Run<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
}

/// A part of the archive that is named by its digest.
struct Blob {
    media_type: &'static str,
    sha256: Sha256,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, sha256: Sha256::of(&bytes), bytes }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.sha256)
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    })
}

/// The architecture in Go's words, and its variant.
fn platform(arch: Arch) -> (&'static str, Option<&'static str>) {
    match arch {
        Arch::Aarch64 => ("arm64", None),
        Arch::Armhf => ("arm", Some("v7")),
        Arch::X86_64 => ("amd64", None),
    }
}

fn text(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}
