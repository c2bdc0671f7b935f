//! The writer: a batch of entries → files with content.
//!
//! In: files whose parts are known by name. Out: the files, complete and named. Every pack is read once per
//! batch, its parts in the order they lie, and each part is written into all files that have it. Files that are
//! not complete stay open as long as there are not too many.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::context::{Change, Event, Stage};
use crate::format::{NodeKind, Place};
use crate::fs::target::{Layout, Suspended, Target, TargetFile};
use crate::fs::{FaultKind, TargetError};
use crate::id::{BlobId, PackId};
use crate::ops::restore::existing::{self, Found, Part};
use crate::ops::restore::plan::{Batch, Item};
use crate::ops::restore::report::Problem;
use crate::ops::restore::run::{Run, shown};
use crate::ops::restore::{Existing, RestoreError, finish};
use crate::parallel;
use crate::repository::ReadError;

/// Unfinished files that stay open; with the directories that are kept, half of the usual limit.
const OPEN_MAX: usize = 256;

/// Does all that a batch asks for.
pub(super) fn write(run: &Run<'_>, batch: &Batch) -> Result<(), RestoreError> {
    let files = prepare(run, &batch.files);
    if let Some(target) = run.writable() {
        let writing = Writing { run, target, files: &files, open: AtomicUsize::new(0) };
        let result = writing.execute();
        writing.discard_unfinished();
        result?;
        if run.options.verify {
            finish::verify(run, &files)?;
        }
    } else {
        run.each(&files, |file| {
            let change = match existing::compare(run, file.item, &file.parts) {
                Found::Right => Change::Unchanged,
                _ => file.change(),
            };
            run.done(&file.item.path, change, file.len());
            Ok(())
        })?;
    }
    finish::finish(run, &batch.links, &batch.others, &batch.left)
}

/// A file of the batch on its way.
pub(super) struct File<'b> {
    pub(super) item: &'b Item,
    pub(super) parts: Vec<Part>,
    /// Parts that are not written yet.
    missing: AtomicUsize,
    /// Whether it has all its content and its name.
    pub(super) is_complete: AtomicBool,
    slot: Mutex<Slot>,
}

/// Where a file is being written.
#[derive(Default)]
enum Slot {
    #[default]
    Fresh,
    Open(Arc<TargetFile>),
    Aside(Suspended),
    /// Complete, or given up: the problem was told.
    Closed,
}

impl File<'_> {
    pub(super) fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.offset + part.len)
    }

    fn change(&self) -> Change {
        if self.item.existing.is_some() { Change::Changed } else { Change::New }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up how long each part is. Files with unknown parts are told and left out.
fn prepare<'b>(run: &Run<'_>, items: &'b [Item]) -> Vec<File<'b>> {
    let index = run.reader.index();
    let prepare = |item: &'b Item| {
        let mut parts = Vec::with_capacity(item.node.content.as_ref().map_or(0, Vec::len));
        let mut offset = 0;
        for &blob in item.node.content.iter().flatten() {
            let Some(len) = index.opened_len(&blob.into()) else {
                let problem = Problem::Unknown { path: shown(&item.path), blob };
                run.skip(Stage::Restore, &item.path, problem);
                return None;
            };
            parts.push(Part { blob, offset, len });
            offset += len;
        }
        if offset != item.node.size {
            let problem = Problem::Length { path: shown(&item.path), stored: offset, said: item.node.size };
            run.skip(Stage::Restore, &item.path, problem);
        }
        Some(File {
            item,
            missing: AtomicUsize::new(parts.len()),
            parts,
            is_complete: AtomicBool::new(false),
            slot: Mutex::default(),
        })
    };
    items.iter().filter_map(prepare).collect()
}

/// The writing of one batch.
struct Writing<'a, 'b> {
    run: &'a Run<'a>,
    target: &'a Target,
    files: &'a [File<'b>],
    /// How many files are open now.
    open: AtomicUsize,
}

/// One part that has to be fetched: where it lies, and where it goes.
struct Job {
    order: usize,
    place: Place,
    blob: BlobId,
    file: usize,
    offset: u64,
}

impl Writing<'_, '_> {
    fn execute(&self) -> Result<(), RestoreError> {
        let wanted = self.use_existing()?;
        let jobs = self.jobs(&wanted);
        let packs = groups(&jobs, |a, b| a.order == b.order);
        parallel::stream(self.run.threads, packs, |pack| self.read_pack(&jobs[pack]), Ok)
    }

    /// Settles all that needs nothing from the repository; gives for each file which parts are still wanted.
    fn use_existing(&self) -> Result<Vec<Mutex<Vec<bool>>>, RestoreError> {
        let wanted: Vec<_> = self.files.iter().map(|file| Mutex::new(vec![true; file.parts.len()])).collect();
        let numbers: Vec<usize> = (0..self.files.len())
            .filter(|&number| {
                let file = &self.files[number];
                file.parts.is_empty() || file.item.existing.is_some()
            })
            .collect();
        self.run.each(&numbers, |&number| {
            let mut wanted = wanted[number].lock().unwrap_or_else(PoisonError::into_inner);
            self.settle(&self.files[number], &mut wanted);
            Ok(())
        })?;
        Ok(wanted)
    }

