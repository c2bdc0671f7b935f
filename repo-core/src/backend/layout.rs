//! Where a repository's files lie below its root, and which entries of a listing are such files.
//!
//! In: names. Out: relative paths with `/`, and the way back. Both directions agree exactly: a path is
//! taken for a repository file only if [`path`] would give that very path, so whatever is listed can also be
//! read. Temporary and foreign files therefore never turn up. Pure, no I/O.
//! Source: repository format, "Repository Layout".

use crate::id::{FileId, FileKind, Id};

/// The kinds that have a folder of their own in every repository: all but the config, and what is only ours.
pub const FOLDERS: [FileKind; 5] =
    [FileKind::Pack, FileKind::Index, FileKind::Key, FileKind::Lock, FileKind::Snapshot];

/// The path of a file below the root: `config`, `keys/<id>`, `data/<2 hex>/<id>`.
pub fn path(file: FileId) -> String {
    let id = file.id;
    match file.kind {
        FileKind::Config => "config".to_owned(),
        FileKind::Pack => format!("data/{}/{id}", shard(&id)),
        kind => format!("{}/{id}", kind.folder()),
    }
}

/// The file at a path below the root, or nothing if no file of a repository lies there.
pub fn parse(path: &str) -> Option<FileId> {
    if path == "config" {
        return Some(FileId::CONFIG);
    }
    let (folder, rest) = path.split_once('/')?;
    let kind = FOLDERS.into_iter().chain([FileKind::Checked]).find(|kind| kind.folder() == folder)?;
    let name = match kind {
        FileKind::Pack => {
            let (shard, name) = rest.split_once('/')?;
            name.strip_prefix(shard).filter(|_| shard.len() == SHARD_LEN)?;
            name
        }
        _ => rest,
    };
    Some(FileId { kind, id: parse_name(name)? })
}

/// The id a file is named by: 64 hex digits in lower case, as we and restic write them.
///
/// Upper case is refused: on most storage such a file could not be read under its id.
pub fn parse_name(name: &str) -> Option<Id> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { None } else { name.parse().ok() }
}

/// The subfolder of `data` a pack lies in: the first two digits of its name.
pub fn shard(id: &Id) -> String {
    let mut digits = id.to_string();
    digits.truncate(SHARD_LEN);
    digits
}

/// All 256 subfolders of `data`, `00` first.
pub fn shards() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|byte| format!("{byte:02x}"))
}

const SHARD_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "abcdef0000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn every_kind_has_its_place_and_is_found_there() {
        fn check(kind: FileKind, expected: &str) {
            let file = match kind {
                FileKind::Config => FileId::CONFIG,
                kind => FileId { kind, id: NAME.parse().unwrap() },
            };
            assert_eq!(path(file), expected);
            assert_eq!(parse(expected), Some(file));
        }
        check(FileKind::Config, "config");
        check(FileKind::Key, &format!("keys/{NAME}"));
        check(FileKind::Lock, &format!("locks/{NAME}"));
        check(FileKind::Snapshot, &format!("snapshots/{NAME}"));
        check(FileKind::Index, &format!("index/{NAME}"));
        check(FileKind::Pack, &format!("data/ab/{NAME}"));
        check(FileKind::Checked, &format!("checked/{NAME}"));
    }

    #[test]
    fn foreign_and_temporary_names_are_no_files_of_a_repository() {
        for path in [
            String::new(),
            "/config".to_owned(),
            "config/x".to_owned(),
            "keys".to_owned(),
            "keys/".to_owned(),
            format!("keys/{NAME}-tmp-123"),
            format!("keys/{}", NAME.to_uppercase()),
            format!("keys/ab/{NAME}"),
            format!("key/{NAME}"),
            format!("data/{NAME}"),
            format!("data/cd/{NAME}"),
            format!("data/a/{NAME}"),
            format!("data/abc/{NAME}"),
            format!("data//{NAME}"),
            format!("data/ab/{NAME}/x"),
            NAME.to_owned(),
        ] {
            assert_eq!(parse(&path), None, "{path}");
        }
    }

    #[test]
    fn shards_are_256_pairs_of_digits() {
        let all: Vec<_> = shards().collect();
        assert_eq!((all.len(), all[0].as_str(), all[255].as_str()), (256, "00", "ff"));
        assert_eq!(shard(&NAME.parse().unwrap()), "ab");
    }
}
