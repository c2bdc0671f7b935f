//! No real time passes: the clock is wound by whoever sleeps.

use std::sync::Mutex;

use super::*;
use crate::backend::conformance::{self, Scale, Subject};
use crate::backend::{Fault, FaultBackend, MemoryBackend, Rule};
use crate::context::{Cancelled, Clock, HandClock, with_causes};
use crate::hash::sha256;

struct Place {
    memory: Arc<MemoryBackend>,
    faults: Arc<FaultBackend>,
    clock: Arc<HandClock>,
    context: Context,
    told: Arc<Mutex<Vec<String>>>,
    retry: RetryBackend,
}

/// A config of four bytes below a plan of faults below a patient backend.
fn place(rules: impl IntoIterator<Item = Rule>) -> Place {
    let memory = Arc::new(MemoryBackend::with_files([(FileId::CONFIG, b"four".to_vec())]));
    let faults = Arc::new(FaultBackend::over_memory(memory.clone(), rules));
    let clock = Arc::new(HandClock::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = told.clone();
        move |event: &Event<'_>| {
            let line = match event {
                Event::Retry { error, attempt, .. } => format!("retry {attempt}: {error}"),
                Event::Recovered { attempts, error } => format!("recovered after {attempts}: {error}"),
                other => format!("{other:?}"),
            };
            told.lock().unwrap().push(line);
        }
    };
    let context = Context { clock: clock.clone(), ..Context::new() }.with_observer(Arc::new(observer));
    let retry = RetryBackend::new(faults.clone(), &context, RetryOptions::default());
    Place { memory, faults, clock, context, told, retry }
}

