//! Which call of a scenario meets which fault.
//!
//! In: the calls of a clean run, as lines of its log. Out: every single fault, and a fixed sample of pairs. Runs nothing.

use std::fmt;

use repo_core::backend::{ErrorKind, Fault};
use tests::trouble::Random;

/// What happens in one trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// At which call what goes wrong.
    pub(super) first: (u64, Fault),
    /// Whether failed calls are repeated, as they are on every real storage.
    pub(super) retried: bool,
    /// What goes wrong when the same command is run again.
    pub(super) then: Option<(u64, Fault)>,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, fault) = self.first;
        write!(f, "{call} {fault:?}")?;
        if self.retried {
            f.write_str(" retried")?;
        }
        self.then.map_or(Ok(()), |(call, fault)| write!(f, ", then {call} {fault:?}"))
    }
}

/// Bytes that torn files keep; the last one is all but one.
const KEPT: [usize; 4] = [0, 1, 100, usize::MAX];
/// After so many calls a late repetition arrives; the last one is after the end.
const LATE: [u64; 2] = [1, u64::MAX];

/// Whether a fault leaves torn files.
pub(super) fn tears(fault: Fault) -> bool {
    matches!(fault, Fault::Tear(_) | Fault::TearAndFreeze(_))
}

/// Whether a fault makes the storage tell something else than what is there.
pub(super) fn lies(fault: Fault) -> bool {
    let unseen = Fault::FailBefore(ErrorKind::NotFound);
    matches!(fault, Fault::Lag | Fault::Linger | Fault::LeaveOut(_)) || fault == unseen
}

/// What can go wrong with a call, by a line of the log.
fn faults(call: &str) -> Vec<Fault> {
    let fails = |kind| Fault::FailBefore(kind);
    let transient = ErrorKind::Transient;
    let mut faults = vec![
        Fault::FreezeBefore,
        Fault::FreezeAfter,
        fails(transient),
        fails(ErrorKind::Denied),
        Fault::FailAfter(transient),
    ];
    let operation = call.split(' ').nth(1).unwrap_or_default();
    match operation {
        "write" => {
            faults.push(fails(ErrorKind::Full));
            faults.extend(LATE.map(Fault::Again));
            // A config is replaced at once or not at all; storage that cannot do that says so.
            if !call.contains("write config") {
                faults.extend(KEPT.map(Fault::Tear));
                faults.extend(KEPT.map(Fault::TearAndFreeze));
            }
        }
        "remove" => faults.extend(LATE.map(Fault::Again)),
        "read" => {
            let flips = [9, 555, u64::MAX].map(Fault::FlipBit);
            let lengths = [Fault::CutTo(0), Fault::CutTo(40), Fault::Extend(5)];
            let others = [Fault::Exchange, Fault::Linger, Fault::Lag, fails(ErrorKind::NotFound)];
            faults.extend(flips.into_iter().chain(lengths).chain(others));
        }
        "list" => {
            faults.extend([Fault::Lag, Fault::Linger, Fault::ListTwice]);
            faults.extend([0, 1, 2].map(Fault::LeaveOut));
        }
        "look" => faults.extend([Fault::Lag, Fault::Linger, fails(ErrorKind::NotFound)]),
        _ => {}
    }
    faults
}

/// What can go wrong and be mended by trying again.
fn passing(call: &str) -> Vec<Fault> {
    let mut faults = vec![
        Fault::FailBefore(ErrorKind::Transient),
        Fault::FailAfter(ErrorKind::Transient),
        Fault::Throttle(1),
    ];
    if call.contains(" write ") && !call.contains("write config") {
        faults.push(Fault::Tear(1));
    }
    faults
}

fn numbered(calls: &[String]) -> impl Iterator<Item = (u64, &String)> {
    (1..).zip(calls)
}

/// Every call with every fault.
pub(super) fn singles(calls: &[String]) -> Vec<Point> {
    let mut points = Vec::new();
    for (number, call) in numbered(calls) {
        let with = |retried| move |fault| Point { first: (number, fault), retried, then: None };
        points.extend(faults(call).into_iter().map(with(false)));
        points.extend(passing(call).into_iter().map(with(true)));
    }
    points
}

/// Some pairs of faults, the same in every run.
pub(super) fn pairs(name: &str, calls: &[String], count: u64) -> Vec<Point> {
    let mut random = Random::new(name.bytes().fold(7, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte)));
    let singles: Vec<Point> = singles(calls).into_iter().filter(|point| !point.retried).collect();
    let mut one = || singles[usize::try_from(random.below(singles.len() as u64)).unwrap()];
    (0..count).map(|_| Point { then: Some(one().first), ..one() }).collect()
}
