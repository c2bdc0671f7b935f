//! TLS through the program: whose certificates are believed, and what it says when one is not.

use std::path::Path;

use tempfile::TempDir;
use tests::larder::larder;
use tests::program::{Call, Program, Ran};
use tests::restic::restic;
use tests::servers::{Authority, Place, Rclone};
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// A server with a certificate, and the files that its clients need.
struct Sealed {
    server: Rclone,
    papers: TempDir,
    larder: Program,
}

impl Sealed {
    /// With `asks` it lets in only who shows a certificate.
    fn start(asks: bool) -> Self {
        let papers = tempfile::tempdir().unwrap();
        let folder = papers.path();
        let ours = Authority::new("ours");
        ours.save(folder, "ours.pem");
        ours.issue("client", folder, "client.pem");
        let other = Authority::new("others");
        other.save(folder, "others.pem");
        other.issue("client", folder, "stranger.pem");
        let server = Rclone::serve_restic_over_tls(&ours, asks);
        Self { server, papers, larder: larder() }
    }

    fn place(&self) -> Place {
        self.server.place("repository")
    }

    fn paper(&self, name: &str) -> std::path::PathBuf {
        self.papers.path().join(name)
    }

    /// larder with these options, each with the paper of that name.
    fn call(&self, papers: &[(&str, &str)]) -> Call {
        let call = self.larder.at(&self.place());
        papers.iter().fold(call, |call, (option, name)| call.arg(option).arg(self.paper(name)))
    }
}

/// A failure in two lines: what happened, and what to do. A server's word about a certificate may come too late for the
/// first request, which is then tried again.
fn says(ran: &Ran, what: &str, advice: &str) {
    let mut lines = ran.stderr.lines().rev();
    let (last, before) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(ran.code == 1 && before.contains(what) && last.contains(advice), "{ran}");
    assert!(lines.all(|line| line.contains("retrying")), "{ran}");
}

fn backup(call: Call, source: &Path) {
    call.args(["backup", "."]).within(source).ok();
}

#[test]
fn a_server_is_believed_if_its_authority_is() {
    let sealed = Sealed::start(false);
    let source = tempfile::tempdir().unwrap();
    dir([("noise", file(noise(300_000, 1)))]).build(source.path());
    let ours = [("--cacert", "ours.pem")];
    sealed.call(&ours).arg("init").ok();
    backup(sealed.call(&ours), source.path());
    let target = tempfile::tempdir().unwrap();
    sealed.call(&ours).args(["restore", "latest", "--target"]).arg(target.path()).ok();
    assert_same(&Snapshot::of(target.path()), &Snapshot::of(source.path()));
    sealed.call(&ours).args(["check", "--read-data"]).ok();

    // By variable, among others, and with the eyes shut.
    sealed.call(&[]).env("RESTIC_CACERT", sealed.paper("ours.pem")).arg("snapshots").ok();
    sealed.call(&[("--cacert", "others.pem"), ("--cacert", "ours.pem")]).arg("snapshots").ok();
    sealed.call(&[]).args(["--insecure-tls", "snapshots"]).ok();
    let theirs = restic();
    theirs.at(&sealed.place()).arg("--cacert").arg(sealed.paper("ours.pem")).arg("check").ok();

    for papers in [&[][..], &[("--cacert", "others.pem")]] {
        says(&sealed.call(papers).arg("snapshots").run(), "certificate of localhost", "--cacert");
    }
    says(&sealed.call(&[("--cacert", "nowhere.pem")]).arg("snapshots").run(), "nowhere.pem", "--cacert");
    // Another name for the same machine is another server.
    let mut elsewhere = sealed.place();
    elsewhere.location = elsewhere.location.replace("localhost", "127.0.0.1");
    let ran =
        sealed.larder.at(&elsewhere).arg("--cacert").arg(sealed.paper("ours.pem")).arg("snapshots").run();
    says(&ran, "certificate of 127.0.0.1", "--cacert");
    let mut open = sealed.place();
    open.location = open.location.replace("https:", "http:");
    let ran = sealed.larder.at(&open).arg("snapshots").run();
    assert!(ran.code == 1 && ran.stderr.contains("400"), "{ran}");
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_one() {
    let sealed = Sealed::start(true);
    let source = tempfile::tempdir().unwrap();
    dir([("noise", file(noise(300_000, 1)))]).build(source.path());
    let both = [("--cacert", "ours.pem"), ("--tls-client-cert", "client.pem")];
    sealed.call(&both).arg("init").ok();
    backup(sealed.call(&both), source.path());
    let variable = sealed.paper("client.pem");
    sealed.call(&both[..1]).env("RESTIC_TLS_CLIENT_CERT", variable).args(["check", "--read-data"]).ok();
    let restic = restic();
    let call = restic.at(&sealed.place()).arg("--cacert").arg(sealed.paper("ours.pem"));
    call.arg("--tls-client-cert").arg(sealed.paper("client.pem")).args(["check", "--read-data"]).ok();
    for papers in [&both[..1], &[both[0], ("--tls-client-cert", "stranger.pem")]] {
        says(&sealed.call(papers).arg("snapshots").run(), "client certificate", "--tls-client-cert");
    }
    let ran = sealed.call(&[both[0], ("--tls-client-cert", "ours.pem")]).arg("snapshots").run();
    says(&ran, "ours.pem", "--tls-client-cert");
}
