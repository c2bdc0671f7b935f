//! Repositories on a `WebDAV` server, through the opendal library.

use std::cell::Cell;

use repo_core::backend::conformance::{self, Scale, Subject};
use repo_core::context::Context;
use tests::servers::Rclone;

#[test]
fn every_promise_is_kept_on_a_webdav_server() {
    let server = Rclone::serve_webdav();
    let count = Cell::new(0);
    let make = || {
        count.set(count.get() + 1);
        Subject::new(server.place(&format!("repository-{}", count.get())).open(&Context::new()))
    };
    conformance::check(make, Scale::Quick);
}