    fn settle(&self, file: &File<'_>, wanted: &mut [bool]) {
        match existing::compare(self.run, file.item, &file.parts) {
            Found::Right => {
                wanted.fill(false);
                *file.slot() = Slot::Closed;
                let item = file.item;
                let set = self.target.set_metadata(&item.path, &item.node, &self.run.options.fidelity);
                self.run.note(&item.path, set);
                self.run.done(&item.path, Change::Unchanged, file.len());
            }
            Found::Parts(right) => self.keep_parts(file, &right, wanted),
            Found::Nothing if file.parts.is_empty() => self.complete(file),
            Found::Nothing => {}
        }
    }

    /// Takes what is right from the existing file, or leaves it there.
    fn keep_parts(&self, file: &File<'_>, right: &[bool], wanted: &mut [bool]) {
        let path = &file.item.path;
        let in_place = match self.run.options.existing {
            Existing::Update => self.target.update_file(path).ok(),
            Existing::Replace => None,
        };
        if in_place.is_none() && !file.parts.is_empty() && !right.contains(&true) {
            return; // nothing to take: it is made when its first part comes
        }
        let mut kept = 0;
        if let Some(updated) = in_place {
            if let Err(error) = updated.set_len(file.len()) {
                return self.give_up(file, error.into());
            }
            *file.slot() = Slot::Open(Arc::new(updated));
            self.open.fetch_add(1, Ordering::Relaxed);
            for (wanted, _) in wanted.iter_mut().zip(right).filter(|(_, right)| **right) {
                *wanted = false;
                kept += 1;
            }
        } else {
            let Ok(old) = self.target.open_file(path) else { return };
            let Some(new) = self.acquire(file) else { return };
            let mut buffer = Vec::new();
            for ((part, wanted), _) in file.parts.iter().zip(wanted).zip(right).filter(|(_, right)| **right) {
                // Looked at again: it may have been changed since it was compared.
                if existing::is_right(&old, part, &mut buffer) {
                    if let Err(error) = new.write_at(part.offset, &buffer) {
                        drop(new);
                        return self.give_up(file, error.into());
                    }
                    *wanted = false;
                    kept += 1;
                    self.run.context.tell(&progress(part.len));
                }
            }
        }
        if file.missing.fetch_sub(kept, Ordering::AcqRel) == kept {
            self.complete(file);
        } else {
            self.set_aside_if_crowded(file);
        }
    }

    /// What has to be fetched, pack by pack in the order in which the files want them.
    fn jobs(&self, wanted: &[Mutex<Vec<bool>>]) -> Vec<Job> {
        let index = self.run.reader.index();
        let mut orders: HashMap<PackId, usize> = HashMap::new();
        let mut jobs = Vec::new();
        for (number, (file, wanted)) in self.files.iter().zip(wanted).enumerate() {
            let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            for (part, _) in file.parts.iter().zip(&*wanted).filter(|(_, wanted)| **wanted) {
                let blob = part.blob.into();
                let Some(place) = index.place_of(&blob) else { continue };
                let next = orders.len();
                let order = *orders.entry(place.pack).or_insert(next);
                jobs.push(Job { order, place, blob, file: number, offset: part.offset });
            }
        }
        jobs.sort_unstable_by_key(|job| (job.order, job.place.offset, job.blob, job.file, job.offset));
        jobs
    }

    /// Fetches all that is wanted of one pack and writes it wherever it belongs.
    fn read_pack(&self, jobs: &[Job]) -> Result<(), RestoreError> {
        let Some(first) = jobs.first() else { return Ok(()) };
        let blobs = groups(jobs, |a, b| a.blob == b.blob && a.place == b.place)
            .into_iter()
            .map(|group| (jobs[group.start].blob, jobs[group.start].place, group));
        self.run.reader.pack_blobs(first.place.pack, blobs, |group, blob| {
            self.run.check()?;
            match blob {
                Ok(bytes) => {
                    for job in &jobs[group] {
                        self.write_part(job, bytes);
                    }
                }
                Err(error) => self.lose_part(&jobs[group], error),
            }
            Ok(())
        })
    }

    fn write_part(&self, job: &Job, bytes: &[u8]) {
        let Some(file) = self.files.get(job.file) else { return };
        if let Some(open) = self.acquire(file) {
            let written = open.write_at(job.offset, bytes);
            drop(open); // before the count, so that whoever counts last holds the only one
            match written {
                Ok(()) => self.run.context.tell(&progress(bytes.len() as u64)),
                Err(error) => self.give_up(file, error.into()),
            }
        }
        self.count_down(file);
    }

