//! Records that each restic version wrote, taken from the fixtures: read and written again, byte for byte.

use std::fs;
use std::path::Path;

use repo_core::format::{Config, IndexFile, IndexedBlob, PackHeader, Snapshot};
use serde_json::Value;

const MANIFESTS: [&str; 8] =
    ["v2-r019", "v2-r018", "v2-r014", "v1-r019", "v1-r014", "v2-r014-pruned", "forget", "damaged"];

/// The manifest, or for the damaged repositories that of their healthy base.
fn manifest(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let text = fs::read(folder.join(format!("{name}.json"))).expect("the fixture is there");
    let mut manifest: Value = serde_json::from_slice(&text).expect("it is JSON");
    if manifest["base"].is_object() { manifest["base"].take() } else { manifest }
}

/// Checks that every manifest with such a part was looked at and that there were enough parts.
fn each(mut check: impl FnMut(&str, &Value) -> usize, at_least: usize) {
    let count: usize = MANIFESTS.iter().map(|name| check(name, &manifest(name))).sum();
    assert!(count >= at_least, "only {count} records were compared");
}

#[test]
fn snapshots_read_and_write_the_same() {
    each(
        |name, manifest| {
            let snapshots = manifest["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
            let texts = snapshots.iter().filter_map(|snapshot| snapshot["raw_json"].as_str());
            texts
                .map(|text| {
                    let snapshot = Snapshot::parse(text.as_bytes()).expect(name);
                    assert_eq!(String::from_utf8(snapshot.to_json()).expect("JSON is text"), text, "{name}");
                    assert!(snapshot.unknown.is_empty() && !snapshot.is_damaged(), "{name}");
                })
                .count()
        },
        25,
    );
}

#[test]
fn indexes_read_and_write_the_same() {
    each(
        |name, manifest| {
            let Some(texts) = manifest["index_raw_json"].as_object() else { return 0 };
            for text in texts.values() {
                let text = text.as_str().expect("a text");
                let index = IndexFile::parse(text.as_bytes()).expect(name);
                assert_eq!(String::from_utf8(index.to_json()).expect("JSON is text"), text, "{name}");
                assert_eq!((index.ignored, index.unknown.len()), (0, 0), "{name}");
            }
            texts.len()
        },
        25,
    );
}

#[test]
fn configs_read_and_write_the_same() {
    each(
        |name, manifest| {
            let config = &manifest["config"];
            let Some(version) = config["version"].as_u64() else { return 0 };
            let text = format!(
                r#"{{"version":{version},"id":{},"chunker_polynomial":{}}}"#,
                config["id"], config["chunker_polynomial"]
            );
            let read = Config::parse(text.as_bytes()).expect(name);
            assert_eq!(String::from_utf8(read.to_json()).expect("JSON is text"), text, "{name}");
            1
        },
        6,
    );
}

/// The headers themselves are sealed in the packs; what they say is in the manifest, and in the index.
#[test]
fn headers_of_all_packs_agree_with_the_index() {
    each(
        |name, manifest| {
            let Some(packs) = manifest["packs"].as_object() else { return 0 };
            let Some(texts) = manifest["index_raw_json"].as_object() else { return 0 };
            let mut indexed = Vec::new();
            for text in texts.values() {
                let text = text.as_str().expect("a text").as_bytes();
                indexed.extend(IndexFile::parse(text).expect(name).packs);
            }
            for pack in &mut indexed {
                pack.blobs.sort_by_key(|blob| blob.offset);
                let header = PackHeader { blobs: pack.blobs.clone() };
                let pack_len = PackHeader::pack_len(&header.blobs);
                assert_eq!(PackHeader::parse(&header.encode(), pack_len), Ok(header), "{name}");
                let expected = packs[&pack.id.to_string()].as_array().expect("entries");
                let agree = |(blob, entry): (&IndexedBlob, &Value)| {
                    entry["id"] == *blob.id.to_string()
                        && entry["offset"] == blob.offset
                        && entry["length"] == blob.len
                        && entry["compressed"] == blob.plain_len.is_some()
                };
                assert!(expected.len() == pack.blobs.len() && pack.blobs.iter().zip(expected).all(agree));
            }
            indexed.len()
        },
        30,
    );
}
