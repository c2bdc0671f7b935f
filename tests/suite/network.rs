//! What whole runs of the program over a network hold to: limits of speed, time for each request, memory, silence.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backends::{Location, Options};
use repo_core::Context;
use tests::fixtures::PASSWORD;
use tests::larder::larder;
use tests::program::Call;
use tests::proxy::{Direction, End, Line, Proxy, Trouble};
use tests::repo;
use tests::rest_server::{Manners, RestServer};
use tests::restic::restic;
use tests::servers::{Place, Rclone};
use tests::tree::{Snapshot, assert_same, dir, file, noise};

/// An empty repository with the cheap key of the fixtures.
fn fill(place: &Place) {
    let storage = place.open(&repo::context());
    storage.create().unwrap();
    for (file, content) in repo::in_memory(2).files() {
        storage.write(file, &content).unwrap();
    }
}

fn backup(call: Call, source: &Path) -> Call {
    call.args(["backup", "."]).within(source)
}

#[test]
fn limits_of_speed_hold_over_a_whole_run_however_many_connections_there_are() {
    let server = RestServer::start(Manners::default());
    let place = Place::new(server.location("repository"));
    fill(&place);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    // Several packs, so that several connections are in use.
    dir((0..4).map(|number| (format!("file {number}"), file(noise(5 << 20, number))))).build(&source);
    let (larder, kibibytes) = (larder(), 8 << 10);
    let clock = Context::new().clock;
    // A run may be as much faster as the limit lets through at once, and not more.
    let least = Duration::from_secs_f64(0.8 * 20.0 * 1024.0 / f64::from(kibibytes));

    let begun = clock.elapsed();
    let limit = kibibytes.to_string();
    backup(larder.at(&place).args(["--pack-size", "4", "--limit-upload", &limit]), &source).ok();
    let took = clock.elapsed().saturating_sub(begun);
    assert!(took >= least, "{took:?}");

    let begun = clock.elapsed();
    let target = folder.path().join("target");
    let call = larder.at(&place).args(["--limit-download", &limit, "restore", "latest", "--target"]);
    call.arg(&target).ok();
    let took = clock.elapsed().saturating_sub(begun);
    assert!(took >= least, "{took:?}");
    assert_same(&Snapshot::of(&target), &Snapshot::of(&source));
}

#[test]
fn a_request_that_stands_still_is_given_up_and_made_again() {
    let server = RestServer::start(Manners::default());
    // Once a part of a pack has passed upwards, nothing passes any more on that connection.
    let stalled = Proxy::start(server.address(), Line::default(), |number| {
        let cut = Trouble::Cut { direction: Direction::Up, after: 1 << 20, end: End::Stall };
        (number < 2).then_some(cut)
    });
    let direct = Place::new(server.location("repository"));
    fill(&direct);
    let through = Place::new(format!("rest:http://{}/repository/", stalled.address()));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    dir([("large", file(noise(6 << 20, 1)))]).build(&source);
    let larder = larder();
    let ran = backup(larder.at(&through).args(["--stuck-request-timeout", "1s"]), &source).ok();
    assert!(ran.stderr.contains("retrying"), "{ran}");
    larder.at(&direct).args(["check", "--read-data"]).ok();
}

/// The most memory that a command held, in bytes.
fn peak(call: Call) -> u64 {
    let mut child = call.spawn();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    // What the system keeps of it only grows, so the last look before the end is the right one.
    while child.try_wait().unwrap().is_none() {
        let said = fs::read_to_string(&status).unwrap_or_default();
        let line = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        most = most.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0) << 10);
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    most
}

#[test]
fn a_backup_to_a_bucket_takes_little_more_memory_than_one_to_a_folder() {
    let server = Rclone::serve_s3();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    dir((0..8).map(|number| (format!("file {number}"), file(noise(20 << 20, number))))).build(&source);
    let local = Place::new(folder.path().join("repository").to_str().unwrap());
    let bucket = server.place("repository");
    let larder = larder();
    let [here, there] = [&local, &bucket].map(|place| {
        fill(place);
        peak(backup(larder.at(place), &source))
    });
    let more = there.saturating_sub(here) >> 20;
    assert!(here > 0 && more <= 100, "{} MiB and {} MiB", here >> 20, there >> 20);
}

#[test]
fn a_limit_of_memory_holds_for_backup_check_restore_and_copy() {
    const LIMIT: u64 = 160 << 20;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    dir((0..8).map(|number| (format!("file {number}"), file(noise(40 << 20, number))))).build(&source);
    let [place, copy] =
        ["repository", "copy"].map(|name| Place::new(folder.path().join(name).to_str().unwrap()));
    fill(&place);
    fill(&copy);
    let larder = larder();
    let limited = |place: &Place| larder.at(place).args(["--memory-limit", "160m"]);
    let target = folder.path().join("target");
    let from = place.location.clone();
    let peaks = [
        ("backup", peak(backup(limited(&place), &source))),
        ("check", peak(limited(&place).args(["check", "--read-data"]))),
        ("restore", peak(limited(&place).args(["restore", "latest", "--target"]).arg(&target))),
        (
            "copy",
            peak(
                limited(&copy).args(["copy", "--from-repo"]).arg(from).env("RESTIC_FROM_PASSWORD", PASSWORD),
            ),
        ),
    ];
    for (command, peak) in peaks {
        assert!(peak > 0 && peak <= LIMIT, "{command}: {} MiB", peak >> 20);
    }
    assert_same(&Snapshot::of(&target), &Snapshot::of(&source));
}

/// Where restic's own list of extended options has its settings, and a location of each kind.
const KINDS: [(&str, &str); 9] = [
    ("azure", "azure:container:/path"),
    ("b2", "b2:bucket:path"),
    ("gs", "gs:bucket:/path"),
    ("local", "/path"),
    ("rclone", "rclone:remote:path"),
    ("rest", "rest:http://host/"),
    ("s3", "s3:host/bucket"),
    ("sftp", "sftp:host:path"),
    ("swift", "swift:container:/path"),
];

#[test]
fn every_extended_option_of_restic_is_known() {
    let listed = restic().command().arg("options").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{listed}");
    // Some builds of restic leave Azure out.
    for name in names.into_iter().chain(["azure.connections", "azure.access-tier"]) {
        let kind = name.split('.').next().unwrap();
        let (_, location) =
            KINDS.iter().find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("no kind for {name}"));
        let location: Location = location.parse().unwrap();
        let options = Options::parse([format!("{name}=1")]).unwrap();
        options.check(&location).unwrap_or_else(|error| panic!("{name}: {error}"));
        let wrong = Options::parse([format!("{name}-not=1")]).unwrap();
        assert!(wrong.check(&location).is_err(), "{name}-not");
    }
}
