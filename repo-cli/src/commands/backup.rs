//! `backup`: what was typed → one call of the archive → what came of it.

mod several;
mod sources;
mod stream;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use repo_core::backend::DryRunBackend;
use repo_core::context::Context;
use repo_core::fs::metadata::{Atime, ChangeDetection};
use repo_core::fs::source::{LocalSource, Source};
use repo_core::ops::archive::{
    ArchiveError, ArchiveOptions, Destination, Origin, ParentChoice, Report, archive_several,
};
use repo_core::repository::{Repository, WriterOptions};

use crate::args::backup::Backup;
use crate::args::values;
use crate::commands::version::COMPATIBLE;
use crate::exit::wrong;
use crate::patterns;
use crate::select;
use crate::session::Session;
use crate::ui::foremost::{Foremost, OneOf};
use crate::ui::screen::Level;
use crate::ui::views::BackupView;
use several::Place;
use stream::Stream;

pub fn run(session: &Session, args: &Backup) -> Result<()> {
    let options = options(session, args)?;
    let input = sources::choose(session, args)?;
    session.screen.say(Level::Verbose, "open repository");
    let places = several::open(session, args, &session.keyboard(input.takes_stdin()))?;
    let (results, missing) = match input {
        sources::Input::Files { targets, missing } => {
            let source = LocalSource::new();
            (save(session, places, &source, &targets, args, &options), missing)
        }
        sources::Input::Stream(stream) => {
            if places.iter().all(|place| place.repository.is_err()) {
                // Nobody would read what it prints.
                return several::conclude(session, none_opened(places), false, args.dry_run);
            }
            let target = Stream::target(args)?;
            let running = stream.start(session, &target)?;
            let mut results =
                save(session, places, running.source(), std::slice::from_ref(&target), args, &options);
            for (_, result) in &mut results {
                let told = std::mem::replace(result, Err(anyhow::Error::msg("")));
                *result = told.map_err(|error| running.explain(error));
            }
            let saved = results.iter().any(|(_, result)| result.is_ok());
            (results, saved && running.warn_if_empty(session, &target))
        }
    };
    several::conclude(session, results, missing, args.dry_run)
}

fn none_opened(places: Vec<Place>) -> Vec<(String, Result<Report>)> {
    let failed = |place: Place| place.repository.err().map(|error| (place.location, Err(error)));
    places.into_iter().filter_map(failed).collect()
}

/// Saves to all that could be opened; gives a result for each.
fn save(
    session: &Session,
    places: Vec<Place>,
    source: &dyn Source,
    targets: &[PathBuf],
    args: &Backup,
    options: &ArchiveOptions,
) -> Vec<(String, Result<Report>)> {
    let opened: Vec<Repository> = places
        .iter()
        .filter_map(|place| place.repository.as_ref().ok())
        .map(|repository| if args.dry_run { dry(repository) } else { repository.clone() })
        .collect();
    let destinations = destinations(session, &opened, options);
    let shown = targets.iter().map(|target| target.display().to_string()).collect();
    let view = BackupView { targets: shown, scans: options.scan, tells_parent: !args.stdin };
    let drawing = session.progress.show(view);
    let mut reports = archive_several(&session.context, &destinations, source, targets, options).into_iter();
    drop(drawing);
    let result = |Place { location, repository }: Place| match repository {
        Ok(_) => reports.next().map(|report| (location, report.map_err(explain))),
        Err(error) => Some((location, Err(error))),
    };
    places.into_iter().filter_map(result).collect()
}

fn destinations<'r>(
    session: &Session,
    repositories: &'r [Repository],
    options: &ArchiveOptions,
) -> Vec<Destination<'r>> {
    let context = &session.context;
    let [one] = repositories else {
        let memory = context.memory.share(repositories.len());
        let listeners = Foremost::listeners(context.observer.clone(), repositories.len());
        let one = |(repository, listener): (&'r Repository, Arc<OneOf>)| {
            let context = Context { memory, ..context.clone() }.with_observer(listener);
            Destination::new(&context, repository, options)
        };
        return repositories.iter().zip(listeners).map(one).collect();
    };
    vec![Destination::new(context, one, options)]
}

fn explain(error: ArchiveError) -> anyhow::Error {
    match error {
        ArchiveError::NoTarget { .. } => sources::nothing_exists(),
        ArchiveError::Empty => wrong(
            "unable to save snapshot: snapshot is empty",
            "Everything was left out: check the excludes and the paths.",
        ),
        error => error.into(),
    }
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