    /// A part cannot be had: the files that want it stay incomplete.
    fn lose_part(&self, jobs: &[Job], error: ReadError) {
        let mut error = Some(error);
        for job in jobs {
            let Some(file) = self.files.get(job.file) else { continue };
            let source = error.take().unwrap_or(ReadError::Unknown { blob: job.blob });
            if file.item.existing.is_some() {
                // What stands in its place may be better than a file with holes.
                self.give_up(file, Problem::Lost { path: shown(&file.item.path), source: source.into() });
            } else {
                let problem = Problem::Lost { path: shown(&file.item.path), source: source.into() };
                self.run.skip(Stage::Restore, &file.item.path, problem);
                if let Some(open) = self.acquire(file) {
                    self.run.note(&file.item.path, open.set_len(file.len()));
                }
            }
            self.count_down(file);
        }
    }

    fn count_down(&self, file: &File<'_>) {
        if file.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.complete(file);
        } else {
            self.set_aside_if_crowded(file);
        }
    }

    /// The open file, made or opened again if need be; `None` if it was given up.
    fn acquire(&self, file: &File<'_>) -> Option<Arc<TargetFile>> {
        let mut slot = file.slot();
        let opened = match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Closed => return None,
            Slot::Open(open) => {
                *slot = Slot::Open(Arc::clone(&open));
                return Some(open);
            }
            Slot::Fresh => self.create(file),
            Slot::Aside(suspended) => self.target.resume(suspended).map_err(Problem::from),
        };
        match opened {
            Ok(open) => {
                self.open.fetch_add(1, Ordering::Relaxed);
                let open = Arc::new(open);
                *slot = Slot::Open(Arc::clone(&open));
                Some(open)
            }
            Err(problem) => {
                drop(slot);
                self.run.skip(Stage::Restore, &file.item.path, problem);
                None
            }
        }
    }

    fn create(&self, file: &File<'_>) -> Result<TargetFile, Problem> {
        let Item { path, existing, .. } = file.item;
        if existing.as_ref().is_some_and(|existing| existing.kind == NodeKind::Dir) {
            finish::clear(self.run, self.target, path)?;
        }
        let layout: Layout = self.run.options.layout;
        Ok(self.target.create_file(path, file.len(), layout)?)
    }

    /// All parts are written: the file gets its metadata and its name.
    fn complete(&self, file: &File<'_>) {
        let Some(open) = self.acquire(file) else { return };
        *file.slot() = Slot::Closed;
        self.open.fetch_sub(1, Ordering::Relaxed);
        let Item { path, node, .. } = file.item;
        let Some(open) = Arc::into_inner(open) else { return };
        self.run.note(path, open.set_metadata(node, &self.run.options.fidelity));
        match open.commit() {
            Ok(()) => {
                file.is_complete.store(true, Ordering::Release);
                self.run.done(path, file.change(), file.len());
            }
            Err(error) => self.run.skip(Stage::Restore, path, in_the_way(file, error)),
        }
    }

    /// Nothing more is written to a file, and what was is removed.
    fn give_up(&self, file: &File<'_>, problem: Problem) {
        let slot = std::mem::replace(&mut *file.slot(), Slot::Closed);
        match slot {
            Slot::Closed => return, // told already
            Slot::Open(open) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                drop(open);
            }
            Slot::Aside(suspended) => self.target.discard(suspended),
            Slot::Fresh => {}
        }
        self.run.skip(Stage::Restore, &file.item.path, problem);
    }

    /// Closes an unfinished file if too many are open and nobody else writes to it now.
    fn set_aside_if_crowded(&self, file: &File<'_>) {
        if self.open.load(Ordering::Relaxed) <= OPEN_MAX {
            return;
        }
        let mut slot = file.slot();
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Open(open) => match Arc::try_unwrap(open) {
                Ok(open) => {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                    match open.suspend() {
                        Ok(suspended) => *slot = Slot::Aside(suspended),
                        Err(error) => {
                            drop(slot);
                            self.run.skip(Stage::Restore, &file.item.path, error);
                        }
                    }
                }
                Err(open) => *slot = Slot::Open(open),
            },
            other => *slot = other,
        }
    }

    /// After a stop: what is set aside would stay for ever.
    fn discard_unfinished(&self) {
        for file in self.files {
            if let Slot::Aside(suspended) = std::mem::replace(&mut *file.slot(), Slot::Closed) {
                self.target.discard(suspended);
            }
        }
    }
}

/// A directory that cannot be replaced is the common reason.
fn in_the_way(file: &File<'_>, error: TargetError) -> Problem {
    match error.kind() {
        FaultKind::Changed => Problem::InTheWay { path: shown(&file.item.path) },
        _ => error.into(),
    }
}

fn progress(bytes: u64) -> Event<'static> {
    Event::Progress { stage: Stage::Restore, items: 0, bytes }
}

/// The ranges of neighbours that are the same.
pub(super) fn groups<T>(items: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Range<usize>> {
    let mut start = 0;
    items
        .chunk_by(same)
        .map(|chunk| {
            let range = start..start + chunk.len();
            start = range.end;
            range
        })
        .collect()
}
