//! Lines that are cut, stall, are refused or slow, by chance and by name.

use std::time::Duration;

use tests::proxy::{Direction, End, Line, Proxy, Trouble};
use tests::servers::{Rclone, Sshd};
use tests::trouble::{bad_line, for_seeds};

use super::{Bench, must_succeed};

fn bad_lines(test: &str, bench: &Bench, seeds: std::ops::Range<u64>) {
    for_seeds(test, seeds, |seed| {
        let proxy = bad_line(seed, bench.address);
        let name = format!("line-{seed}");
        must_succeed(&name, bench.run(&name, proxy.address(), seed, seed % 5 == 0));
    });
}

#[test]
fn sftp_over_bad_lines() {
    bad_lines("sftp_over_bad_lines", &Bench::sftp(Sshd::start()), 0..24);
}

/// Seed 163 once ended with "the server answers 400": a request that was cut on its way is no wrong request.
#[test]
fn s3_over_bad_lines() {
    bad_lines("s3_over_bad_lines", &Bench::rclone(Rclone::serve_s3()), 130..170);
}

#[test]
fn rest_over_bad_lines() {
    bad_lines("rest_over_bad_lines", &Bench::rest(), 300..330);
}

#[test]
fn webdav_over_bad_lines() {
    bad_lines("webdav_over_bad_lines", &Bench::rclone(Rclone::serve_webdav()), 400..420);
}

#[test]
fn rclone_over_bad_lines() {
    bad_lines("rclone_over_bad_lines", &Bench::rclone_child(), 500..506);
}

/// Every kind of trouble by its name.
fn named_troubles(bench: &Bench) {
    let cut = |direction, after, end| Trouble::Cut { direction, after, end };
    let cases = [
        ("reset-in-upload", cut(Direction::Up, 100_000, End::Reset)),
        ("reset-in-download", cut(Direction::Down, 20_000, End::Reset)),
        ("early-end-in-upload", cut(Direction::Up, 100_000, End::Close)),
        ("early-end-in-download", cut(Direction::Down, 20_000, End::Close)),
        ("stall-in-upload", cut(Direction::Up, 100_000, End::Stall)),
        ("stall-in-download", cut(Direction::Down, 20_000, End::Stall)),
        ("reset-at-once", cut(Direction::Up, 10, End::Reset)),
        ("end-in-the-head", cut(Direction::Up, 40, End::Close)),
        ("away", Trouble::Refuse),
    ];
    befall(bench, &cases);
    // A line that is slow, but goes on, is no reason to give up.
    let slow = Line { one_way: Duration::from_millis(5), bytes_per_second: Some(1 << 20) };
    let proxy = Proxy::quiet(bench.address, slow);
    must_succeed("slow", bench.run("slow", proxy.address(), 1100, true));
}

/// Each of these befalls the first three connections.
fn befall(bench: &Bench, cases: &[(&str, Trouble)]) {
    for (seed, (name, trouble)) in (1000..).zip(cases.iter().copied()) {
        let proxy =
            Proxy::start(bench.address, Line::default(), move |number| (number < 3).then_some(trouble));
        must_succeed(name, bench.run(name, proxy.address(), seed, false));
    }
}

#[test]
fn sftp_with_each_trouble_of_a_line() {
    named_troubles(&Bench::sftp(Sshd::start()));
}

#[test]
fn s3_with_each_trouble_of_a_line() {
    named_troubles(&Bench::rclone(Rclone::serve_s3()));
}

#[test]
fn rest_with_each_trouble_of_a_line() {
    named_troubles(&Bench::rest());
}

#[test]
fn webdav_with_each_trouble_of_a_line() {
    named_troubles(&Bench::rclone(Rclone::serve_webdav()));
}

/// Those that rclone does not sit out by itself for long.
#[test]
fn rclone_with_troubles_of_the_line_to_its_storage() {
    let cut = |direction, after, end| Trouble::Cut { direction, after, end };
    let cases = [
        ("reset-in-upload", cut(Direction::Up, 100_000, End::Reset)),
        ("early-end-in-upload", cut(Direction::Up, 100_000, End::Close)),
        ("reset-in-download", cut(Direction::Down, 20_000, End::Reset)),
    ];
    befall(&Bench::rclone_child(), &cases);
}
