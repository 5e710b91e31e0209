//! The bundle: one tarball with everything a board needs, its manifest and its checksums.
//!
//! The bytes depend on the content alone: entries are sorted, and the gzip header carries neither time
//! nor name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::data::project::BoardFile;
use crate::data::types::{Arch, ImageName, Name, RelPath, Sha256, Version};
use crate::data::variable::Setting;
use crate::error::{Context, Result, bail};
use crate::interrupt;
use crate::plan::{Input, Plan, Settings, VERSION};
use crate::run::build::{Built, Entry};
use crate::run::store::{Store, fill_atomic, hash_file, write_atomic};

use super::image::{Content, Packed, Planned};
use super::tarball::Tarball;

/// One program of the bundle: its plan, and its result unless its source could not be had.
#[derive(Debug)]
pub struct Part {
    pub plan: Plan,
    pub license: String,
    pub built: Option<Built>,
}

/// What a bundle is made of.
#[derive(Debug)]
pub struct Contents {
    pub target: Name,
    pub parts: Vec<Part>,
    /// The board's own files, those that are filled in among them.
    pub board_files: BTreeMap<RelPath, BoardFile>,
    /// What they were filled in with.
    pub settings: Settings,
    /// What is still to be filled in, on the board.
    pub secrets: BTreeSet<Name>,
    /// Path in the bundle → the image whose archive goes there.
    pub images: BTreeMap<RelPath, Planned>,
    /// Whether the programs are built in a sandbox.
    pub sandbox: bool,
}

/// The archives of those images whose programs are all there, by their path in the bundle.
type PackedImages<'a> = BTreeMap<&'a RelPath, Packed>;

/// A written bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub file: PathBuf,
    pub sha256: Sha256,
    /// Of the uncompressed tar: stays the same when a compressor changes.
    pub tar_sha256: Sha256,
    pub size: u64,
}

/// `MANIFEST.json`.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    name: String,
    target: &'a Name,
    version: &'a str,
    /// True if programs of the target are missing: see `missing` and `missing_images`.
    partial: bool,
    /// What the steps of the builds were kept in: `namespaces`, or `off`.
    sandbox: &'static str,
    missing: Vec<Missing<'a>>,
    missing_images: Vec<MissingImage<'a>>,
    /// The variables that the board's files were filled in with.
    settings: BTreeMap<&'a Name, &'a Setting>,
    /// The secrets that those files still lack, by name.
    secrets: &'a BTreeSet<Name>,
    programs: Vec<Program<'a>>,
    images: Vec<ImageFile<'a>>,
    files: Vec<File<'a>>,
    links: Vec<Link<'a>>,
}

#[derive(Debug, Serialize)]
struct Missing<'a> {
    recipe: &'a Name,
    version: &'a Version,
    arch: Arch,
}

/// An image that could not be packed, for want of a program.
#[derive(Debug, Serialize)]
struct MissingImage<'a> {
    path: &'a RelPath,
    name: &'a ImageName,
    arch: Arch,
}

/// The archive of a container image, for `docker load`.
#[derive(Debug, Serialize)]
struct ImageFile<'a> {
    path: &'a RelPath,
    name: &'a ImageName,
    /// What Docker calls the image's id, `sha256:` included.
    id: String,
    arch: Arch,
    /// Path in the image → the file of this bundle that is there.
    files: BTreeMap<&'a RelPath, &'a RelPath>,
}

