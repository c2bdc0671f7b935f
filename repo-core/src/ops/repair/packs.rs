//! Packs whose content is damaged: what is still readable moves to new packs, then they go.
//!
//! In: names of packs. What lies in them is known from the index and from their own headers; each of these blobs is
//! opened and compared with its name. Out: new packs, then their index files, then an index without the old packs,
//! and only then are those removed. Before that the caller has been given every one of them to keep.
//! A blob that was readable when the plan was made and is not any more ends the run: nothing was removed by then.
//! Memory: one pack, 50 bytes per blob in the packs, and what a writer holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use crate::backend::{BackendError, ErrorKind};
use crate::blob::{OpenError, Opener};
use crate::context::{Cancelled, Context, Event, Stage, from_unless_cancelled};
use crate::format::{IndexFile, Place, limits};
use crate::id::{BlobId, IndexId, PackId};
use crate::index::Index;
use crate::ops::repair::index::{NewIndex, RepairIndexError};
use crate::repository::{
    IndexCollector, IndexError, LoadedIndex, LockError, LockGuard, PackHeaderError, Reader, Repository,
    Saved, WriteError, Writer, WriterOptions,
};

/// Why packs were not repaired. Nothing that was readable is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairPacksError {
    /// There is no such pack.
    #[error("pack {pack} does not exist")]
    NotThere {
        /// Which one.
        pack: PackId,
    },
    /// The storage did not give a pack.
    #[error("cannot read pack {pack}")]
    Read {
        /// Which one.
        pack: PackId,
        /// Why.
        source: BackendError,
    },
    /// The caller could not keep a pack.
    #[error("cannot keep a copy of pack {pack}")]
    Keep {
        /// Which one.
        pack: PackId,
        /// Why.
        source: io::Error,
    },
    /// A pack was read twice, and the second time less of it was sound.
    #[error("{blob} in pack {pack} was readable before and is not now")]
    Unsteady {
        /// Which blob.
        blob: BlobId,
        /// In which pack.
        pack: PackId,
    },
    /// An index file is there that was not when the packs were judged: it may say more about them.
    #[error("index {id} was not seen before, so nothing is removed")]
    NewIndex {
        /// Which one.
        id: IndexId,
    },
    /// The index could not be loaded, or not be written anew.
    #[error(transparent)]
    Index(RepairIndexError),
    /// What is readable could not be stored.
    #[error(transparent)]
    Write(WriteError),
    /// The lock was lost.
    #[error(transparent)]
    Lock(LockError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

from_unless_cancelled!(RepairPacksError: RepairIndexError => Index, WriteError => Write, LockError => Lock);

impl From<IndexError> for RepairPacksError {
    fn from(error: IndexError) -> Self {
        RepairIndexError::from(error).into()
    }
}

/// What there is to save in some packs. Nothing was changed yet.
#[derive(Debug)]
pub struct PacksPlan {
    /// The packs, sorted by name.
    pub packs: Vec<PackSalvage>,
    repository: Repository,
    loaded: LoadedIndex,
}

/// What was found in one pack.
#[derive(Debug)]
pub struct PackSalvage {
    /// Which pack.
    pub pack: PackId,
    /// Its length in bytes, as it lies there.
    pub bytes: u64,
    /// Blobs that are sound and will be stored in a new pack.
    pub readable: BTreeSet<BlobId>,
    /// Blobs that are not sound.
    pub damaged: Vec<DamagedBlob>,
    /// Where its blobs lie, by what the index says and by what its header does.
    places: BTreeMap<BlobId, Vec<Place>>,
}

/// A blob that cannot be saved from its pack.
#[derive(Debug)]
pub struct DamagedBlob {
    /// Which one.
    pub blob: BlobId,
    /// What is wrong; `None` if the pack ends before it.
    pub source: Option<OpenError>,
    /// Whether another pack has it whole, so that nothing is lost.
    pub elsewhere: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct PacksReport {
    /// Blobs stored anew.
    pub saved: u64,
    /// Packs written for them.
    pub packs_written: u64,
    /// Damaged packs that could not be removed although the index does not list them any more; prune will.
    pub not_removed: Vec<(PackId, BackendError)>,
}

impl PacksPlan {
    /// Blobs that no pack has whole: what is lost.
    pub fn lost(&self) -> impl Iterator<Item = &DamagedBlob> {
        self.packs.iter().flat_map(|pack| &pack.damaged).filter(|damaged| !damaged.elsewhere)
    }
}

/// Reads packs and finds out what of them is sound.
///
/// ```
/// use repo_core::id::{FileKind, PackId};
/// use repo_core::ops::repair::plan_repair_packs;
/// use repo_core::repository::{LockKind, LockOptions, WriterOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend.clone(), &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// let pack = PackId(repository.backend().list(FileKind::Pack)?[0].id);
/// backend.tamper(pack.into(), |bytes| drop(bytes.pop())); // an accident: the end is lost, and with it the header
/// let lock = repository.lock(&context, LockKind::Exclusive, &LockOptions::default())?;
/// let plan = plan_repair_packs(&context, &repository, &[pack])?;
/// assert_eq!(plan.lost().count(), 0);
/// plan.execute(&context, &lock, WriterOptions::default(), &mut |_, _| Ok(()))?;
/// drop(lock);
/// assert!(repo_core::check(&context, &repository, &Default::default())?.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan_repair_packs(
    context: &Context,
    repository: &Repository,
    packs: &[PackId],
) -> Result<PacksPlan, RepairPacksError> {
    let loaded = repository.load_index_with_report(context)?;
    for (_, error) in &loaded.unreadable {
        context.tell(&Event::Warning { error });
    }
    let wanted: BTreeSet<PackId> = packs.iter().copied().collect();
    let mut listed: BTreeMap<PackId, BTreeSet<(BlobId, Place)>> =
        wanted.iter().map(|pack| (*pack, BTreeSet::new())).collect();
    for (blob, place) in loaded.index.iter() {
        if let Some(places) = listed.get_mut(&place.pack) {
            places.insert((blob, place));
        }
    }

    let stage = Stage::ReadPacks;
    context.tell(&Event::Begin { stage, total: listed.len() as u64, bytes: 0 });
    let (mut tools, mut plans) = (Tools::new(repository), Vec::new());
    for (pack, mut places) in listed {
        context.cancel.check()?;
        let bytes = tools.read(pack)?;
        places.extend(header_places(repository, pack, bytes)?);
        plans.push(tools.judge(pack, places));
        context.tell(&Event::Progress { stage, items: 1, bytes });
    }
    context.tell(&Event::End { stage });
    let mut plan = PacksPlan { packs: plans, repository: repository.clone(), loaded };
    plan.look_elsewhere(context, &wanted)?;
    Ok(plan)
}

/// What a pack says of itself; nothing if its header is not sound.
fn header_places(
    repository: &Repository,
    pack: PackId,
    bytes: u64,
) -> Result<Vec<(BlobId, Place)>, RepairPacksError> {
    match repository.pack_blobs(pack, bytes) {
        Ok(blobs) => Ok(blobs.iter().map(|blob| (blob.blob_id(), blob.place(pack))).collect()),
        Err(PackHeaderError::Fetch { pack, source }) if source.kind() != ErrorKind::TooShort => {
            Err(RepairPacksError::Read { pack, source })
        }
        Err(_) => Ok(Vec::new()),
    }
}

/// What packs are read with.
struct Tools<'a> {
    repository: &'a Repository,
    opener: Opener,
    pack: Vec<u8>,
    plain: Vec<u8>,
}

