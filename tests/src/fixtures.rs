//! Repositories that real restic versions wrote, and the manifests that say what they must hold.
//!
//! In: `tests/fixtures` (its README says how each one was made). Out: fresh copies in temporary folders, and
//! typed manifests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::tree::{self, Entry, Kind};

/// Opens every fixture, cheaply.
pub const PASSWORD: &str = "fixture";

/// Opens the key file that restic itself wrote, with its full cost.
pub const SLOW_PASSWORD: &str = "fixture-slow";

/// The repositories with a full manifest, oldest format first.
pub const REPOSITORIES: [&str; 6] = ["v1-r014", "v1-r019", "v2-r014", "v2-r014-pruned", "v2-r018", "v2-r019"];

/// A fixture's own copy, gone when dropped.
#[derive(Debug)]
pub struct Fixture {
    folder: TempDir,
    name: &'static str,
}

impl Fixture {
    /// Unpacks `tests/fixtures/<name>.tar.gz`.
    pub fn unpack(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        unpack_into(name, folder.path());
        Self { folder, name }
    }

    /// The folder with the fixture's name.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// The repository; `damaged` and `golden-trees` have none under this name.
    pub fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    /// The damaged repository of that case, or `base`, the healthy one.
    pub fn case(&self, case: &str) -> PathBuf {
        self.path().join(case)
    }

    /// The key files that restic itself wrote.
    pub fn original_keys(&self) -> Vec<PathBuf> {
        files_in(&self.path().join("original-keys"))
    }

    /// Replaces the cheap key by the one that restic itself wrote.
    pub fn use_original_keys(&self) {
        let keys = self.repo().join("keys");
        for cheap in files_in(&keys) {
            fs::remove_file(cheap).expect("a key can be removed");
        }
        for key in self.original_keys() {
            let name = key.file_name().expect("a key has a name");
            fs::copy(&key, keys.join(name)).expect("a key can be copied");
        }
    }
}

/// The files right in a folder, sorted.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// The packs of a repository in a folder.
pub fn packs_in(repository: &Path) -> Vec<PathBuf> {
    let data = repository.join("data");
    let shards =
        fs::read_dir(&data).unwrap_or_else(|error| panic!("cannot list {}: {error}", data.display()));
    shards.flat_map(|shard| files_in(&shard.expect("a folder's entry").path())).collect()
}

/// An empty repository of that format version with the cheap key of a fixture; its folder must not exist yet.
pub fn empty_repository(version: u32, folder: &Path) {
    let name = match version {
        1 => "v1-r019",
        2 => "v2-r019",
        other => panic!("no fixture of repository version {other}"),
    };
    let fixture = Fixture::unpack(name);
    for part in ["data", "index", "keys", "locks", "snapshots"] {
        fs::create_dir_all(folder.join(part)).expect("a repository's folder");
    }
    fs::copy(fixture.repo().join("config"), folder.join("config")).expect("the config can be copied");
    for key in files_in(&fixture.repo().join("keys")) {
        let name = key.file_name().expect("a key has a name");
        fs::copy(&key, folder.join("keys").join(name)).expect("a key can be copied");
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn unpack_into(name: &str, folder: &Path) {
    let archive = File::open(file(&format!("{name}.tar.gz"))).expect("the fixture is there");
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    archive.set_preserve_permissions(true);
    archive.unpack(folder).expect("the fixture unpacks");
}

/// The text of a file of `tests/fixtures`.
pub fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("cannot read fixture {name}: {error}"))
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&text(name))
        .unwrap_or_else(|error| panic!("cannot understand fixture {name}: {error}"))
}

/// What a repository must hold.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// The plain config.
    pub config: Config,
    /// The master key as key files store it.
    pub master_key: MasterKey,
    /// Names of the key files.
    pub keys: Vec<String>,
    /// Names of the index files.
    pub index_files: Vec<String>,
    /// The header of every pack, in file order.
    pub packs: BTreeMap<String, Vec<PackEntry>>,
    /// The plain bytes of every index file.
    pub index_raw_json: BTreeMap<String, String>,
    /// All snapshots, oldest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// What restic 0.19.1 answers to questions, as JSON; null where nobody asked.
    #[serde(rename = "queries_restic_0.19.1", default)]
    pub queries: Value,
}

