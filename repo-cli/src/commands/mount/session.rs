//! From a view to a mounted folder, and to its end.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fuser::{BackgroundSession, Config, MountOption, Session as Fuse, SessionACL};
use repo_core::repository::LockKind;
use repo_core::view::ViewOptions;

use super::filesystem::Files;
use crate::args::mount::Mount;
use crate::browse;
use crate::exit::wrong;
use crate::session::Session;

/// Answers that are worked on at the same time, where the storage finds no more useful.
const THREADS_MIN: usize = 4;
/// How often to look whether it was ended.
const LOOK: Duration = Duration::from_millis(100);

/// Shows the repository in a folder until a signal or `umount` ends that.
pub(super) fn serve(session: &Session, args: &Mount, dir: &Path, options: ViewOptions) -> Result<()> {
    let (repository, _lock) = session.open_locked(LockKind::Shared)?;
    let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let owner = if args.owner_root { (0, 0) } else { owner };
    let options = ViewOptions { owner, all_owned: args.owner_root, ..options };
    let view = browse::view(session, &repository, options)?;
    let threads = repository.backend().properties().connections.max(THREADS_MIN);

    let files = Files::new(session, view);
    let mounted = Fuse::new(files, dir, &config(args, threads)).and_then(Fuse::spawn);
    let mounted = mounted.map_err(|error| not_mounted(dir, &error))?;
    browse::greet(
        session,
        "mounted",
        &dir.display().to_string(),
        &[
            "Use another terminal or tool to browse the contents of this folder.",
            "When finished, quit with Ctrl-c here or umount the mountpoint.",
        ],
    );
    while !mounted.guard.is_finished() && session.context.cancel.wait(LOOK).is_ok() {}
    end(session, dir, mounted)
}

fn config(args: &Mount, threads: usize) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::FSName("larder".to_owned()),
        MountOption::Subtype("larder".to_owned()),
    ];
    if args.allow_other {
        config.acl = SessionACL::All;
        if !args.no_default_permissions {
            config.mount_options.push(MountOption::DefaultPermissions);
        }
    }
    config.n_threads = Some(threads);
    config
}

fn not_mounted(dir: &Path, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "FUSE is missing: install the package fuse3.",
        io::ErrorKind::PermissionDenied => {
            "The folder must be yours and /dev/fuse open to you; --allow-other needs `user_allow_other` in \
             /etc/fuse.conf."
        }
        _ => "`larder serve webdav` shows the same folders without mounting.",
    };
    wrong(format!("cannot mount on {}: {error}", dir.display()), remedy)
}

/// Takes the folder away; a signal is how this command is meant to end, so that is no failure.
fn end(session: &Session, dir: &Path, mounted: BackgroundSession) -> Result<()> {
    if mounted.guard.is_finished() {
        return mounted.join().map_err(|error| wrong(format!("the mount broke: {error}"), "Mount it again."));
    }
    let Err(error) = mounted.umount_and_join() else { return Ok(()) };
    // Somebody is still inside: the folder goes now, and what they have open fails once we are gone.
    rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH).map_err(|_| {
        wrong(
            format!("cannot unmount {}: {error}", dir.display()),
            format!("Take it away by hand: fusermount3 -u {}", dir.display()),
        )
    })?;
    session.screen.warn(format!("{} was still in use; what was open there has ended", dir.display()));
    Ok(())
}
