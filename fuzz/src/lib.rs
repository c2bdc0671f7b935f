//! What the fuzzers try: one function per parser of bytes that somebody else may have written.
//!
//! In: any bytes. Out: nothing; a function fails by a panic, or by a promise of its parser that does not hold. The
//! ordinary test run replays seeds and mutations of them through the same functions.

use repo_core::chunker::{Chunker, ChunkerParams, Polynomial};
use repo_core::compress::Decompressor;
use repo_core::filter::{Case, Patterns};
use repo_core::format::{Config, IndexFile, KeyFile, Lock, Node, PackHeader, Snapshot, Tree};
use repo_core::time::Time;

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("config", config),
    ("key_file", key_file),
    ("lock", lock),
    ("snapshot", snapshot),
    ("index_file", index_file),
    ("tree", tree),
    ("node", node),
    ("pack_header", pack_header),
    ("frame", frame),
    ("chunker", chunker),
    ("patterns", patterns),
    ("location", location),
    ("time", time),
];

/// What a record says survives being written and read again.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident, $record:ty) => {
        $(#[$doc])*
        pub fn $name(bytes: &[u8]) {
            let Ok(record) = <$record>::parse(bytes) else { return };
            let text = record.to_json();
            let again = <$record>::parse(&text).expect("what was written can be read");
            assert_eq!(again.to_json(), text);
        }
    };
}

record!(
    /// The config.
    config, Config
);
record!(
    /// Key files, which are read before anything is known to be authentic.
    key_file, KeyFile
);
record!(
    /// Locks.
    lock, Lock
);
record!(
    /// Snapshots.
    snapshot, Snapshot
);
record!(
    /// Index files.
    index_file, IndexFile
);

/// Trees: entries with any name, which is either refused or one safe component.
pub fn tree(bytes: &[u8]) {
    let Ok(tree) = Tree::parse(bytes) else { return };
    for node in &tree.nodes {
        if let Ok(name) = node.checked_name() {
            assert!(!name.is_empty() && name.len() <= 255);
            assert!(name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0));
        }
    }
}

/// Single entries survive being written and read again.
pub fn node(bytes: &[u8]) {
    let Ok(node) = Node::parse(bytes) else { return };
    let (mut text, mut again) = (Vec::new(), Vec::new());
    node.write(&mut text);
    Node::parse(&text).expect("what was written can be read").write(&mut again);
    assert_eq!(again, text);
}

/// Pack headers account for every byte of their pack.
pub fn pack_header(bytes: &[u8]) {
    let Some((len, header)) = bytes.split_first_chunk::<4>() else { return };
    let pack_len = u64::from(u32::from_le_bytes(*len));
    if let Ok(parsed) = PackHeader::parse(header, pack_len) {
        assert_eq!(PackHeader::pack_len(&parsed.blobs), pack_len);
        assert_eq!(parsed.encode(), header);
    }
}

/// Frames never give more than what is allowed.
pub fn frame(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let (mut decompressor, mut out) = (Decompressor::new(), Vec::new());
    if decompressor.decompress_bounded(bytes, LIMIT, &mut out).is_ok() {
        assert!(out.len() <= LIMIT);
        let len = out.len();
        decompressor.decompress_exact(bytes, len, &mut out).expect("the length is right");
    }
}

/// Cuts lie where the scan of the whole finds them, however the bytes arrive.
pub fn chunker(bytes: &[u8]) {
    let polynomial = Polynomial(0x003d_a335_8b4d_c173);
    let chunker = Chunker::new(ChunkerParams::Rabin(polynomial)).expect("a good polynomial");
    // The bytes repeated, so that short inputs make cuts, too.
    let data: Vec<u8> =
        bytes.iter().copied().cycle().take(if bytes.is_empty() { 0 } else { 1_300_000 }).collect();
    let whole = chunker.cut(&data, 0, true);
    let (mut scanned, step) = (0, 1 + bytes.len() * 997 % 400_000);
    let mut pieces = None;
    while pieces.is_none() && scanned < data.len() {
        let end = (scanned + step).min(data.len());
        pieces = chunker.cut(&data[..end], scanned, end == data.len());
        scanned = end;
    }
    assert_eq!(pieces, whole);
}

/// Patterns and paths of any bytes.
pub fn patterns(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (pattern, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(patterns) = Patterns::new([pattern], Case::Sensitive) {
        patterns.matches(path);
    }
}

/// Locations never show their secrets.
pub fn location(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(location) = text.parse::<backends::Location>() {
        let shown = location.to_string();
        if let Some(rest) = text.strip_prefix("rest:https://user:secretsecret@") {
            assert!(!shown.contains("secretsecret") || rest.contains("secretsecret"), "{shown}");
        }
    }
}

/// Times survive being written and read again.
pub fn time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(time) = text.parse::<Time>() {
        assert_eq!(time.to_string().parse::<Time>(), Ok(time));
    }
}
