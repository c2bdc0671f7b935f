//! `restore --into`: one file onto a device, into an image or a pipe, in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use repo_core::filter::clean;
use repo_core::format::json::Object;
use repo_core::fs::sink::{ImageSink, Sink, StreamSink};
use repo_core::ops::restore::{SinkError, SinkOptions, SinkReport, restore_to_sink};
use repo_core::repository::LockKind;
use repo_core::walk;

use crate::args::restore::Restore;
use crate::commands::ls::heading;
use crate::exit::wrong;
use crate::select::{self, Paths};
use crate::session::Session;
use crate::ui::amount::{bytes, clock};
use crate::ui::escape::visible;
use crate::ui::screen::Level;
use crate::ui::views::RestoreView;

pub fn run(session: &Session, args: &Restore, into: &Path) -> Result<()> {
    let (id, file) = typed(args)?;
    if args.dry_run && args.verify {
        return Err(wrong("--dry-run and --verify are mutually exclusive", "Leave out one of them."));
    }
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let filter = select::filter(session, &args.filter, Paths::Absolute);
    let stored = select::one(session, &repository, id, &filter)?;
    let reader = repository.reader(&session.context)?;
    let Some(node) = walk::lookup(&reader, stored.snapshot.tree, &file)? else { return Err(no_file()) };
    let sink = open(into, args.dry_run)?;
    let shown = visible(into.as_os_str().as_encoded_bytes());
    let heading = heading(&stored, &session.settings.zone);
    session.screen.say(Level::Normal, format!("restoring {} of {heading} into {shown}", file.display()));

    let options = SinkOptions { thaw: session.thaw()?, verify: args.verify, dry_run: args.dry_run };
    let start = session.context.clock.elapsed();
    let drawing = session.progress.show(RestoreView::default());
    let report = restore_to_sink(&session.context, &reader, &file, &node, sink.as_ref(), &options);
    drop(drawing);
    let report = report.map_err(explained)?;
    tell(session, &report, session.context.clock.elapsed().saturating_sub(start));
    if report.is_verified {
        session.screen.say(Level::Normal, format!("read {shown} back and found it right"));
    }
    Ok(())
}

/// The snapshot and the file in it.
fn typed(args: &Restore) -> Result<(&str, PathBuf)> {
    let [typed] = &args.snapshots[..] else { return Err(no_file()) };
    let (id, file) = select::split(typed);
    let file = Path::new("/").join(file.trim_start_matches('/'));
    if clean(file.as_os_str().as_encoded_bytes()) == b"/" {
        return Err(no_file());
    }
    Ok((id, file))
}

fn no_file() -> anyhow::Error {
    wrong(
        "--into takes one file of one snapshot",
        "Write `larder restore SNAPSHOT:FILE --into PATH`; `larder ls SNAPSHOT` shows the files.",
    )
}

/// What the file goes into. A dry run makes nothing.
fn open(path: &Path, dry_run: bool) -> Result<Box<dyn Sink>> {
    let kind = path.metadata().map(|meta| meta.file_type());
    match kind {
        Ok(kind) if kind.is_fifo() || kind.is_char_device() => {
            if dry_run {
                return Ok(Box::new(StreamSink::new(path, io::sink())));
            }
            let pipe = File::options().write(true).open(path);
            let pipe = pipe.with_context(|| format!("cannot open {}", path.display()))?;
            Ok(Box::new(StreamSink::new(path, pipe)))
        }
        Err(error) if dry_run && error.kind() == io::ErrorKind::NotFound => {
            Ok(Box::new(StreamSink::new(path, io::sink())))
        }
        _ => Ok(Box::new(ImageSink::open(path)?)),
    }
}

fn explained(error: SinkError) -> anyhow::Error {
    match error {
        SinkError::Kind { .. } => {
            wrong(error.to_string(), "A folder is restored with --target, or dumped as an archive.")
        }
        SinkError::TooSmall { .. } => {
            wrong(error.to_string(), "Nothing was written. Take a larger device, or a file.")
        }
        SinkError::Differs { .. } => {
            wrong(error.to_string(), "Look at the device's health, then run the same again.")
        }
        error => error.into(),
    }
}

fn tell(session: &Session, report: &SinkReport, duration: Duration) {
    let SinkReport { bytes_written, bytes_zeroed, bytes_kept, .. } = *report;
    let restored = bytes_written + bytes_zeroed;
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "summary").number_unless_zero("seconds_elapsed", duration.as_secs());
        object.number("total_files", 1_u32).number_unless_zero("files_restored", u64::from(restored > 0));
        object.number_unless_zero("files_skipped", u64::from(restored == 0));
        object.number_unless_zero("total_bytes", restored).number_unless_zero("bytes_restored", restored);
        object.number_unless_zero("bytes_zeroed", bytes_zeroed);
        object.number_unless_zero("bytes_skipped", bytes_kept);
        object.end();
        return session.screen.line(String::from_utf8_lossy(&line));
    }
    session.screen.line(format!(
        "Summary: Wrote {}, made {} zero, kept {} that were right, in {}",
        bytes(bytes_written),
        bytes(bytes_zeroed),
        bytes(bytes_kept),
        clock(duration)
    ));
}
