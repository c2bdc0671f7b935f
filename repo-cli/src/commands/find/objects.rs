//! `find` by id: where blobs, trees, or all that is in a pack are used.

use std::collections::BTreeSet;

use anyhow::Result;
use repo_core::format::Place;
use repo_core::format::json::{Array, Object};
use repo_core::id::{BlobId, BlobKind, Id};
use repo_core::ops::query::find::{FoundBlob, WantedBlobs, blobs};
use repo_core::repository::Reader;
use repo_core::snapshots::Stored;

use super::Broken;
use crate::args::find::Find;
use crate::exit::wrong;
use crate::session::Session;
use crate::ui::amount::date_time;
use crate::ui::escape::visible;

pub fn run(
    session: &Session,
    args: &Find,
    reader: &Reader,
    snapshots: &[Stored],
    broken: &mut Broken,
) -> Result<()> {
    let ids: Vec<_> = args.patterns.iter().map(|pattern| pattern.to_string_lossy()).collect();
    let kind = if args.tree { BlobKind::Tree } else { BlobKind::Data };
    let wanted = if args.pack {
        let wanted = WantedBlobs::in_packs(reader.index(), ids.iter().map(AsRef::as_ref));
        wanted.map_err(|error| {
            wrong(
                format!("unable to find pack(s): [{}]", error.packs.join(" ")),
                "`larder list packs` shows the ids.",
            )
        })?
    } else {
        WantedBlobs::named(kind, ids.iter().map(AsRef::as_ref))
    };
    let mut found: BTreeSet<BlobId> =
        ids.iter().filter_map(|id| Some(BlobId { kind, id: id.parse::<Id>().ok()? })).collect();
    let mut json = Vec::new();
    let mut array = Array::begin(&mut json);
    for find in blobs(&session.context, reader, snapshots, &wanted) {
        let Some(find) = broken.take(session, find)? else { continue };
        found.insert(find.blob);
        if session.settings.json {
            let place = reader.index().place_of(&find.blob).filter(|_| args.show_pack_id);
            write(array.element(), &find, place);
        } else {
            session.screen.lines(text(session, &find));
        }
    }
    array.end();
    if session.settings.json {
        session.screen.line(String::from_utf8_lossy(&json));
    } else if args.show_pack_id && !args.pack {
        for blob in found {
            session.screen.lines(pack_text(blob, reader.index().place_of(&blob)));
        }
    }
    Ok(())
}

/// What the find is called: pieces of files are blobs, directories are trees.
fn word(blob: BlobId) -> &'static str {
    match blob.kind {
        BlobKind::Data => "blob",
        BlobKind::Tree => "tree",
    }
}

fn text(session: &Session, find: &FoundBlob<'_>) -> Vec<String> {
    let FoundBlob { snapshot, blob, path, parent } = find;
    let shown = visible(path.as_os_str().as_encoded_bytes());
    let mut lines = vec![format!("Found {} {}", word(*blob), blob.id)];
    match parent {
        Some(tree) => lines.extend([format!(" ... in file {shown}"), format!("     (tree {tree})")]),
        None => lines.push(format!(" ... path {shown}")),
    }
    let time = date_time(session.settings.zone.at(snapshot.snapshot.time.instant));
    lines.push(format!(" ... in snapshot {} ({time})", snapshot.id.short()));
    lines
}

fn pack_text(blob: BlobId, place: Option<Place>) -> Vec<String> {
    let Some(place) = place else {
        return vec![format!("Note: cannot find pack for object '{}'", blob.id)];
    };
    let plain = place.plain_len.map_or(0, std::num::NonZeroU32::get);
    vec![
        format!("Object belongs to pack {}", place.pack),
        format!(
            " ... Pack {}: <Blob ({}) {}, offset {}, length {}, uncompressed length {plain}>",
            place.pack.short(),
            blob.kind,
            blob.id.short(),
            place.offset,
            place.len
        ),
    ]
}

fn write(out: &mut Vec<u8>, find: &FoundBlob<'_>, place: Option<Place>) {
    let FoundBlob { snapshot, blob, path, parent } = find;
    let mut object = Object::begin(out);
    object.string("object_type", word(*blob)).id("id", blob.id);
    object.string("path", path.as_os_str().as_encoded_bytes());
    object.id_if_some("parent_tree", *parent);
    object.id("snapshot", snapshot.id).time("time", snapshot.snapshot.time);
    object.id_if_some("pack", place.map(|place| place.pack));
    object.end();
}
