//! What comes after the files of a batch: reading them back, hard links, links, pipes and devices, and the
//! directories below which nothing follows.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::context::{Change, Event, Stage};
use crate::format::NodeKind;
use crate::fs::target::Target;
use crate::fs::{FaultKind, TargetError};
use crate::ops::restore::RestoreError;
use crate::ops::restore::existing::is_right;
use crate::ops::restore::plan::{Item, LeftDir};
use crate::ops::restore::report::Problem;
use crate::ops::restore::run::{Run, shown};
use crate::ops::restore::write::File;

/// Finishes a batch whose files are complete.
pub(super) fn finish(
    run: &Run<'_>,
    links: &[(Item, PathBuf)],
    others: &[Item],
    left: &[LeftDir],
) -> Result<(), RestoreError> {
    run.each(links, |(item, first)| {
        let made = make(run, item, |target| target.hard_link(first, &item.path));
        run.note(&item.path, made);
        Ok(())
    })?;
    run.each(others, |item| {
        let made = make_other(run, item);
        run.note(&item.path, made);
        Ok(())
    })?;
    for dir in left {
        run.check()?;
        leave(run, dir);
    }
    Ok(())
}

/// Reads the files of a batch back and compares them with their names.
pub(super) fn verify(run: &Run<'_>, files: &[File<'_>]) -> Result<(), RestoreError> {
    let complete: Vec<&File<'_>> =
        files.iter().filter(|file| file.is_complete.load(Ordering::Acquire)).collect();
    run.each(&complete, |file| {
        let path = &file.item.path;
        let Some(target) = run.readable() else { return Ok(()) };
        let read_back = target.open_file(path).and_then(|open| {
            let mut buffer = Vec::new();
            let same_len = open.meta()?.size == file.len();
            Ok(same_len && file.parts.iter().all(|part| is_right(&open, part, &mut buffer)))
        });
        match read_back {
            Ok(true) => {
                run.verified();
                run.context.tell(&Event::Progress { stage: Stage::Verify, items: 1, bytes: file.len() });
            }
            Ok(false) => run.skip(Stage::Verify, path, Problem::Differs { path: shown(path) }),
            Err(error) => run.skip(Stage::Verify, path, error),
        }
        Ok(())
    })
}

fn make_other(run: &Run<'_>, item: &Item) -> Result<(), Problem> {
    let Item { path, node, existing } = item;
    let fidelity = &run.options.fidelity;
    let stays = existing.as_ref().is_some_and(|existing| {
        node.kind == NodeKind::Symlink
            && existing.kind == NodeKind::Symlink
            && existing.link_target == node.link_target
    });
    if stays {
        run.done(path, Change::Unchanged, 0);
        return Ok(run.writable().map_or(Ok(()), |target| target.set_metadata(path, node, fidelity))?);
    }
    make(run, item, |target| {
        match node.kind {
            NodeKind::Symlink => target.symlink(path, &node.link_target)?,
            _ => target.create_special(path, &node.kind, node.device)?,
        }
        target.set_metadata(path, node, fidelity)
    })
}

/// Makes an entry where nothing or something else stands.
fn make(
    run: &Run<'_>,
    item: &Item,
    make: impl FnOnce(&Target) -> Result<(), TargetError>,
) -> Result<(), Problem> {
    let Item { path, existing, .. } = item;
    if let Some(target) = run.writable() {
        if existing.as_ref().is_some_and(|existing| existing.kind == NodeKind::Dir) {
            clear(run, target, path)?;
        }
        make(target)?;
    }
    let change = if existing.is_some() { Change::Changed } else { Change::New };
    run.done(path, change, 0);
    Ok(())
}

/// Removes a directory that stands where something else belongs; one with entries only if deleting is wanted.
pub(super) fn clear(run: &Run<'_>, target: &Target, path: &Path) -> Result<(), Problem> {
    let removed = if run.may_delete() { target.remove(path) } else { target.remove_single(path) };
    removed.map_err(|error| match error.kind() {
        FaultKind::Denied => error.into(),
        _ => Problem::InTheWay { path: shown(path) },
    })
}

/// Removes what a directory should not have, then gives it its metadata.
fn leave(run: &Run<'_>, dir: &LeftDir) {
    let LeftDir { path, node, is_new, names } = dir;
    if let Some(names) = names
        && run.may_delete()
    {
        delete_others(run, path, |name| names.contains(name));
    }
    let Some(node) = node else { return };
    if let Some(target) = run.writable() {
        run.note(path, target.set_metadata(path, node, &run.options.fidelity));
    }
    run.done(path, if *is_new { Change::New } else { Change::Changed }, 0);
}

fn delete_others(run: &Run<'_>, dir: &Path, is_known: impl Fn(&OsString) -> bool) {
    let Some(target) = run.readable() else { return };
    let listed = match target.list(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == FaultKind::Vanished => return, // of a dry run
        Err(error) => return run.skip(Stage::Restore, dir, error),
    };
    for (name, kind) in listed.into_iter().filter(|(name, _)| !is_known(name)) {
        let path = dir.join(&name);
        if !run.options.selection.check(shown(&path).as_os_str().as_bytes()).entry {
            continue;
        }
        let below = if kind == NodeKind::Dir { all_below(target, &path) } else { Vec::new() };
        let removed = run.writable().map_or(Ok(()), |target| target.remove(&path));
        match removed {
            Ok(()) => below.iter().chain([&path]).for_each(|path| run.done(path, Change::Removed, 0)),
            Err(error) => run.skip(Stage::Restore, &path, error),
        }
    }
}

/// Everything below a directory, deepest first as far as it matters: each behind what is below it.
fn all_below(target: &Target, dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        // What cannot be listed cannot be removed either; the removal tells.
        for (name, kind) in target.list(&dir).unwrap_or_default() {
            let path = dir.join(name);
            if kind == NodeKind::Dir {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.reverse();
    found
}
