//! `backup`: what was typed → one call of the archive → what came of it.

mod sources;
mod stream;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use repo_core::backend::DryRunBackend;
use repo_core::fs::metadata::{Atime, ChangeDetection};
use repo_core::fs::source::{LocalSource, Source};
use repo_core::ops::archive::{ArchiveError, ArchiveOptions, Origin, ParentChoice, Report, archive};
use repo_core::repository::{Repository, WriterOptions};

use crate::args::backup::Backup;
use crate::args::values;
use crate::commands::version::COMPATIBLE;
use crate::exit::{Code, Told, wrong};
use crate::patterns;
use crate::select;
use crate::session::Session;
use crate::ui::screen::Level;
use crate::ui::views::BackupView;
use stream::Stream;

pub fn run(session: &Session, args: &Backup) -> Result<()> {
    let options = options(session, args)?;
    let input = sources::choose(session, args)?;
    session.screen.say(Level::Verbose, "open repository");
    let repository =
        session.open_with(&session.settings.repository, &session.keyboard(input.takes_stdin()))?;
    let repository = if args.dry_run { dry(&repository) } else { repository };
    let (report, missing) = match input {
        sources::Input::Files { targets, missing } => {
            let source = LocalSource::new();
            (save(session, &repository, &source, &targets, args, &options)?, missing)
        }
        sources::Input::Stream(stream) => {
            let target = Stream::target(args)?;
            let running = stream.start(session, &target)?;
            let report =
                save(session, &repository, running.source(), std::slice::from_ref(&target), args, &options);
            let report = report.map_err(|error| running.explain(error))?;
            (report, running.warn_if_empty(session, &target))
        }
    };
    summary::print(session, &report, args.dry_run);
    if report.skipped.is_empty() && !missing {
        return Ok(());
    }
    let told = Told {
        what: "at least one source file could not be read".to_owned(),
        remedy: "The snapshot holds all the rest; the lines above name what is missing.".to_owned(),
        code: Code::Partial,
    };
    Err(told.into())
}

fn save(
    session: &Session,
    repository: &Repository,
    source: &dyn Source,
    targets: &[PathBuf],
    args: &Backup,
    options: &ArchiveOptions,
) -> Result<Report> {
    let shown = targets.iter().map(|target| target.display().to_string()).collect();
    let view = BackupView { targets: shown, scans: options.scan, tells_parent: !args.stdin };
    let drawing = session.progress.show(view);
    let report = archive(&session.context, repository, source, targets, options);
    drop(drawing);
    report.map_err(|error| match error {
        ArchiveError::NoTarget { .. } => sources::nothing_exists(),
        ArchiveError::Empty => wrong(
            "unable to save snapshot: snapshot is empty",
            "Everything was left out: check the excludes and the paths.",
        ),
        error => error.into(),
    })
}

/// The repository with a storage that keeps nothing.
fn dry(repository: &Repository) -> Repository {
    repository.with_backend(Arc::new(DryRunBackend::new(repository.backend().clone())))
}

fn options(session: &Session, args: &Backup) -> Result<ArchiveOptions> {
    let settings = &session.settings;
    let writer = WriterOptions {
        compression: settings.compression,
        pack_size: settings.pack_size()?,
        verify: settings.extra_verify,
    };

    let mut origin = Origin::this_process();
    let host = args.host.clone().or_else(|| args.hostname.clone()).filter(|host| !host.is_empty());
    if let Some(host) = host.or_else(|| settings.host.clone()) {
        origin.hostname = host;
    }
    let time = args.time.as_deref().map(|time| values::snapshot_time(time, &settings.zone)).transpose();
    let time =
        time.map_err(|error| wrong(format!("error in time option: {error}"), "See `larder help backup`."))?;

    Ok(ArchiveOptions {
        changed: None,
        // A dry run writes nothing, its lock included.
        lock: session.lock_options().filter(|_| !args.dry_run),
        cwd: std::env::current_dir().context("cannot find out the current folder")?,
        origin,
        time,
        tags: args.tags.iter().flat_map(|tags| values::tags(tags)).filter(|tag| !tag.is_empty()).collect(),
        excludes_on_record: args
            .leave_out
            .patterns
            .exclude
            .iter()
            .map(|pattern| pattern.to_string_lossy().into_owned())
            .collect(),
        select: Arc::new(patterns::leave_out(session, &args.leave_out)?),
        one_file_system: args.one_file_system,
        parent: match &args.parent {
            _ if args.force || args.stdin => ParentChoice::None,
            Some(id) => ParentChoice::This(select::wanted(select::split(id).0)),
            None => ParentChoice::Newest(args.group_by),
        },
        change: ChangeDetection {
            ignore_ctime: args.ignore_ctime || args.ignore_inode,
            ignore_inode: args.ignore_inode,
        },
        atime: if args.with_atime { Atime::Keep } else { Atime::AsMtime },
        read_concurrency: args
            .read_concurrency
            .or(settings.read_concurrency)
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| *count > 0)
            .unwrap_or(2),
        scan: !args.no_scan && !args.stdin && !args.stdin_from_command && session.progress.is_watched(),
        skip_if_unchanged: args.skip_if_unchanged,
        writer,
        program_version: format!("larder {} (restic {COMPATIBLE} compatible)", env!("CARGO_PKG_VERSION")),
    })
}