impl Manifest {
    /// The manifest of one of [`REPOSITORIES`].
    pub fn of(name: &str) -> Self {
        json(&format!("{name}.json"))
    }
}

/// A repository's config.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Format version.
    pub version: u32,
    /// The repository's id.
    pub id: String,
    /// In hex.
    pub chunker_polynomial: String,
}

/// A master key in base64, as key files store it.
#[derive(Debug, Deserialize)]
pub struct MasterKey {
    /// Authenticates.
    pub mac: MacKey,
    /// Encrypts.
    pub encrypt: String,
}

/// Both halves of the authenticating key.
#[derive(Debug, Deserialize)]
pub struct MacKey {
    /// The key of the block cipher.
    pub k: String,
    /// The point of the polynomial, masked.
    pub r: String,
}

/// A blob in a pack.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct PackEntry {
    /// `data` or `tree`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Bytes before it.
    pub offset: u32,
    /// Its stored length in bytes.
    pub length: u32,
    /// Its plain length in bytes, if it is compressed.
    pub uncompressed_length: Option<u32>,
    /// Its name.
    pub id: String,
}

/// A snapshot and everything below it.
#[derive(Debug, Deserialize)]
pub struct SnapshotEntry {
    /// Its name.
    pub id: String,
    /// Its plain bytes.
    pub raw_json: String,
    /// The blobs it needs.
    pub reachable: Reachable,
    /// What restic restores of it.
    pub restored_files: Vec<RestoredFile>,
}

impl SnapshotEntry {
    /// What must lie on disk below the target of a restore, by path.
    pub fn restored(&self) -> tree::Snapshot {
        let entries = self.restored_files.iter().map(|file| (file.path(), file.entry()));
        tree::Snapshot(entries.collect())
    }
}

/// The blobs a snapshot needs.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Reachable {
    /// How many different trees.
    pub trees: u64,
    /// How many different data blobs.
    pub data: u64,
    /// SHA-256 of the sorted lines `tree <id>` and `data <id>`, each with its line feed.
    pub sha256_of_sorted_lines: String,
}

/// One entry that restic restored, as `lstat` shows it.
#[derive(Debug, Deserialize)]
pub struct RestoredFile {
    path_hex: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    mtime_ns: String,
    size: Option<u64>,
    sha256: Option<String>,
    hardlink_group: Option<String>,
    target_hex: Option<String>,
    major: Option<u32>,
    minor: Option<u32>,
    #[serde(default)]
    xattrs_base64: BTreeMap<String, String>,
}

impl RestoredFile {
    /// Its path below the target, without the leading slash.
    fn path(&self) -> Vec<u8> {
        let path = from_hex(&self.path_hex);
        path.strip_prefix(b"/").unwrap_or(&path).to_vec()
    }

    fn entry(&self) -> Entry {
        let kind = match self.kind.as_str() {
            "file" => Kind::File {
                len: self.size.expect("a file has a size"),
                sha256: self.sha256.clone().expect("a file has a hash"),
            },
            "dir" => Kind::Dir,
            "symlink" => Kind::Symlink(from_hex(self.target_hex.as_deref().expect("a link has a target"))),
            "fifo" => Kind::Fifo,
            "blockdev" => Kind::Block(self.major.unwrap_or(0), self.minor.unwrap_or(0)),
            "chardev" => Kind::Char(self.major.unwrap_or(0), self.minor.unwrap_or(0)),
            other => panic!("the manifest has an entry of unknown type {other}"),
        };
        let xattrs = self.xattrs_base64.iter();
        let first = self.hardlink_group.as_ref().map(|path| path.trim_start_matches('/').as_bytes().to_vec());
        Entry {
            // The mode of a symbolic link means nothing.
            mode: match kind {
                Kind::Symlink(_) => 0,
                _ => u32::from_str_radix(&self.mode, 8).expect("the mode is octal"),
            },
            kind,
            uid: self.uid,
            gid: self.gid,
            mtime_ns: self.mtime_ns.parse().expect("a time in nanoseconds"),
            same_as: first.filter(|first| *first != self.path()),
            xattrs: xattrs
                .map(|(name, value)| (name.as_bytes().to_vec(), STANDARD.decode(value).expect("base64")))
                .collect(),
        }
    }
}

