//! Records of a repository as JSON, in the shape and order of restic.

use repo_core::format::json::{Array, Object};
use repo_core::snapshots::{GroupKey, Stored};

/// A snapshot's record with two keys more: `id` and `short_id`, then whatever `rest` adds.
pub fn snapshot(out: &mut Vec<u8>, stored: &Stored, rest: impl FnOnce(&mut Object<'_>)) {
    let record = stored.snapshot.to_json();
    // The record is an object; it goes on instead of ending.
    out.extend_from_slice(record.strip_suffix(b"}").unwrap_or(&record));
    let mut more = Vec::new();
    let mut object = Object::begin(&mut more);
    object.id("id", stored.id).string("short_id", stored.id.short());
    rest(&mut object);
    object.end();
    out.push(b',');
    out.extend_from_slice(more.strip_prefix(b"{").unwrap_or(&more));
}

/// Snapshots as one array.
pub fn snapshots<'a>(out: &mut Vec<u8>, all: impl IntoIterator<Item = &'a Stored>) {
    let mut array = Array::begin(out);
    for stored in all {
        snapshot(array.element(), stored, |_| {});
    }
    array.end();
}

/// The key of a group; what it does not look at is empty or null.
pub fn group_key(out: &mut Vec<u8>, key: &GroupKey) {
    let mut object = Object::begin(out);
    object.string("hostname", key.host.as_deref().unwrap_or_default());
    for (name, list) in [("paths", &key.paths), ("tags", &key.tags)] {
        match list {
            Some(list) if !list.is_empty() => {
                object.strings(name, list);
            }
            _ => object.key(name).extend_from_slice(b"null"),
        }
    }
    object.end();
}

/// JSON with an indent of two blanks, as Go's `MarshalIndent` writes it.
pub fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 2 * depth));
    };
    for (at, &byte) in json.iter().enumerate() {
        if quoted {
            out.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                // An empty pair stays together.
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(at.checked_sub(1).and_then(|before| json.get(before)), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_does_it() {
        let check = |json: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&indented(json.as_bytes())), expected);
        };
        check("{}", "{}");
        check(r#"{"a":1}"#, "{\n  \"a\": 1\n}");
        check(r#"{"a":["x","y"],"b":{}}"#, "{\n  \"a\": [\n    \"x\",\n    \"y\"\n  ],\n  \"b\": {}\n}");
        check(r#"{"t":"a:b,\"{c}\\"}"#, "{\n  \"t\": \"a:b,\\\"{c}\\\\\"\n}");
        check("[]", "[]");
    }
}
