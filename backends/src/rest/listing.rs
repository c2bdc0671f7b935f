//! What a server lists, in either version of the protocol. Pure.
//!
//! In: the bytes of an answer. Out: ids, with sizes if the server tells them (version 2). Which version it is shows
//! in the entries themselves, because not every server says so in its headers. Entries whose names are no ids are
//! left out; anything that is no listing is an error, never an empty one.

use std::collections::BTreeMap;

use repo_core::backend::layout;
use repo_core::id::Id;
use serde::Deserialize;

/// An entry of a listing.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    /// Version 1: only the name.
    Name(String),
    /// Version 2.
    Sized { name: String, size: u64 },
}

/// Every file once, with its size if the server told it. An empty folder may be `null`.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<(Id, Option<u64>)>, serde_json::Error> {
    let entries: Option<Vec<Entry>> = serde_json::from_slice(bytes)?;
    let mut all = BTreeMap::new();
    for entry in entries.unwrap_or_default() {
        let (name, size) = match entry {
            Entry::Name(name) => (name, None),
            Entry::Sized { name, size } => (name, Some(size)),
        };
        if let Some(id) = layout::parse_name(&name) {
            all.insert(id, size);
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "abcdef0000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn both_versions_are_read() {
        fn check(text: &str, expected: &[Option<u64>]) {
            let found = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found.iter().map(|(_, size)| *size).collect::<Vec<_>>(), expected, "{text}");
            assert!(found.iter().all(|(id, _)| id.to_string() == NAME));
        }
        check("[]", &[]);
        check("null\n", &[]);
        check(&format!("[\"{NAME}\"]"), &[None]);
        check(&format!("[{{\"name\":\"{NAME}\",\"size\":7}}]"), &[Some(7)]);
        check(
            &format!("[{{\"name\":\"{NAME}\",\"size\":7,\"new\":1}},{{\"name\":\"x\",\"size\":7}}]"),
            &[Some(7)],
        );
        check(&format!("[\"{NAME}\",\"{NAME}\",\"config\",\"{NAME}.partial\"]"), &[None]);
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for text in [
            String::new(),
            "{}".to_owned(),
            "<html>".to_owned(),
            format!("[\"{NAME}\""),
            format!("[{{\"name\":\"{NAME}\"}}]"),
            format!("[{{\"name\":\"{NAME}\",\"size\":-1}}]"),
            format!("[\"{NAME}\"]]"),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
