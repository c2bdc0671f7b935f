//! Servers that answer with errors, late, short, twice or not at all, by chance and by name.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::http_proxy::{HttpProxy, Misdeed, Request};
use tests::servers::Rclone;
use tests::trouble::{bad_server, for_seeds};

use super::{Bench, chain, must_succeed};

fn bad_servers(test: &str, bench: &Bench, seeds: std::ops::Range<u64>) {
    for_seeds(test, seeds, |seed| {
        let proxy = bad_server(seed, bench.address);
        let name = format!("server-{seed}");
        must_succeed(&name, bench.run(&name, proxy.address(), seed, seed % 5 == 0));
        assert!(proxy.requests() > 5, "{name} went another way");
    });
}

#[test]
fn s3_on_bad_servers() {
    bad_servers("s3_on_bad_servers", &Bench::rclone(Rclone::serve_s3()), 200..230);
}

#[test]
fn rest_on_bad_servers() {
    bad_servers("rest_on_bad_servers", &Bench::rest(), 600..625);
}

#[test]
fn rest_by_rclone_on_bad_servers() {
    bad_servers("rest_by_rclone_on_bad_servers", &Bench::rclone(Rclone::serve_restic()), 650..660);
}

#[test]
fn webdav_on_bad_servers() {
    bad_servers("webdav_on_bad_servers", &Bench::rclone(Rclone::serve_webdav()), 700..720);
}

#[test]
fn rclone_on_bad_servers() {
    bad_servers("rclone_on_bad_servers", &Bench::rclone_child(), 800..806);
}

/// Every misdeed of a server by its name.
fn named_misdeeds(bench: &Bench) {
    let cases = [
        ("500", Misdeed::Answer(500, None)),
        ("503", Misdeed::Answer(503, Some(3))),
        ("429", Misdeed::Answer(429, Some(1))),
        ("400", Misdeed::Answer(400, None)),
        ("reset", Misdeed::Reset),
        ("lost-answer", Misdeed::LoseAnswer),
        ("twice", Misdeed::Twice),
        ("truncated", Misdeed::Truncate),
        ("stalled", Misdeed::Stall),
        ("late", Misdeed::Late(Duration::from_millis(100))),
    ];
    befall(bench, &cases);
}

/// Each of these befalls three requests in a row of each method.
fn befall(bench: &Bench, cases: &[(&str, Misdeed)]) {
    for (seed, (name, misdeed)) in (2000..).zip(cases.iter().copied()) {
        let mut seen = BTreeMap::<String, u32>::new();
        let proxy = HttpProxy::start(bench.address, move |request: &Request| {
            let count = seen.entry(request.method.clone()).or_default();
            *count += 1;
            (2..5).contains(count).then_some(misdeed)
        });
        must_succeed(name, bench.run(name, proxy.address(), seed, false));
        assert!(proxy.misdeeds() > 3, "{name}: {}", proxy.misdeeds());
    }
}

/// A server that lies about a length cannot be worked with, but it does no harm, and is told apart from damage of
/// what it stores only on a good line.
fn lies_about_lengths(bench: &Bench, packs: &'static str) {
    let proxy = HttpProxy::start(bench.address, move |request: &Request| {
        (request.method == "GET" && request.path.contains(packs)).then_some(Misdeed::Shorten)
    });
    let error = bench.run("wrong-length", proxy.address(), 2100, true).unwrap_err();
    assert!(chain(&*error).len() > 20, "{}", chain(&*error));
}

#[test]
fn s3_with_each_misdeed_of_a_server() {
    let bench = Bench::rclone(Rclone::serve_s3());
    named_misdeeds(&bench);
    lies_about_lengths(&bench, "/data/");
}

#[test]
fn rest_with_each_misdeed_of_a_server() {
    let bench = Bench::rest();
    named_misdeeds(&bench);
    lies_about_lengths(&bench, "/data/");
}

#[test]
fn webdav_with_each_misdeed_of_a_server() {
    let bench = Bench::rclone(Rclone::serve_webdav());
    named_misdeeds(&bench);
    lies_about_lengths(&bench, "/data/");
}

/// Those that rclone does not sit out by itself for minutes.
#[test]
fn rclone_with_misdeeds_of_its_storage() {
    let cases = [("500", Misdeed::Answer(500, None)), ("reset", Misdeed::Reset), ("twice", Misdeed::Twice)];
    befall(&Bench::rclone_child(), &cases);
}