impl<'a> Tools<'a> {
    fn new(repository: &'a Repository) -> Self {
        let opener = Opener::new(repository.key().clone())
            .with_data_len_max(repository.config().data_blob_bytes_max());
        Self { repository, opener, pack: Vec::new(), plain: Vec::new() }
    }

    /// Reads a whole pack; gives its length in bytes.
    fn read(&mut self, pack: PackId) -> Result<u64, RepairPacksError> {
        let read = self.repository.backend().read_all(pack.into(), limits::PACK_BYTES_MAX, &mut self.pack);
        match read {
            Ok(()) => Ok(self.pack.len() as u64),
            Err(error) if error.is_not_found() => Err(RepairPacksError::NotThere { pack }),
            Err(source) => Err(RepairPacksError::Read { pack, source }),
        }
    }

    /// The stored bytes of a blob of the pack that was read, if it is sound there.
    fn sound(&mut self, blob: &BlobId, place: &Place) -> Result<&[u8], Option<OpenError>> {
        let range = place.range();
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let (Ok(start), Ok(end)) = (start, end) else { return Err(None) };
        let sealed = self.pack.get(start..end).ok_or(None)?;
        self.opener.open(blob, sealed, place.plain_len, &mut self.plain)?;
        Ok(sealed)
    }

    /// Opens everything that may lie in the pack that was read.
    fn judge(&mut self, pack: PackId, places: BTreeSet<(BlobId, Place)>) -> PackSalvage {
        let mut by_blob: BTreeMap<BlobId, Vec<Place>> = BTreeMap::new();
        for (blob, place) in places {
            by_blob.entry(blob).or_default().push(place);
        }
        let (mut readable, mut damaged) = (BTreeSet::new(), Vec::new());
        for (blob, places) in &by_blob {
            let mut wrong = None;
            let is_sound = places.iter().any(|place| match self.sound(blob, place) {
                Ok(_) => true,
                Err(error) => {
                    wrong = wrong.take().or(error);
                    false
                }
            });
            if is_sound {
                readable.insert(*blob);
            } else {
                damaged.push(DamagedBlob { blob: *blob, source: wrong, elsewhere: false });
            }
        }
        PackSalvage { pack, bytes: self.pack.len() as u64, readable, damaged, places: by_blob }
    }
}