#[derive(Debug, Serialize)]
struct Program<'a> {
    recipe: &'a Name,
    version: &'a Version,
    arch: Arch,
    license: &'a str,
    toolchain: &'a str,
    source: Source<'a>,
    patches: BTreeMap<&'a str, &'a Sha256>,
    /// The key of the build: the hash of its plan.
    plan: &'a Sha256,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source<'a> {
    Sha256(&'a Sha256),
    Commit(&'a str),
    Debian { package: &'a str, version: &'a str, libraries: Sha256 },
    Tree(&'a Sha256),
}

#[derive(Debug, Serialize)]
struct File<'a> {
    path: &'a str,
    sha256: &'a Sha256,
    size: u64,
    mode: &'static str,
    /// Absent for a file of the board's own, which comes from this repository, and for an image.
    recipe: Option<&'a Name>,
    version: Option<&'a Version>,
    source: Option<Source<'a>>,
}

#[derive(Debug, Serialize)]
struct Link<'a> {
    path: &'a str,
    target: &'a str,
    recipe: &'a Name,
}

impl Contents {
    /// The programs whose source could not be had.
    pub fn missing(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.built.is_none())
    }

    /// The images that cannot be packed, because a program in them is missing.
    pub fn missing_images(&self) -> impl Iterator<Item = (&RelPath, &Planned)> {
        let whole = |image: &Planned| image.files().all(|(_, from)| self.built(from).is_some());
        self.images.iter().filter(move |(_, image)| !whole(image))
    }

    /// Where the bundle goes: a partial one says so in its name.
    pub fn path(&self, dist: &Path) -> PathBuf {
        self.file(dist, &self.name())
    }

    /// Where it goes once nothing is missing.
    pub fn complete_path(&self, dist: &Path) -> PathBuf {
        self.file(dist, &self.complete_name())
    }

    /// The hash of all that decides the bundle's bytes.
    pub fn key(&self) -> Sha256 {
        self.key_of(self.parts.iter().map(Part::key))
    }

    /// The same from the builds' keys alone, before anything is built: is there anything to do?
    pub fn key_of<'a>(&self, keys: impl Iterator<Item = Option<&'a Sha256>>) -> Sha256 {
        let mut text = format!("bundle 3: {}\n", self.complete_name());
        for key in keys {
            text.push_str(&format!("part {}\n", key.map_or("missing", Sha256::as_str)));
        }
        for (path, file) in &self.board_files {
            text.push_str(&format!("file {path} {} {}\n", mode(file.executable), Sha256::of(&file.bytes)));
        }
        for one in self.settings.iter() {
            text.push_str(&format!("setting {} {:?}\n", one.variable.name, one.value));
        }
        for (path, image) in &self.images {
            text.push_str(&format!("image {path} {}\n", Sha256::of(image.text())));
        }
        Sha256::of(text)
    }

    /// Writes the bundle and its `.sha256` below `dist`.
    pub fn write(&self, dist: &Path) -> Result<Bundle> {
        let path = self.path(dist);
        let images = self.pack_images()?;
        let (tar_sha256, sha256, size) = fill_atomic(&path, |file| self.pack(file, &images))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        write_atomic(&sums_path(&path), format!("{sha256}  {name}\n").as_bytes())?;
        Ok(Bundle { file: path, sha256, tar_sha256, size })
    }

    fn name(&self) -> String {
        let partial = if self.missing().next().is_some() { "-partial" } else { "" };
        format!("{}{partial}", self.complete_name())
    }

    fn complete_name(&self) -> String {
        format!("slipway-{}-{VERSION}", self.target)
    }

    fn file(&self, dist: &Path, name: &str) -> PathBuf {
        dist.join(self.target.as_str()).join(format!("{name}.tar.gz"))
    }

    /// The result that holds the file at `path`, and its entry there.
    fn built(&self, path: &RelPath) -> Option<(&Built, &Entry)> {
        self.parts.iter().filter_map(|part| part.built.as_ref()).find_map(|built| {
            let mut files = built.record.entries.iter().filter(|entry| matches!(entry, Entry::File { .. }));
            Some((built, files.find(|entry| entry.path() == path.as_str())?))
        })
    }

    fn pack_images(&self) -> Result<PackedImages<'_>> {
        let mut packed = BTreeMap::new();
        for (path, image) in &self.images {
            interrupt::check()?;
            let found = |(at, from)| Some((at, self.built(from)?));
            let Some(files) = image.files().map(found).collect::<Option<Vec<_>>>() else { continue };
            let content = |(at, (built, entry)): (_, (&Built, &Entry))| {
                let executable = matches!(entry, Entry::File { executable: true, .. });
                Ok((at, Content { bytes: read(built, entry)?, executable }))
            };
            let contents = files.into_iter().map(content).collect::<Result<_>>()?;
            packed.insert(path, image.pack(&contents).with_context(|| format!("pack the image {path}"))?);
        }
        Ok(packed)
    }

    fn pack(&self, out: &mut std::fs::File, images: &PackedImages<'_>) -> Result<(Sha256, Sha256, u64)> {
        let gz = GzBuilder::new().mtime(0).write(Hashing::new(out), Compression::best());
        let mut tar = Tarball::new(Hashing::new(gz));
        let top = self.name();
        let manifest = self.manifest_bytes(images)?;
        let sums = self.sums(&manifest, images);
        let mut entries = self.entries(images);
        entries.insert("MANIFEST.json", Body::Bytes(&manifest, false));
        entries.insert("SHA256SUMS", Body::Bytes(sums.as_bytes(), false));
        for (path, body) in &entries {
            interrupt::check()?;
            body.append(&mut tar, &format!("{top}/{path}"))?;
        }
        let (gz, tar_sha256, _) = tar.finish()?.finish();
        let (_, sha256, size) = gz.finish().context("finish the gzip")?.finish();
        Ok((tar_sha256, sha256, size))
    }

    /// Everything that is packed besides the manifest and the sums, by path.
    fn entries<'a>(&'a self, images: &'a PackedImages<'_>) -> BTreeMap<&'a str, Body<'a>> {
        let board =
            self.board_files.iter().map(|(path, file)| (path.as_str(), Body::Bytes(&file.bytes, file.executable)));
        let images = images.iter().map(|(path, packed)| (path.as_str(), Body::Bytes(&packed.bytes, false)));
        let built = self.parts.iter().filter_map(|part| part.built.as_ref());
        let files =
            built.flat_map(|built| built.record.entries.iter().map(|entry| (entry.path(), Body::Built(built, entry))));
        board.chain(images).chain(files).collect()
    }

    fn manifest_bytes(&self, images: &PackedImages<'_>) -> Result<Vec<u8>> {
        let board: BTreeMap<&str, (Sha256, &BoardFile)> =
            self.board_files.iter().map(|(path, file)| (path.as_str(), (Sha256::of(&file.bytes), file))).collect();
        let own = board.iter().map(|(path, (sha256, file))| File {
            path,
            sha256,
            size: file.bytes.len() as u64,
            mode: mode(file.executable),
            recipe: None,
            version: None,
            source: None,
        });
        let archives = images.iter().map(|(path, packed)| File {
            path: path.as_str(),
            sha256: &packed.sha256,
            size: packed.bytes.len() as u64,
            mode: mode(false),
            recipe: None,
            version: None,
            source: None,
        });
        let built = || self.parts.iter().filter_map(|part| Some((part, part.built.as_ref()?)));
        let mut files: Vec<File> =
            own.chain(archives).chain(built().flat_map(|(part, built)| part.files(built))).collect();
        files.sort_by_key(|file| file.path);
        let mut links: Vec<Link> = built().flat_map(|(part, built)| part.links(built)).collect();
        links.sort_by_key(|link| link.path);
        let manifest = Manifest {
            name: self.name(),
            target: &self.target,
            version: VERSION,
            partial: self.missing().next().is_some(),
            sandbox: if self.sandbox { "namespaces" } else { "off" },
            missing: self.missing().map(Part::missing).collect(),
            missing_images: self.missing_images().map(|(path, image)| MissingImage::of(path, image)).collect(),
            settings: self.settings.iter().filter_map(|one| Some((&one.variable.name, one.value.as_ref()?))).collect(),
            secrets: &self.secrets,
            programs: built().map(|(part, built)| part.program(built)).collect(),
            images: images.iter().map(|(path, packed)| ImageFile::of(path, &self.images[*path], packed)).collect(),
            files,
            links,
        };
        let mut bytes = serde_json::to_vec_pretty(&manifest)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// `SHA256SUMS`: every file but itself, in the form that busybox's `sha256sum -c` reads.
    fn sums(&self, manifest: &[u8], images: &PackedImages<'_>) -> String {
        let mut sums: BTreeMap<&str, Sha256> = BTreeMap::from([("MANIFEST.json", Sha256::of(manifest))]);
        sums.extend(self.board_files.iter().map(|(path, file)| (path.as_str(), Sha256::of(&file.bytes))));
        sums.extend(images.iter().map(|(path, packed)| (path.as_str(), packed.sha256.clone())));
        for built in self.parts.iter().filter_map(|part| part.built.as_ref()) {
            for entry in &built.record.entries {
                if let Entry::File { path, sha256, .. } = entry {
                    sums.insert(path, sha256.clone());
                }
            }
        }
        sums.iter().map(|(path, sha256)| format!("{sha256}  {path}\n")).collect()
    }
}

