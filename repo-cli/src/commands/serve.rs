//! `serve`: the repository for other programs.

#[cfg(feature = "webdav")]
mod files;
#[cfg(feature = "webdav")]
mod guard;
#[cfg(feature = "webdav")]
mod webdav;

use anyhow::Result;

use crate::args::serve::{Serve, ServeAction};
use crate::session::Session;

pub fn run(session: &Session, args: &Serve) -> Result<()> {
    match &args.action {
        Some(ServeAction::Webdav(args)) => webdav(session, args),
        None => {
            super::help::page(session, &["serve".to_owned()]);
            Ok(())
        }
    }
}

#[cfg(feature = "webdav")]
use webdav::run as webdav;

#[cfg(not(feature = "webdav"))]
fn webdav(_: &Session, _: &crate::args::serve::Webdav) -> Result<()> {
    Err(crate::exit::wrong(
        "this larder was built without WebDAV",
        "Build it with the feature `webdav`, or use `larder mount`.",
    ))
}
