//! `mount`: the repository as a folder, until a signal or `umount` ends it.

#[cfg(all(feature = "mount", target_os = "linux"))]
mod filesystem;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod known;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod session;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use backends::Location;

use crate::args::mount::Mount;
use crate::browse;
use crate::exit::wrong;
use crate::session::Session;

pub fn run(session: &Session, args: &Mount) -> Result<()> {
    let [dir] = &args.words[..] else {
        return Err(wrong(
            "wrong number of parameters",
            "Name the empty folder in which the repository is to appear.",
        ));
    };
    let dir = Path::new(dir);
    let time_template = args.snapshot_template.as_ref().unwrap_or(&args.templates.time_template);
    let options = browse::options(session, &args.templates, time_template)?;
    refuse_unusable(dir)?;
    refuse_circle(&Session::location(&session.settings.repository)?, dir)?;
    serve(session, args, dir, options)
}

#[cfg(all(feature = "mount", target_os = "linux"))]
use session::serve;

#[cfg(not(all(feature = "mount", target_os = "linux")))]
fn serve(_: &Session, _: &Mount, _: &Path, _: repo_core::view::ViewOptions) -> Result<()> {
    Err(wrong(
        "this larder cannot mount",
        "`larder serve webdav` shows the same folders, and every system can open them.",
    ))
}

fn refuse_unusable(dir: &Path) -> Result<()> {
    let shown = dir.display();
    match dir.metadata() {
        Ok(data) if data.is_dir() => Ok(()),
        Ok(_) => Err(wrong(format!("mountpoint {shown} is not a directory"), "Name an empty folder.")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(wrong(format!("mountpoint {shown} does not exist"), format!("Make it: mkdir {shown}")))
        }
        // What a mount leaves behind whose program was killed.
        Err(error) if error.kind() == ErrorKind::NotConnected => Err(wrong(
            format!("mountpoint {shown} still shows a repository whose program has ended"),
            format!("Take it away first: umount {shown}"),
        )),
        Err(error) => {
            Err(wrong(format!("mountpoint {shown} cannot be used: {error}"), "Name an empty folder."))
        }
    }
}

/// Whoever reads a repository through itself waits for themselves.
fn refuse_circle(location: &Location, dir: &Path) -> Result<()> {
    const REMEDY: &str = "Name a folder apart from the repository.";
    const WHY: &str = "refusing to mount, because reading it would wait for itself";
    let Location::Local(repository) = location else { return Ok(()) };
    let (repository, dir) = (browse::real(repository), browse::real(dir));
    let (shown, place) = (repository.display(), dir.display());
    if repository == dir {
        return Err(wrong(format!("mountpoint {place} is the local repository directory; {WHY}"), REMEDY));
    }
    if dir.starts_with(&repository) {
        return Err(wrong(
            format!("mountpoint {place} is inside the local repository {shown}; {WHY}"),
            REMEDY,
        ));
    }
    if repository.starts_with(&dir) {
        return Err(wrong(
            format!("local repository directory {shown} is inside the mountpoint {place}; {WHY}"),
            REMEDY,
        ));
    }
    Ok(())
}