impl<'a> MissingImage<'a> {
    fn of(path: &'a RelPath, image: &'a Planned) -> Self {
        Self { path, name: &image.image.name, arch: image.arch }
    }
}

impl<'a> ImageFile<'a> {
    fn of(path: &'a RelPath, image: &'a Planned, packed: &Packed) -> Self {
        let id = format!("sha256:{}", packed.id);
        Self { path, name: &image.image.name, id, arch: image.arch, files: image.files().collect() }
    }
}

impl Part {
    fn key(&self) -> Option<&Sha256> {
        self.built.as_ref().map(|built| &built.key)
    }

    fn missing(&self) -> Missing<'_> {
        let choice = &self.plan.choice;
        Missing { recipe: &choice.recipe, version: &choice.version, arch: choice.arch }
    }

    fn source(&self) -> Source<'_> {
        match &self.plan.source {
            Input::Archive(pinned) => Source::Sha256(&pinned.sha256),
            Input::Git(git) => Source::Commit(git.commit.as_str()),
            Input::Debian(package) => Source::Debian {
                package: package.source.package.as_str(),
                version: package.version.as_str(),
                libraries: package.libraries_key(),
            },
            Input::Tree(_, sha256) => Source::Tree(sha256),
        }
    }

    fn program<'a>(&'a self, built: &'a Built) -> Program<'a> {
        let choice = &self.plan.choice;
        Program {
            recipe: &choice.recipe,
            version: &choice.version,
            arch: choice.arch,
            license: &self.license,
            toolchain: &self.plan.tools[0].title,
            source: self.source(),
            patches: self.plan.patches.iter().map(|(path, sha256)| (path.as_str(), sha256)).collect(),
            plan: &built.key,
        }
    }

    fn files<'a>(&'a self, built: &'a Built) -> impl Iterator<Item = File<'a>> {
        let choice = &self.plan.choice;
        built.record.entries.iter().filter_map(move |entry| match entry {
            Entry::Link { .. } => None,
            Entry::File { path, sha256, size, executable } => Some(File {
                path,
                sha256,
                size: *size,
                mode: mode(*executable),
                recipe: Some(&choice.recipe),
                version: Some(&choice.version),
                source: Some(self.source()),
            }),
        })
    }

    fn links<'a>(&'a self, built: &'a Built) -> impl Iterator<Item = Link<'a>> {
        let recipe = &self.plan.choice.recipe;
        built.record.entries.iter().filter_map(move |entry| match entry {
            Entry::File { .. } => None,
            Entry::Link { path, target } => Some(Link { path, target, recipe }),
        })
    }
}