impl PacksPlan {
    /// Finds out which damaged blobs other packs have, or one of the packs that are repaired too.
    fn look_elsewhere(
        &mut self,
        context: &Context,
        wanted: &BTreeSet<PackId>,
    ) -> Result<(), RepairPacksError> {
        let saved: BTreeSet<BlobId> = self.packs.iter().flat_map(|pack| &pack.readable).copied().collect();
        let reader = Reader::new(&self.repository, Arc::default());
        for damaged in self.packs.iter_mut().flat_map(|pack| &mut pack.damaged) {
            context.cancel.check()?;
            damaged.elsewhere = saved.contains(&damaged.blob);
            for place in self.loaded.index.places(&damaged.blob).filter(|place| !wanted.contains(&place.pack))
            {
                let copy = [(damaged.blob, place, ())];
                reader.pack_copies::<_, Cancelled>(place.pack, copy, |(), copy| {
                    damaged.elsewhere |= copy.is_ok();
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Does it. The lock must be exclusive. `keep` is given every pack as it lies there, before anything changes.
    ///
    /// Stopped at any point, all that was readable still is, and the same again ends as this run would have.
    pub fn execute(
        self,
        context: &Context,
        lock: &LockGuard,
        options: WriterOptions,
        keep: &mut dyn FnMut(PackId, &[u8]) -> io::Result<()>,
    ) -> Result<PacksReport, RepairPacksError> {
        let mut report = PacksReport::default();
        self.refuse_new_index()?;
        let mut tools = Tools::new(&self.repository);
        for salvage in &self.packs {
            context.cancel.check()?;
            let pack = salvage.pack;
            tools.read(pack)?;
            keep(pack, &tools.pack).map_err(|source| RepairPacksError::Keep { pack, source })?;
        }
        self.save_readable(context, &mut tools, options, &mut report)?;
        lock.check()?;
        self.forget_packs(context, lock)?;
        lock.check()?;
        self.remove_packs(context, &mut report)?;
        Ok(report)
    }

    /// Where a header is lost, the index alone knows what is in a pack; a listing of its files may have left one out.
    fn refuse_new_index(&self) -> Result<(), RepairPacksError> {
        let seen = self.loaded.files.iter().chain(self.loaded.unreadable.iter().map(|(id, _)| id));
        let seen: HashSet<IndexId> = seen.copied().collect();
        let now = self.repository.list::<IndexFile>().map_err(IndexError::from)?;
        match now.into_iter().find(|id| !seen.contains(id)) {
            Some(id) => Err(RepairPacksError::NewIndex { id }),
            None => Ok(()),
        }
    }

    /// Packs, then their index files.
    fn save_readable(
        &self,
        context: &Context,
        tools: &mut Tools<'_>,
        options: WriterOptions,
        report: &mut PacksReport,
    ) -> Result<(), RepairPacksError> {
        let stage = Stage::Repack;
        context.tell(&Event::Begin { stage, total: self.packs.len() as u64, bytes: 0 });
        // To this writer nothing is known: what is saved is stored anew.
        let writer = Writer::start(context, &self.repository, Arc::new(Index::default()), options);
        let mut blobs = writer.blob_writer();
        let result = self.packs.iter().try_for_each(|salvage| {
            context.cancel.check()?;
            let bytes = tools.read(salvage.pack)?;
            for (blob, places) in &salvage.places {
                let mut is_saved = false;
                for place in places {
                    if let Ok(sealed) = tools.sound(blob, place) {
                        let saved = blobs.save_sealed(blob, sealed, place.plain_len)?;
                        report.saved += u64::from(saved != Saved::Known);
                        is_saved = true;
                        break;
                    }
                }
                if !is_saved && salvage.readable.contains(blob) {
                    return Err(RepairPacksError::Unsteady { blob: *blob, pack: salvage.pack });
                }
            }
            context.tell(&Event::Progress { stage, items: 1, bytes });
            Ok(())
        });
        match result {
            // The uploaders know better why the writer has stopped.
            Ok(()) | Err(RepairPacksError::Write(WriteError::Stopped)) => {}
            Err(error) => return Err(error),
        }
        blobs.flush();
        report.packs_written = writer.finish()?.packs;
        context.tell(&Event::End { stage });
        Ok(())
    }

    /// An index that does not list the packs any more.
    fn forget_packs(&self, context: &Context, lock: &LockGuard) -> Result<(), RepairPacksError> {
        let gone: HashSet<PackId> = self.packs.iter().map(|salvage| salvage.pack).collect();
        if !self.loaded.index.packs().iter().any(|pack| gone.contains(&pack.id)) {
            return Ok(());
        }
        let new = NewIndex {
            loaded: &self.loaded,
            gone: &gone,
            known: IndexCollector::default(),
            listed: &[],
            unreadable: &[],
        };
        new.replace_old(context, &self.repository, lock)?;
        Ok(())
    }

    fn remove_packs(&self, context: &Context, report: &mut PacksReport) -> Result<(), RepairPacksError> {
        let stage = Stage::RemovePacks;
        context.tell(&Event::Begin { stage, total: self.packs.len() as u64, bytes: 0 });
        for PackSalvage { pack, .. } in &self.packs {
            context.cancel.check()?;
            let backend = self.repository.backend();
            if let Err(error) = backend.remove((*pack).into()) {
                // What is gone although the answer got lost is gone.
                let is_gone = backend.size((*pack).into()).is_err_and(|now| now.is_not_found());
                if !is_gone {
                    context.tell(&Event::Warning { error: &error });
                    report.not_removed.push((*pack, error));
                }
            }
            context.tell(&Event::Progress { stage, items: 1, bytes: 0 });
        }
        context.tell(&Event::End { stage });
        Ok(())
    }
}