fn file(content: &[u8]) -> FileId {
    FileId { kind: FileKind::Pack, id: sha256(content) }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn with_a_failure_in_every_other_call_every_promise_is_kept() {
    for fault in [Fault::FailBefore(ErrorKind::Transient), Fault::FailAfter(ErrorKind::TimedOut)] {
        let make = || {
            let rules = (1..4000).step_by(2).map(|n| Rule::nth(n, fault));
            let faults = FaultBackend::new(Arc::new(MemoryBackend::new()), rules);
            let context = Context { clock: Arc::new(HandClock::new()), ..Context::new() };
            // Threads sleep at the same time, but wind the clock one after the other.
            let options =
                RetryOptions { give_up_after: Duration::from_hours(1000), ..RetryOptions::default() };
            Subject::new(Arc::new(RetryBackend::new(Arc::new(faults), &context, options)))
        };
        conformance::check(make, Scale::Quick);
    }
}

#[test]
fn the_kind_of_a_failure_decides_how_long_it_is_fought() {
    use ErrorKind::*;
    let check = |kind, least: Duration, most: Duration| {
        let place = place([Rule::every(Fault::FailBefore(kind))]);
        assert_eq!(place.retry.size(FileId::CONFIG).unwrap_err().kind(), kind);
        let spent = place.clock.elapsed();
        assert!(least <= spent && spent <= most, "{kind:?}: {spent:?}");
        assert_eq!(place.faults.calls(), 1 + place.clock.sleeps().len() as u64, "{kind:?}");
    };
    for passing in [Throttled, TimedOut, Transient] {
        check(passing, Duration::from_mins(15), Duration::from_mins(15));
    }
    check(Other, Duration::from_millis(7500), Duration::from_millis(22_500));
    for lasting in [NotFound, Exists, Denied, Full, TooShort, TooLong, Cold, Config] {
        check(lasting, Duration::ZERO, Duration::ZERO);
    }
}

#[test]
fn pauses_double_up_to_a_minute_and_differ() {
    let place = place([Rule::every(Fault::FailBefore(ErrorKind::Transient))]);
    place.retry.list(FileKind::Pack).unwrap_err();
    let sleeps = place.clock.sleeps();
    for (at, pause) in sleeps[..sleeps.len() - 1].iter().enumerate() {
        let base = seconds(60.min(1 << at.min(6)));
        assert!(base / 2 <= *pause && *pause <= seconds(60).min(base * 3 / 2), "{at}: {pause:?}");
    }
    assert!(sleeps.len() > 15, "{sleeps:?}");
    let long: Vec<_> = sleeps.iter().filter(|pause| **pause >= seconds(30)).collect();
    assert!(long.windows(2).any(|pair| pair[0] != pair[1]), "chance has a say: {long:?}");
}

#[test]
fn what_the_storage_asks_for_is_kept() {
    let asked = place([Rule::nth(1, Fault::Throttle(90)).on(Operation::Remove)]);
    asked.retry.remove(FileId::CONFIG).unwrap();
    assert_eq!(asked.clock.sleeps(), [seconds(90)]);
    let too_much = place([Rule::nth(1, Fault::Throttle(3600))]);
    assert_eq!(too_much.retry.size(FileId::CONFIG).unwrap_err().wait(), Some(seconds(3600)));
    assert_eq!(too_much.clock.elapsed(), Duration::ZERO, "waiting longer than we would try is no use");
}

#[test]
fn every_retry_is_told_and_so_is_the_recovery() {
    let place = place([1, 2].map(|n| Rule::nth(n, Fault::FailBefore(ErrorKind::TimedOut))));
    place.retry.size(FileId::CONFIG).unwrap();
    place.retry.size(FileId::CONFIG).unwrap();
    let error = "cannot look up config: timed out";
    let expected =
        [format!("retry 1: {error}"), format!("retry 2: {error}"), format!("recovered after 2: {error}")];
    assert_eq!(*place.told.lock().unwrap(), expected);
}

#[test]
fn a_cancelled_run_repeats_nothing_but_still_calls_once() {
    let place = place([Rule::every(Fault::FailBefore(ErrorKind::Transient)).on(Operation::Size)]);
    place.context.cancel.cancel();
    let error = place.retry.size(FileId::CONFIG).unwrap_err();
    assert_eq!(place.faults.calls(), 1);
    assert!(with_causes(&error).ends_with(&Cancelled.to_string()), "{error}");
    place.retry.remove(FileId::CONFIG).unwrap();
    assert!(place.memory.files().is_empty(), "a lock can still be taken away");
}

#[test]
fn a_torn_write_is_written_anew() {
    let place = place([1, 2].map(|n| Rule::nth(n, Fault::Tear(3)).on(Operation::Write)));
    place.retry.write(file(b"whole"), b"whole").unwrap();
    assert_eq!(place.memory.files()[&file(b"whole")], b"whole");
}

#[test]
fn an_answer_that_got_lost_is_found_out_by_what_is_there() {
    let lost = Rule::nth(1, Fault::FailAfter(ErrorKind::Transient)).on(Operation::Write);
    let torn = Rule::nth(1, Fault::Tear(2)).on(Operation::Write);
    let not_done = Rule::nth(1, Fault::FailBefore(ErrorKind::Transient)).on(Operation::Write);
    let check = |first, then, subject: FileId, content: &[u8], expected: Result<(), ErrorKind>| {
        let again = Rule::from(1, Fault::FailBefore(then)).on(Operation::Write);
        // The first rule has the first call, and the second one all the others.
        let place = place([first, again]);
        let result = place.retry.write(subject, content).map_err(|error| error.kind());
        assert_eq!(result, expected, "{first:?}, then {then:?}");
    };
    let (pack, config) = (file(b"whole"), FileId::CONFIG);
    for refused in [ErrorKind::Exists, ErrorKind::Denied] {
        check(lost, refused, pack, b"whole", Ok(()));
        check(lost, refused, config, b"new!", Ok(()));
        check(torn, refused, pack, b"whole", Err(refused));
        check(not_done, refused, pack, b"whole", Err(refused));
        check(not_done, refused, config, b"new!", Err(refused));
    }
    let first = Rule::every(Fault::FailBefore(ErrorKind::Exists)).on(Operation::Write);
    let place = place([first]);
    place.memory.insert(pack, b"whole".to_vec());
    assert_eq!(
        place.retry.write(pack, b"whole").unwrap_err().kind(),
        ErrorKind::Exists,
        "what was not tried before is not believed"
    );
}

#[test]
fn a_removal_whose_answer_got_lost_is_done() {
    let place = place([
        Rule::nth(1, Fault::FailAfter(ErrorKind::Transient)).on(Operation::Remove),
        Rule::nth(2, Fault::FailBefore(ErrorKind::NotFound)).on(Operation::Remove),
    ]);
    place.retry.remove(FileId::CONFIG).unwrap();
    assert!(place.memory.files().is_empty());
}

#[test]
fn what_was_written_here_is_waited_for_until_it_is_seen() {
    let lagging = || place((1..=3).map(|n| Rule::nth(n, Fault::Lag).on(Operation::Read)));
    let mut buffer = Vec::new();
    let seen = lagging();
    seen.retry.write(file(b"whole"), b"whole").unwrap();
    seen.retry.read(file(b"whole"), 1..5, &mut buffer).unwrap();
    assert_eq!((buffer.as_slice(), seen.clock.sleeps().len()), (&b"hole"[..], 3));

    let beyond = lagging();
    beyond.retry.write(file(b"whole"), b"whole").unwrap();
    beyond.retry.read(file(b"whole"), 1..6, &mut buffer).unwrap_err();
    assert_eq!(beyond.clock.elapsed(), Duration::ZERO, "it never was that long");

    let late = lagging();
    late.retry.write(file(b"whole"), b"whole").unwrap();
    late.clock.wind(seconds(31));
    late.retry.read(file(b"whole"), 1..5, &mut buffer).unwrap_err();
    assert_eq!(late.clock.elapsed(), seconds(31), "by now it would be seen");

    let removed = lagging();
    removed.retry.write(file(b"whole"), b"whole").unwrap();
    removed.retry.remove(file(b"whole")).unwrap();
    removed.retry.read(file(b"whole"), 1..5, &mut buffer).unwrap_err();
    assert_eq!(removed.clock.elapsed(), Duration::ZERO, "it is gone");
}

#[test]
fn a_listing_shows_what_was_written_here() {
    let expected = [Listed { id: sha256(b"whole"), size: 5 }];
    for (lags, most) in [(3, 10), (1000, 30)] {
        let place = place((1..=lags).map(|n| Rule::nth(n, Fault::Lag).on(Operation::List)));
        place.retry.write(file(b"whole"), b"whole").unwrap();
        assert_eq!(place.retry.list(FileKind::Pack).unwrap(), expected);
        let spent = place.clock.elapsed();
        assert!(seconds(1) < spent && spent <= seconds(most), "{lags}: {spent:?}");
    }
    let place = place([]);
    place.retry.write(file(b"whole"), b"whole").unwrap();
    place.memory.remove(file(b"whole")).unwrap();
    assert_eq!(place.retry.list(FileKind::Pack).unwrap(), [], "somebody else removed it");
    assert_eq!(place.clock.elapsed(), Duration::ZERO);
}