/// Where the whole bundle of a target is written.
pub fn path(dist: &Path, target: &Name) -> PathBuf {
    dist.join(target.as_str()).join(format!("slipway-{target}-{VERSION}.tar.gz"))
}

/// Where the checksum of a bundle is written.
pub fn sums_path(bundle: &Path) -> PathBuf {
    let mut path = bundle.as_os_str().to_owned();
    path.push(".sha256");
    PathBuf::from(path)
}

/// Remembers that a bundle was written for `key`, and how its file looks, so that the next run need
/// not read it.
pub fn remember(store: &Store, key: &Sha256, bundle: &Bundle) -> Result<()> {
    let memory = Memory { bundle: bundle.clone(), stamp: Stamp::of(&bundle.file)? };
    write_atomic(&memory_path(store, key, &bundle.file), &serde_json::to_vec(&memory)?)
}

/// The bundle that was written for `key` to `file`, if it is still there, untouched, with its sums.
pub fn remembered(store: &Store, key: &Sha256, file: &Path) -> Option<Bundle> {
    let text = fs::read(memory_path(store, key, file)).ok()?;
    let memory: Memory = serde_json::from_slice(&text).ok()?;
    let name = file.file_name()?.to_string_lossy();
    let sums = fs::read_to_string(sums_path(file)).ok()?;
    let whole = Stamp::of(file).ok()? == memory.stamp || hash_file(file).ok()? == memory.bundle.sha256;
    (whole && sums == format!("{}  {name}\n", memory.bundle.sha256)).then_some(memory.bundle)
}

#[derive(Serialize, Deserialize)]
struct Memory {
    bundle: Bundle,
    stamp: Stamp,
}

/// How a file looks from outside: any write to it changes this.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(file)?;
        Ok(Self {
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

fn memory_path(store: &Store, key: &Sha256, file: &Path) -> PathBuf {
    let place = Sha256::of(file.as_os_str().as_encoded_bytes());
    store.path("bundles").join(format!("{}-{}.json", key.short(), place.short()))
}

/// One entry's content.
enum Body<'a> {
    Bytes(&'a [u8], bool),
    Built(&'a Built, &'a Entry),
}

impl Body<'_> {
    fn append(&self, tar: &mut Tarball<impl Write>, path: &str) -> Result<()> {
        match self {
            Body::Bytes(bytes, executable) => tar.file(path, bytes, *executable),
            Body::Built(_, Entry::Link { target, .. }) => tar.link(path, target),
            Body::Built(built, entry @ Entry::File { executable, .. }) => {
                tar.file(path, &read(built, entry)?, *executable)
            }
        }
    }
}

/// A built file's bytes, if they are still those that were recorded.
fn read(built: &Built, entry: &Entry) -> Result<Vec<u8>> {
    let path = entry.path();
    let bytes = fs::read(built.files.join(path))?;
    match entry {
        Entry::File { sha256, .. } if Sha256::of(&bytes) != *sha256 => {
            bail!("{path} changed in the store while it was packed; run the same command again")
        }
        _ => Ok(bytes),
    }
}

fn mode(executable: bool) -> &'static str {
    if executable { "0755" } else { "0644" }
}

/// Passes bytes on, hashes and counts them.
struct Hashing<W> {
    inner: W,
    hasher: sha2::Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), size: 0 }
    }

    fn finish(self) -> (W, Sha256, u64) {
        (self.inner, Sha256::from_digest(&self.hasher.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
