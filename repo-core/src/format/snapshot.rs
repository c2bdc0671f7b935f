//! A snapshot: the root of one backup.
//!
//! In and out: the plain text of a file in `snapshots/`. Any text with a tree in it is read, because other
//! programs leave out fields, add theirs, and write empty ones; theirs survive being written again.

use super::error::{FormatError, require};
use super::json::{Object, Reader, Unknown, Value};
use crate::id::{ID_LEN, Id, SnapshotId, TreeId};
use crate::time::Time;

/// The root of one backup: when, where, of what, and which tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When the backup began, or the time the user gave.
    pub time: Time,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// The root directory.
    pub tree: TreeId,
    /// The absolute targets, in the order given.
    pub paths: Vec<String>,
    /// The host's name.
    pub hostname: String,
    /// The user's name.
    pub username: String,
    /// The user's id.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// Exclude patterns given on the command line.
    pub excludes: Vec<String>,
    /// Tags in the order given.
    pub tags: Vec<String>,
    /// The snapshot this one was made from by a change of its record.
    pub original: Option<SnapshotId>,
    /// Which program wrote it.
    pub program_version: String,
    /// What the backup did.
    pub summary: Option<Summary>,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

/// What a backup did, in numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// When it began.
    pub backup_start: Time,
    /// When it ended.
    pub backup_end: Time,
    /// Files without a node in the parent.
    pub files_new: u64,
    /// Files whose node differs from the parent's.
    pub files_changed: u64,
    /// Files whose node equals the parent's.
    pub files_unmodified: u64,
    /// As for files; directories on the way to a target count.
    pub dirs_new: u64,
    /// As for files.
    pub dirs_changed: u64,
    /// As for files.
    pub dirs_unmodified: u64,
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs, the root's included.
    pub tree_blobs: u64,
    /// Plain bytes of the new blobs.
    pub data_added: u64,
    /// Stored bytes of the new blobs, their header entries included.
    pub data_added_packed: u64,
    /// All files seen.
    pub total_files_processed: u64,
    /// All bytes in them.
    pub total_bytes_processed: u64,
    /// Fields this version does not know, as raw JSON, in the order read.
    pub unknown: Unknown,
}

impl Snapshot {
    /// A snapshot that says no more than it must.
    pub fn new(time: Time, tree: TreeId, paths: Vec<String>) -> Self {
        Self {
            time,
            parent: None,
            tree,
            paths,
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
            unknown: Unknown::new(),
        }
    }

    /// Reads the plain text.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut tree = None;
        let mut snapshot = Self::new(Time::ZERO, TreeId(Id::new([0; ID_LEN])), Vec::new());
        let record = &mut snapshot;
        Reader::record(text, |json, key| match key.name() {
            "time" => json.set(&mut record.time),
            "parent" => json.set(&mut record.parent),
            "tree" => json.set(&mut tree),
            "paths" => json.set(&mut record.paths),
            "hostname" => json.set(&mut record.hostname),
            "username" => json.set(&mut record.username),
            "uid" => json.set(&mut record.uid),
            "gid" => json.set(&mut record.gid),
            "excludes" => json.set(&mut record.excludes),
            "tags" => json.set(&mut record.tags),
            "original" => json.set(&mut record.original),
            "program_version" => json.set(&mut record.program_version),
            "summary" => json.set(&mut record.summary),
            _ => json.keep(key, &mut record.unknown),
        })?;
        snapshot.tree = require(tree, "tree")?;
        Ok(snapshot)
    }

    /// The plain text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut object = Object::begin(&mut out);
        object.time("time", self.time).id_if_some("parent", self.parent).id("tree", self.tree);
        object.strings("paths", &self.paths);
        object.string_unless_empty("hostname", &self.hostname);
        object.string_unless_empty("username", &self.username);
        object.number_unless_zero("uid", self.uid).number_unless_zero("gid", self.gid);
        object.strings_unless_empty("excludes", &self.excludes);
        object.strings_unless_empty("tags", &self.tags);
        object.id_if_some("original", self.original);
        object.string_unless_empty("program_version", &self.program_version);
        if let Some(summary) = &self.summary {
            summary.write(object.key("summary"));
        }
        object.unknown(&self.unknown);
        object.end();
        out
    }

    /// Whether it points nowhere: restic 0.11 wrote some snapshots with a tree of zeros.
    pub fn is_damaged(&self) -> bool {
        self.tree.id().is_zero()
    }
}

impl Summary {
    fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.time("backup_start", self.backup_start).time("backup_end", self.backup_end);
        for (key, value) in [
            ("files_new", self.files_new),
            ("files_changed", self.files_changed),
            ("files_unmodified", self.files_unmodified),
            ("dirs_new", self.dirs_new),
            ("dirs_changed", self.dirs_changed),
            ("dirs_unmodified", self.dirs_unmodified),
            ("data_blobs", self.data_blobs),
            ("tree_blobs", self.tree_blobs),
            ("data_added", self.data_added),
            ("data_added_packed", self.data_added_packed),
            ("total_files_processed", self.total_files_processed),
            ("total_bytes_processed", self.total_bytes_processed),
        ] {
            object.number(key, value);
        }
        object.unknown(&self.unknown);
        object.end();
    }
}

