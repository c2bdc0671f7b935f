//! Index files → the index in memory.

use std::collections::HashSet;
use std::sync::Arc;

use crate::backend::BackendError;
use crate::context::{Cancelled, Context, Event, Stage};
use crate::format::{IndexFile, IndexedPack, MarkedPack};
use crate::id::{FileKind, IndexId, PackId};
use crate::index::{Builder, Index};
use crate::parallel;
use crate::repository::{RecordError, Repository};

/// Why the index could not be loaded at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The index files cannot be listed or fetched.
    #[error("cannot load the index")]
    Backend(#[from] BackendError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The index and what was met on the way.
#[derive(Debug)]
pub struct LoadedIndex {
    /// Everything that readable index files list.
    pub index: Index,
    /// The index files that were read.
    pub files: Vec<IndexId>,
    /// Index files that hold nothing usable; what only they listed is missing.
    pub unreadable: Vec<(IndexId, RecordError)>,
    /// Entries that make no sense and were left out, by file.
    pub odd_entries: Vec<(IndexId, u64)>,
    /// Packs that somebody will remove one day; the index does not list them, unless that was asked for.
    pub marked: Vec<MarkedPack>,
}

/// Which part of the index is wanted.
#[derive(Debug, Default)]
pub(crate) struct IndexPart {
    /// What stands in these index files is left out.
    pub(crate) without: HashSet<IndexId>,
    /// Only packs that exist: what other entries say helps nobody.
    pub(crate) existing: Option<HashSet<PackId>>,
    /// With packs that are only marked for removal, too.
    pub(crate) with_marked: bool,
}

impl Repository {
    /// Loads the index. Unreadable index files are told as warnings; what only they listed is missing.
    ///
    /// Snapshots are to be listed before this, so that every listed snapshot is covered.
    pub fn load_index(&self, context: &Context) -> Result<Arc<Index>, IndexError> {
        let loaded = self.load_index_with_report(context)?;
        for (_, error) in &loaded.unreadable {
            context.tell(&Event::Warning { error });
        }
        Ok(Arc::new(loaded.index))
    }

    /// Loads the index and says which files were unreadable, without telling the observer.
    pub fn load_index_with_report(&self, context: &Context) -> Result<LoadedIndex, IndexError> {
        self.load_index_part(context, IndexPart::default())
    }

    /// Loads a part of the index, and says what was met.
    pub(crate) fn load_index_part(
        &self,
        context: &Context,
        part: IndexPart,
    ) -> Result<LoadedIndex, IndexError> {
        let mut listed = self.list_once(FileKind::Index)?;
        listed.retain(|file| !part.without.contains(&IndexId(file.id)));
        let (total, bytes) = (listed.len() as u64, listed.iter().map(|file| file.size).sum());
        context.tell(&Event::Begin { stage: Stage::LoadIndex, total, bytes });
        let mut loaded = Loading { part, ..Loading::default() };
        parallel::stream(
            self.backend.properties().connections.max(parallel::cores()),
            listed,
            |file| {
                context.cancel.check()?;
                let id = IndexId::from(file.id);
                Ok::<_, IndexError>((id, file.size, self.load::<IndexFile>(id)))
            },
            |(id, size, result)| {
                context.tell(&Event::Progress { stage: Stage::LoadIndex, items: 1, bytes: size });
                loaded.add(id, result)
            },
        )?;
        context.tell(&Event::End { stage: Stage::LoadIndex });
        let loaded = loaded.finish();
        self.tell_trees(&loaded);
        Ok(loaded)
    }

    /// Tells the storage which packs hold trees.
    fn tell_trees(&self, loaded: &LoadedIndex) {
        let packs = loaded.index.packs().iter();
        let trees: Vec<PackId> = packs.filter(|pack| pack.tree_blobs > 0).map(|pack| pack.id).collect();
        self.backend.hint_trees(&trees);
        if let Some(cache) = &self.cache
            && loaded.unreadable.is_empty()
        {
            cache.keep_packs(&trees);
        }
    }
}

#[derive(Default)]
struct Loading {
    part: IndexPart,
    builder: Builder,
    files: Vec<IndexId>,
    unreadable: Vec<(IndexId, RecordError)>,
    odd_entries: Vec<(IndexId, u64)>,
    marked: Vec<MarkedPack>,
}

impl Loading {
    fn add(&mut self, id: IndexId, result: Result<IndexFile, RecordError>) -> Result<(), IndexError> {
        match result {
            Ok(file) => {
                if file.ignored > 0 {
                    self.odd_entries.push((id, file.ignored));
                }
                for pack in &file.packs {
                    self.list(pack);
                }
                self.marked.extend(file.packs_to_delete);
                self.files.push(id);
            }
            // Somebody's prune replaced it meanwhile: its content stands in a newer file.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_damage() => self.unreadable.push((id, error)),
            Err(RecordError::Backend(error)) => return Err(error.into()),
            Err(error) => self.unreadable.push((id, error)),
        }
        Ok(())
    }

    fn list(&mut self, pack: &IndexedPack) {
        if self.part.existing.as_ref().is_none_or(|existing| existing.contains(&pack.id)) {
            self.builder
                .add_pack(pack.id, pack.blobs.iter().map(|blob| (blob.blob_id(), blob.place(pack.id))));
        }
    }

    fn finish(mut self) -> LoadedIndex {
        // One mark for each pack, the youngest, with all that is said of it; none where an index file lists the pack
        // all the same.
        self.marked.sort_by_key(|mark| (mark.pack.id, std::cmp::Reverse(mark.time.map(|time| time.instant))));
        self.marked.dedup_by(|older, mark| {
            let same = older.pack.id == mark.pack.id;
            if same && older.pack.blobs != mark.pack.blobs {
                mark.pack.blobs.append(&mut older.pack.blobs);
                mark.pack.blobs.sort_unstable();
                mark.pack.blobs.dedup();
            }
            same
        });
        self.marked.retain(|mark| !self.builder.lists(mark.pack.id));
        if self.part.with_marked {
            let marked = std::mem::take(&mut self.marked);
            for mark in &marked {
                self.list(&mark.pack);
            }
            self.marked = marked;
        }
        let Self { builder, files, unreadable, odd_entries, marked, .. } = self;
        LoadedIndex { index: builder.build(), files, unreadable, odd_entries, marked }
    }
}
