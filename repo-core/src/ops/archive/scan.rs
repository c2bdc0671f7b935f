//! The scanner: counts files and bytes ahead of the backup, so that progress knows its end.
//!
//! Looks only, and only at what will be archived. What cannot be read is the walker's to report. Ends as soon as
//! the backup does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::{Event, Silent, Stage};
use crate::format::NodeKind;
use crate::fs::source::targets::TargetNode;
use crate::fs::source::{Detail, Links};
use crate::ops::archive::run::Run;

/// Directories between two messages.
const DIRECTORIES_PER_MESSAGE: u64 = 64;

/// What was counted so far.
#[derive(Default)]
struct Count {
    files: u64,
    bytes: u64,
}

impl Run<'_> {
    /// The story of the scanner.
    pub(super) fn scan(&self, targets: impl IntoIterator<Item = (OsString, TargetNode)>) {
        self.context.tell(&Event::Begin { stage: Stage::Scan, total: 0, bytes: 0 });
        let mut count = Count::default();
        let mut directories = Vec::new();
        let mut waypoints: Vec<TargetNode> = targets.into_iter().map(|(_, target)| target).collect();
        while let Some(target) = waypoints.pop() {
            if target.is_whole() {
                self.count_target(target.path, &mut directories, &mut count);
            } else {
                waypoints.extend(target.children.into_values());
            }
        }
        let mut done = 0;
        while let Some(directory) = directories.pop() {
            if self.is_over() || self.context.cancel.is_cancelled() {
                return;
            }
            self.count_entries(&directory, &mut directories, &mut count);
            done += 1;
            if done % DIRECTORIES_PER_MESSAGE == 0 {
                self.tell_total(Stage::Scan, &count);
            }
        }
        self.tell_total(Stage::Scan, &count);
        self.tell_total(Stage::Archive, &count);
        self.context.tell(&Event::End { stage: Stage::Scan });
    }

    fn tell_total(&self, stage: Stage, count: &Count) {
        self.context.tell(&Event::Total { stage, total: count.files, bytes: count.bytes });
    }

    fn count_target(&self, path: PathBuf, directories: &mut Vec<PathBuf>, count: &mut Count) {
        let Ok(meta) = self.source.stat(&path, Links::Keep) else { return };
        match meta.kind {
            NodeKind::Dir => directories.push(path),
            NodeKind::File => count.add(meta.size, self.options.select.file_bytes_max()),
            _ => {}
        }
    }

    fn count_entries(&self, directory: &Path, directories: &mut Vec<PathBuf>, count: &mut Count) {
        let select = self.options.select.as_ref();
        let Ok(listing) = self.source.list(directory, Detail::Metadata) else { return };
        // What is odd about a marker is told once, by the backup itself.
        let quiet = self.context.clone().with_observer(Arc::new(Silent));
        if select.marker(&quiet, directory, &listing.entries, self.source).is_some() {
            return;
        }
        for entry in listing.entries {
            let path = directory.join(&entry.name);
            let is_dir = entry.kind == Some(NodeKind::Dir);
            if select.leaves_out(&path, is_dir) {
                continue;
            }
            let leaves_file_system = || {
                let device = entry.meta.as_ref().map(|meta| meta.device);
                self.options.one_file_system && device.is_some_and(|device| device != listing.meta.device)
            };
            match (&entry.kind, &entry.meta) {
                (Some(NodeKind::Dir), _) if !leaves_file_system() => directories.push(path),
                (Some(NodeKind::File), Some(meta)) => count.add(meta.size, select.file_bytes_max()),
                _ => {}
            }
        }
    }
}

impl Count {
    fn add(&mut self, bytes: u64, bytes_max: Option<u64>) {
        if bytes_max.is_none_or(|max| bytes <= max) {
            self.files += 1;
            self.bytes += bytes;
        }
    }
}
