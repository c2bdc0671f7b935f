//! Larder's chores. `cargo xtask` alone lists them; each one has its own file.
//!
//! In: one chore and its options. Out: what it did, step by step, and an exit code. Never used by the program.

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a chore reads the clock and the environment; the engine does not"
)]

use std::env;
use std::process::ExitCode;

mod programs; // find programs, start them, measure them
mod step; // a timed step of a chore
mod tree; // make test data
mod setup; // install what the tests need
mod check; // format, lints, documents, licences
mod test; // everything a change must pass
mod compat; // larder and restic on the same repositories
mod bench; // larder and restic against the clock

const HELP: &str = "\
usage: cargo xtask <chore>

  setup               install what the tests need: restic, rsync, ssh, rclone, moto, cargo-nextest, cargo-deny
  check               the quick part: format, lints, documents, licences
  test                everything: setup, check, all tests, document examples, example programs
  compat [PATH]       back PATH up (default /usr) with larder and with restic and compare, both ways round
  bench peers         time larder against restic: first backup, unchanged backup, restore, check
                      (--size 1GiB --files 10000 --runs 3 --folder TMP)
  bench network       time larder against restic over SFTP and S3, near and 15 ms away in each direction
                      (--size 2GiB --delay 15 --runs 1 --folder TMP --s3 s3s-fs --only S3)
  bench prune         time larder's prune against restic's, after many snapshots with churn
                      (--snapshots 50 --files 200000 --churn 2 --folder TMP)

The restic program is the one that LARDER_TEST_RESTIC names, else the one that `setup` brought, else `restic` on the PATH.
";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["setup"] => setup::run(),
        ["check"] => check::run(),
        ["test"] => test::run(),
        ["compat", options @ ..] => compat::run(options),
        ["bench", "peers", options @ ..] => bench::peers::run(options),
        ["bench", "prune", options @ ..] => bench::prune::run(options),
        ["bench", "network", options @ ..] => bench::network::run(options),
        ["measure", command @ ..] => programs::measure_here(command),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(anyhow::anyhow!("no such chore: {}\n\n{HELP}", other.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