/// The bytes that hex digits stand for.
pub fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text} is not hex");
    let digits = |at| text.get(at..at + 2).expect("hex is ASCII");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(digits(at), 16).expect("hex")).collect()
}

/// The manifest of `multikey`: one repository, five passwords.
#[derive(Debug, Deserialize)]
pub struct Multikey {
    /// The keys.
    pub keys: Vec<KeyEntry>,
    /// What all of them open.
    pub master_key: MasterKey,
    /// Plain bytes of the snapshots by name.
    pub snapshots: BTreeMap<String, String>,
}

impl Multikey {
    /// The manifest.
    pub fn manifest() -> Self {
        json("multikey.json")
    }
}

/// A key file.
#[derive(Debug, Deserialize)]
pub struct KeyEntry {
    /// Its name.
    pub id: String,
    /// Who made it.
    pub username: String,
    /// Where.
    pub hostname: String,
    /// Opens it.
    pub password: String,
}

/// The manifest of `damaged`: one healthy repository, and copies with one fault each.
#[derive(Debug, Deserialize)]
pub struct Damaged {
    /// The healthy one.
    pub base: Manifest,
    /// The index file of each snapshot, by tag.
    pub index_of: BTreeMap<String, String>,
    /// The packs of each snapshot, by tag.
    pub packs_of: BTreeMap<String, PacksOf>,
    /// The faults by folder name.
    pub cases: BTreeMap<String, Case>,
}

impl Damaged {
    /// The manifest.
    pub fn manifest() -> Self {
        json("damaged.json")
    }
}

/// The packs that came with one snapshot.
#[derive(Debug, Deserialize)]
pub struct PacksOf {
    /// The data pack.
    pub data: String,
    /// The tree pack.
    pub tree: String,
}

/// One fault and what restic says to it.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// What was done.
    pub description: String,
    /// What restic does about it, one command after the other.
    pub steps: Vec<Step>,
    /// What is left after the last step; nothing where that cannot be listed.
    #[serde(default)]
    pub final_snapshots: Option<Vec<FinalSnapshot>>,
}

/// A snapshot after repairs. Its own name is another in every run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct FinalSnapshot {
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its tree.
    pub tree: String,
    /// The snapshot that it was made from.
    pub original: Option<String>,
}

/// A command and restic's answer.
#[derive(Debug, Deserialize)]
pub struct Step {
    /// The arguments.
    pub command: String,
    /// The exit code.
    pub exit: i32,
    /// First lines of its output.
    pub stdout: Vec<String>,
    /// First lines of its errors.
    pub stderr: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixture_has_a_manifest_and_unpacks() {
        for name in REPOSITORIES {
            let manifest = Manifest::of(name);
            let fixture = Fixture::unpack(name);
            assert_eq!(files_in(&fixture.repo().join("index")).len(), manifest.index_files.len(), "{name}");
            assert_eq!(fixture.original_keys().len(), 1, "{name}");
            for snapshot in &manifest.snapshots {
                assert_eq!(snapshot.restored().0.len(), snapshot.restored_files.len(), "{name}");
            }
        }
        assert_eq!(Multikey::manifest().keys.len(), 5);
        let damaged = Damaged::manifest();
        let fixture = Fixture::unpack("damaged");
        for case in damaged.cases.keys() {
            assert!(fixture.case(case).join("config").is_file(), "{case}");
        }
    }
}
