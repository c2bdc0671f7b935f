//! `version`: which program this is, and which restic it stands in for.

use repo_core::format::json::Object;

use crate::session::Session;

/// The restic whose behaviour this program has; wrappers look for `restic (number)` and demand a minimum.
pub const COMPATIBLE: &str = "0.19.1";

const OURS: &str = env!("CARGO_PKG_VERSION");

pub fn run(session: &Session) {
    let (os, arch) = (std::env::consts::OS, go_arch());
    if session.settings.json {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.string("message_type", "version").string("version", COMPATIBLE);
        object.string("go_version", "").string("go_os", os).string("go_arch", arch);
        object.string("program", "larder").string("larder_version", OURS);
        object.end();
        session.screen.bytes(&line);
        session.screen.line("");
        return;
    }
    session.screen.line(format!("larder {OURS}"));
    session.screen.line(format!("restic {COMPATIBLE} compatible (larder {OURS} on {os}/{arch})"));
}

/// The processor as Go, and so the field's readers, name it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
