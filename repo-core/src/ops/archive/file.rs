//! Readers: files → batches of chunks.
//!
//! A reader fills an arena with many small files, or with a piece of a large one, and finds the cuts while the bytes are
//! still in the cache. It reads once, whoever wants the file: into the arena of the first lane, and what came there is
//! copied to the others.

use std::iter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::chunker::Chunker;
use crate::context::{Cancelled, Event};
use crate::format::Node;
use crate::fs::metadata::{EntryMeta, to_node};
use crate::fs::source::{Cuts, OpenFile, Piece};
use crate::fs::{FaultKind, SourceError};
use crate::ops::archive::batch::{ArenaSize, FileAtWork, Place};
use crate::ops::archive::known::Known;
use crate::ops::archive::lane::{Cutting, Filler, Stopped};
use crate::ops::archive::report::Problem;
use crate::ops::archive::run::{FileJob, Run};

impl Run<'_> {
    /// The story of a reader.
    pub(super) fn read_files(&self) -> Result<(), Cancelled> {
        let fillers = (0..self.lanes.len()).map(|lane| Filler::new(self, lane)).collect();
        let mut reader = FileReader { run: self, fillers };
        loop {
            // Nobody shall wait for a batch whose reader waits for more files.
            let job = match self.files.try_pop() {
                Some(job) => job,
                None if reader.flush().is_err() => break,
                None => match self.files.pop() {
                    Some(job) => job,
                    None => break,
                },
            };
            self.context.cancel.check()?;
            if reader.read(job).is_err() {
                break;
            }
        }
        self.reader_ends();
        Ok(())
    }
}

/// A reader's hands.
struct FileReader<'r, 'a> {
    run: &'r Run<'a>,
    /// By lane.
    fillers: Vec<Filler<'r, 'a>>,
}

/// A file to be cut in one lane, for those who cut alike.
struct Part {
    lane: usize,
    /// If not as the lane cuts.
    chunker: Option<Chunker>,
    known: Known,
    file: Arc<FileAtWork>,
}

impl FileReader<'_, '_> {
    /// Reads one file into batches. An error of the file ends the file, not the run.
    fn read(&mut self, mut job: FileJob) -> Result<(), Stopped> {
        job.places.retain(|place| !self.run.drafts[place.draft].is_over());
        if job.places.is_empty() {
            return Ok(());
        }
        let path = job.path.clone();
        self.run.context.tell(&Event::Started { path: &path });
        let result = self.read_file(job);
        self.run.context.tell(&Event::Finished { path: &path });
        result
    }

    fn read_file(&mut self, job: FileJob) -> Result<(), Stopped> {
        let run = self.run;
        let FileJob { name, path, places } = job;
        let since = run.context.clock.elapsed();
        let drafts: Vec<usize> = places.iter().map(|place| place.draft).collect();
        let skip = |problem: Problem| run.skip(drafts.iter().copied(), &path, problem);
        let mut open = match run.source.open(&path) {
            Ok(open) => open,
            Err(error) => {
                skip(error.into());
                for place in places {
                    if let Some((slot, _)) = place.take() {
                        run.drafts[place.draft].fill(slot, None);
                    }
                }
                return Ok(());
            }
        };
        let meta = open.meta().clone();
        let xattrs = open.xattrs();
        if let Some(problem) = xattrs.problem {
            skip(problem.into());
        }
        let node = to_node(name, &meta, xattrs.found, &run.context.zone, &run.names, run.options.atime);
        let parts = self.parts(node, places, since, open.as_ref());
        let is_large = ArenaSize::for_file(meta.size) == ArenaSize::Large;
        let permit = is_large.then(|| run.large_files.take(1));
        let result = self.read_parts(&parts, meta.size, open.as_mut());
        drop(permit);
        let result = result?;
        match &result {
            Ok(read) => look_again(&path, &meta, open.as_mut(), *read, skip),
            Err(error) => skip(error.clone().into()),
        }
        for Part { file, lane, .. } in parts {
            let is_done = if result.is_ok() { file.end() } else { file.fail() };
            if is_done {
                run.finish_file(&file);
            }
            self.fillers[lane].end()?;
        }
        Ok(())
    }

