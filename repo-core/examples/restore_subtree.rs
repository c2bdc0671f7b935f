//! Brings one folder of the latest snapshot back, and shows how far it is.
//!
//! `cargo run -p repo-core --example restore_subtree -- [REPOSITORY [FOLDER [TARGET]]]`
//! Without arguments it restores a folder of a small repository in memory into a temporary folder.

mod common;

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use repo_core::context::{Stage, with_causes};
use repo_core::snapshots::{self, Filter, Wanted};
use repo_core::{Context, Event, Observer, RestoreOptions, restore};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let repository = common::repository(&Context::new(), arguments.next())?;
    let folder = arguments.next().unwrap_or_else(|| "/src/format".into());
    let target = arguments.next().unwrap_or_else(|| scratch.path().join("restored"));

    let context = Context::new().with_observer(Arc::new(Progress::default()));
    let latest = snapshots::find(&context, &repository, &Wanted::LATEST, &Filter::default())?;
    let options = RestoreOptions { folder, scan: true, verify: true, ..RestoreOptions::default() };
    let report = restore(&context, &repository, &latest.snapshot, &target, &options)?;
    for skipped in &report.skipped {
        eprintln!("not restored: {}", with_causes(&skipped.problem));
    }
    let numbers = report.summary;
    println!(
        "{} entries in {}, {} files read back and found right",
        numbers.entries_restored,
        target.display(),
        numbers.files_verified
    );
    if report.skipped.is_empty() { Ok(()) } else { Err("the target is not the whole truth".into()) }
}

/// Says every tenth part of the way. Events come from several threads at once.
#[derive(Default)]
struct Progress(Mutex<Way>);

#[derive(Default)]
struct Way {
    done: u64,
    total: u64,
    tenths_said: u64,
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        let mut way = self.0.lock().expect("no thread panics with it");
        match event {
            Event::Total { stage: Stage::Restore, bytes, .. } => way.total = *bytes,
            Event::Progress { stage: Stage::Restore, bytes, .. } => way.done += bytes,
            _ => return,
        }
        let tenths = (10 * way.done).checked_div(way.total).unwrap_or(0).min(10);
        if tenths > way.tenths_said {
            way.tenths_said = tenths;
            println!("{:>3} %  {} bytes", 10 * tenths, way.done);
        }
    }
}
