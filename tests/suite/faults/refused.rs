//! What no repeat can mend: wrong credentials, a wrong host, a missing bucket, a wrong clock. A clear error at once,
//! nothing repeated for minutes, and no secret in it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use repo_core::context::{Cancel, Cancelled, Clock, Context, SystemClock};
use repo_core::repository::{LockError, LockKind, LockOptions, OpenOptions, Password, Repository};
use repo_core::time::Timestamp;
use tests::fixtures::PASSWORD;
use tests::http_proxy::{HttpProxy, Misdeed, Request};
use tests::larder::larder;
use tests::repo;
use tests::servers::{Moto, Place, Rclone, Sshd};
use tests::trouble::hurried;

use super::{Bench, STALL_TIMEOUT, chain, connect};

/// Opens a repository that cannot be opened; what it says. `limit` is how long that may take.
fn refused(what: &str, place: &Place, limit: Duration) -> String {
    let context = hurried();
    let before = context.clock.elapsed();
    let opened = connect(&context, place, STALL_TIMEOUT).and_then(|storage| {
        Ok(Repository::open(&context, storage, &Password::new(PASSWORD), &OpenOptions::default())?)
    });
    let error = opened.map(drop).expect_err(what);
    let (spent, told) = (context.clock.elapsed().saturating_sub(before), chain(&*error));
    assert!(spent < limit, "{what} took {spent:?}: {told}");
    assert!(!told.contains("larder-test-secret") && !told.contains("pass-word"), "{what}: {told}");
    told
}

fn says(what: &str, place: &Place, words: &str) {
    let told = refused(what, place, Duration::from_secs(20));
    assert!(told.to_lowercase().contains(words), "{what}: {told}");
}

#[test]
fn a_bucket_that_refuses_is_believed_at_once() {
    let s3 = Rclone::serve_s3();
    let mut wrong_secret = s3.place("none");
    wrong_secret.variables[1].1 = "another secret".to_owned();
    says("wrong secret", &wrong_secret, "signaturedoesnotmatch");
    let mut no_bucket = s3.place("none");
    no_bucket.location = no_bucket.location.replace("/bucket/", "/no-bucket/");
    says("missing bucket", &no_bucket, "no repository");
    says("no repository", &s3.place("none"), "no repository");
}

#[test]
fn an_ssh_server_that_refuses_is_believed_at_once() {
    let sshd = Sshd::start();
    says("no repository", &sshd.place("none"), "no repository");
    let key = fs::read(sshd.client_key()).unwrap();
    fs::remove_file(sshd.client_key()).unwrap();
    says("no key", &sshd.place("none"), "login");
    fs::write(sshd.client_key(), key).unwrap();
    let known = fs::read_to_string(sshd.known_hosts()).unwrap();
    fs::write(sshd.known_hosts(), known.replacen("AAAA", "AAAB", 1)).unwrap();
    says("wrong host key", &sshd.place("none"), "host key");
}

#[test]
fn other_servers_that_refuse_are_believed_at_once() {
    let rest = Rclone::serve_restic_with_password();
    says("no repository", &rest.place("none"), "no repository");
    let mut stranger = rest.place("none");
    stranger.variables[1].1 = "another".to_owned();
    says("wrong password", &stranger, "401");
    let webdav = Rclone::serve_webdav();
    says("no folder", &webdav.place("none"), "no repository");
    says("no repository behind rclone", &webdav.child_through(webdav.address(), "none"), "no repository");
    let missing = Place::new("rclone:no-such-remote:x")
        .option(&*Rclone::child(fs::canonicalize("/").unwrap().as_path()).options[0]);
    says("missing remote", &missing, "rclone");
}

/// What a server of S3 says to a request is final where it says why, and tried again for seconds where it does not:
/// a request that was cut on its way looks the same.
#[test]
fn a_refusal_with_a_reason_is_final_and_one_without_is_fought_for_seconds() {
    let server = Moto::start();
    let check = |misdeed, words: &str, requests: std::ops::RangeInclusive<u64>| {
        let proxy = HttpProxy::start(server.address(), move |_: &Request| Some(misdeed));
        let place = server.place_through(proxy.address(), "none");
        let told = refused(words, &place, Duration::from_secs(45));
        assert!(told.contains(words), "{told}");
        assert!(requests.contains(&proxy.requests()), "{words}: {} requests", proxy.requests());
    };
    check(Misdeed::Refuse(400, "InvalidRequest"), "400 InvalidRequest", 1..=2);
    check(Misdeed::Refuse(403, "RequestTimeTooSkewed"), "clock is wrong", 1..=2);
    check(Misdeed::Answer(400, None), "400", 5..=10);
}

#[test]
fn the_program_names_a_wrong_clock_in_two_lines() {
    let server = Moto::start();
    let proxy =
        HttpProxy::start(server.address(), |_: &Request| Some(Misdeed::Refuse(403, "RequestTimeTooSkewed")));
    let larder = larder();
    let ran = larder.at(&server.place_through(proxy.address(), "none")).arg("snapshots").run();
    assert!(ran.code == 1 && ran.stderr.contains("this machine's clock is wrong"), "{ran}");
    assert!(ran.stderr.lines().count() <= 2, "{ran}");
}

/// A machine whose clock is wrong by that many seconds.
struct Wrong(SystemClock, i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let now = self.0.now();
        Timestamp { seconds: now.seconds + self.1, ..now }
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        self.0.sleep(span, cancel)
    }
}

/// Locks are respected whatever time they tell, in both directions, on a server whose clock is a third one.
#[test]
fn locks_hold_between_machines_whose_clocks_differ() {
    let bench = Bench::sftp(Sshd::start());
    bench.place("skew");
    let place = bench.way(bench.address, "skew");
    let machine = |seconds| Context { clock: Arc::new(Wrong(SystemClock::new(), seconds)), ..Context::new() };
    let opened = || repo::open(place.open(&Context::new()));
    for (theirs, ours) in [(-2400, 0), (2400, 0), (0, -2400), (0, 2400), (-86_400, 86_400)] {
        for kind in [LockKind::Exclusive, LockKind::Shared] {
            let (there, here) = (opened(), opened());
            let held = there.lock(&machine(theirs), kind, &LockOptions::default()).unwrap();
            let error = here.lock(&machine(ours), LockKind::Exclusive, &LockOptions::default()).unwrap_err();
            assert!(matches!(error, LockError::Locked { .. }), "{error}");
            drop(held);
            here.lock(&machine(ours), LockKind::Exclusive, &LockOptions::default()).unwrap();
        }
    }
}