impl Value for Summary {
    fn read(json: &mut Reader<'_>) -> Result<Self, FormatError> {
        let mut summary = Self::default();
        json.object(|json, key| match key.name() {
            "backup_start" => json.set(&mut summary.backup_start),
            "backup_end" => json.set(&mut summary.backup_end),
            "files_new" => json.set(&mut summary.files_new),
            "files_changed" => json.set(&mut summary.files_changed),
            "files_unmodified" => json.set(&mut summary.files_unmodified),
            "dirs_new" => json.set(&mut summary.dirs_new),
            "dirs_changed" => json.set(&mut summary.dirs_changed),
            "dirs_unmodified" => json.set(&mut summary.dirs_unmodified),
            "data_blobs" => json.set(&mut summary.data_blobs),
            "tree_blobs" => json.set(&mut summary.tree_blobs),
            "data_added" => json.set(&mut summary.data_added),
            "data_added_packed" => json.set(&mut summary.data_added_packed),
            "total_files_processed" => json.set(&mut summary.total_files_processed),
            "total_bytes_processed" => json.set(&mut summary.total_bytes_processed),
            _ => json.keep(key, &mut summary.unknown),
        })?;
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    const ID: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

    /// `expected` is what is written after reading; `None` means that the text is refused.
    fn check(text: &str, expected: Option<&str>) {
        let (text, expected) = (text.replace("ID", ID), expected.map(|text| text.replace("ID", ID)));
        let written = Snapshot::parse(text.as_bytes()).map(|snapshot| snapshot.to_json());
        assert_eq!(written.ok().map(|text| String::from_utf8(text).unwrap()), expected, "{text}");
    }

    #[test]
    fn restics_snapshots_read_and_write_the_same() {
        for text in [
            r#"{"time":"2024-01-01T00:00:00Z","tree":"ID","paths":["/x"],"hostname":"h","username":"u"}"#,
            r#"{"time":"2024-01-01T00:00:00.1+05:45","parent":"ID","tree":"ID","paths":[],"uid":1,"gid":2,"excludes":["*.o"],"tags":["a","\u003cb\u003e"],"original":"ID","program_version":"restic 0.19.1"}"#,
        ] {
            check(text, Some(text));
        }
    }

    #[test]
    fn what_other_programs_write_is_read() {
        let plain = r#"{"time":"0001-01-01T00:00:00Z","tree":"ID","paths":[]}"#;
        check(r#"{"tree":"ID"}"#, Some(plain));
        check(r#"{"tree":"ID","tags":[],"username":"","paths":null,"parent":null,"uid":null}"#, Some(plain));
        let rustic = r#"{"time":"2024-01-01T00:00:00Z","tree":"ID","paths":["d"],"summary":{"backup_start":"2024-01-01T00:00:00Z","backup_end":"0001-01-01T00:00:00Z","files_new":1,"files_changed":0,"files_unmodified":0,"dirs_new":0,"dirs_changed":0,"dirs_unmodified":0,"data_blobs":0,"tree_blobs":0,"data_added":0,"data_added_packed":0,"total_files_processed":0,"total_bytes_processed":0,"command":"rustic \u0026","backup_duration":0.5},"label":"l","delete":"NotSet","parents":["ID"]}"#;
        check(rustic, Some(rustic));
    }

    #[test]
    fn other_records_are_no_snapshot() {
        check("{}", None);
        check(r#"{"version":2,"id":"ID","chunker_polynomial":"1"}"#, None);
        check(r#"{"tree":null}"#, None);
        check(r#"{"tree":"ID","time":"yesterday"}"#, None);
        check(r#"{"tree":"ID","uid":-1}"#, None);
        check(r#"{"tree":"ID","paths":"/x"}"#, None);
    }

    #[test]
    fn tree_of_zeros_is_read_and_named_damaged() {
        let zeros = format!(r#"{{"tree":"{}"}}"#, "0".repeat(64));
        assert!(Snapshot::parse(zeros.as_bytes()).unwrap().is_damaged());
        let good = format!(r#"{{"tree":"{ID}"}}"#);
        assert!(!Snapshot::parse(good.as_bytes()).unwrap().is_damaged());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            ids: (Option<[u8; 32]>, [u8; 32]),
            seconds in -62_167_219_200_i64..253_402_300_800,
            nanos in 0u32..1_000_000_000,
            minutes in -1439i32..1440,
            words: [String; 3],
            lists: [Vec<String>; 3],
            numbers: Option<[u64; 3]>,
        ) {
            // Local years outside 0 to 9999 cannot be written.
            let local = seconds + i64::from(minutes) * 60;
            prop_assume!((-62_167_219_200..253_402_300_800).contains(&local));
            let time = Time { instant: Timestamp { seconds, nanos }, offset_seconds: minutes * 60 };
            let [paths, excludes, tags] = lists;
            let [hostname, username, program_version] = words;
            let snapshot = Snapshot {
                parent: ids.0.map(|id| SnapshotId(Id::new(id))),
                excludes, tags, hostname, username, program_version,
                summary: numbers.map(|[files_new, data_added, tree_blobs]| Summary {
                    files_new, data_added, tree_blobs, backup_end: time, ..Summary::default()
                }),
                ..Snapshot::new(time, TreeId(Id::new(ids.1)), paths)
            };
            prop_assert_eq!(Snapshot::parse(&snapshot.to_json()), Ok(snapshot));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Snapshot::parse(&bytes);
        }
    }
}