    /// Who cuts the file alike, together.
    fn parts(&self, node: Node, places: Vec<Place>, since: Duration, open: &dyn OpenFile) -> Vec<Part> {
        let run = self.run;
        let fixed = match open.cuts() {
            Cuts::AsRepository => None,
            Cuts::Every(len) => Some(len),
        };
        let mut groups: Vec<(usize, Option<Chunker>, Vec<Place>)> = Vec::new();
        for place in places {
            let lane = run.lane_of[place.draft];
            let max_len = run.lanes[lane].chunker.max_len();
            let chunker = fixed.map(|len| Chunker::fixed(len, max_len));
            // Pieces of one length are the same for all repositories.
            let is_alike =
                |(other, cuts, _): &&mut (usize, Option<Chunker>, Vec<Place>)| match (&chunker, cuts) {
                    (Some(own), Some(theirs)) => own.max_len() == theirs.max_len(),
                    _ => *other == lane,
                };
            match groups.iter_mut().find(is_alike) {
                Some((_, _, places)) => places.push(place),
                None => groups.push((lane, chunker, vec![place])),
            }
        }
        let is_alone = groups.len() == 1;
        let nodes = iter::repeat_n(node, groups.len());
        let part = |((lane, chunker, places), node): ((usize, Option<Chunker>, Vec<Place>), Node)| {
            // What one lane need not read, another may want.
            let known = if is_alone { Known::of(&run.drafts, &places, open) } else { Known::default() };
            Part { lane, chunker, known, file: FileAtWork::new(node, places, since) }
        };
        groups.into_iter().zip(nodes).map(part).collect()
    }

    /// Reads a file to its end and gives the number of bytes, or the file's own error.
    fn read_parts(
        &mut self,
        parts: &[Part],
        size: u64,
        open: &mut dyn OpenFile,
    ) -> Result<Result<u64, SourceError>, Stopped> {
        let lanes = &self.run.lanes;
        let mut cuttings = Vec::with_capacity(parts.len());
        for Part { lane, chunker, known, file } in parts {
            let chunker = chunker.as_ref().unwrap_or(lanes[*lane].chunker);
            let mut cutting = Cutting::new(*lane, chunker, known, file);
            self.fillers[*lane].begin(&mut cutting, size)?;
            cuttings.push(cutting);
        }
        let Some((first, others)) = cuttings.split_first_mut() else { return Ok(Ok(0)) };
        let result = self.read_content(first, others, open)?;
        if result.is_err() {
            for cutting in &cuttings {
                self.fillers[cutting.lane].drop_rest(cutting)?;
            }
        }
        Ok(result)
    }

    fn read_content(
        &mut self,
        first: &mut Cutting<'_>,
        others: &mut [Cutting<'_>],
        open: &mut dyn OpenFile,
    ) -> Result<Result<u64, SourceError>, Stopped> {
        // Where the source stands.
        let mut at = 0;
        loop {
            let filler = &mut self.fillers[first.lane];
            filler.take_over(first)?;
            let wanted = filler.position(first)?;
            if at != wanted {
                if let Err(error) = open.seek(wanted) {
                    return Ok(Err(error));
                }
                at = wanted;
            }
            let piece = match open.read(filler.room(first)?) {
                Ok(piece) => piece,
                Err(error) => return Ok(Err(error)),
            };
            at += match piece {
                Piece::Data(len) => len as u64,
                Piece::Hole(len) => len,
                Piece::End => 0,
            };
            for other in others.iter_mut() {
                self.pass_on(first.lane, other, piece)?;
            }
            self.fillers[first.lane].take(first, piece)?;
            if piece == Piece::End && first.known.at(first.offset).is_none() {
                return Ok(Ok(first.offset));
            }
        }
    }

    /// Gives another lane what has just come into the first one's room.
    fn pass_on(&mut self, first: usize, to: &mut Cutting<'_>, piece: Piece) -> Result<(), Stopped> {
        let Piece::Data(len) = piece else { return self.fillers[to.lane].take(to, piece) };
        let [from, filler] = self.fillers.get_disjoint_mut([first, to.lane]).map_err(|_| Stopped)?;
        filler.copy(to, from.written(len)?)
    }

    /// Hands all batches over to the workers.
    fn flush(&mut self) -> Result<(), Stopped> {
        self.fillers.iter_mut().try_for_each(Filler::flush)
    }
}

/// Tells a file that became longer or shorter while it was read.
fn look_again(path: &Path, meta: &EntryMeta, open: &mut dyn OpenFile, read: u64, skip: impl Fn(Problem)) {
    if read == meta.size {
        return;
    }
    // Files of the kernel have made-up sizes, but no new times.
    let changed = match open.stat_again() {
        Ok(now) => now.size != meta.size || now.mtime != meta.mtime,
        Err(error) if error.kind() == FaultKind::Vanished => true,
        Err(_) => false,
    };
    if changed {
        skip(Problem::SizeChanged { path: path.to_owned(), expected: meta.size, read });
    }
}
