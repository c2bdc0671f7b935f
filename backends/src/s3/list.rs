//! Listings of a bucket, as fast as round trips allow.
//!
//! In: an operator and a kind of file. Out: all of them. A page has a thousand names and each waits for the one
//! before; so when the first page was not the last, the sixteen first digits of names are listed side by side.
//! That is right because servers list in the order of names, which is checked; if they do not, page follows page.

use futures::{StreamExt as _, TryStreamExt as _};
use opendal::options::ListOptions;
use opendal::{Entry, Operator};
use repo_core::backend::{Listed, layout};
use repo_core::id::FileKind;

/// So many names make a page on every server that matters.
const PAGE: usize = 1000;

const DIGITS: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// All files of a kind that has a folder, in no order.
pub(super) async fn list(
    operator: &Operator,
    kind: FileKind,
    at_once: usize,
) -> opendal::Result<Vec<Listed>> {
    let folder = format!("{}/", kind.folder());
    let mut entries = operator.lister_options(&folder, options(kind)).await?;
    let mut found = Vec::new();
    let (mut count, mut sorted, mut last) = (0, true, String::new());
    while let Some(entry) = entries.try_next().await? {
        found.extend(listed(&entry, kind));
        count += 1;
        sorted &= last.as_str() < entry.path();
        entry.path().clone_into(&mut last);
        let digit = last
            .get(folder.len()..=folder.len())
            .and_then(|digit| DIGITS.iter().position(|known| *known == digit));
        if let Some(digit) = digit.filter(|_| count == PAGE && sorted) {
            let complete = |listed: &Listed| usize::from(listed.id.as_bytes()[0] >> 4) < digit;
            found.retain(complete);
            let rest = futures::stream::iter(DIGITS.iter().skip(digit))
                .map(|digit| list_prefix(operator, format!("{folder}{digit}"), kind))
                .buffer_unordered(at_once);
            let rest: Vec<Vec<Listed>> = rest.try_collect().await?;
            found.extend(rest.into_iter().flatten());
            return Ok(found);
        }
    }
    Ok(found)
}

async fn list_prefix(operator: &Operator, prefix: String, kind: FileKind) -> opendal::Result<Vec<Listed>> {
    let entries = operator.lister_options(&prefix, options(kind)).await?;
    entries.try_filter_map(|entry| async move { Ok(listed(&entry, kind)) }).try_collect().await
}

/// Only packs lie deeper than their folder.
fn options(kind: FileKind) -> ListOptions {
    ListOptions { recursive: kind == FileKind::Pack, ..Default::default() }
}

/// A file of ours; nothing for foreign names.
fn listed(entry: &Entry, kind: FileKind) -> Option<Listed> {
    let file = layout::parse(entry.path()).filter(|file| file.kind == kind)?;
    let metadata = entry.metadata();
    metadata.is_file().then(|| Listed { id: file.id, size: metadata.content_length() })
}
