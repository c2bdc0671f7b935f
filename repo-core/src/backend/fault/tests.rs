//! What was planned happens, to the call that was meant.

use super::*;
use crate::backend::conformance::{self, Scale, Subject};

/// A repository with a config of four bytes, and the plan over it.
fn faulty(rules: impl IntoIterator<Item = Rule>) -> (Arc<MemoryBackend>, FaultBackend) {
    let memory = Arc::new(MemoryBackend::with_files([(FileId::CONFIG, b"four".to_vec())]));
    (Arc::clone(&memory), FaultBackend::over_memory(memory, rules))
}

fn read(backend: &dyn Backend) -> Result<Vec<u8>, ErrorKind> {
    let mut buffer = Vec::new();
    backend.read_all(FileId::CONFIG, 100, &mut buffer).map_err(|error| error.kind())?;
    Ok(buffer)
}

#[test]
fn without_rules_every_promise_is_kept() {
    let make = || Subject::new(Arc::new(FaultBackend::new(Arc::new(MemoryBackend::new()), [])));
    conformance::check(make, Scale::Quick);
}

#[test]
fn only_the_calls_that_fit_the_rule_fail() {
    let rule = Rule::nth(2, Fault::FailBefore(ErrorKind::Full)).on(Operation::Write).of(FileKind::Config);
    let (memory, backend) = faulty([rule]);
    backend.write(FileId::CONFIG, b"one").unwrap();
    assert_eq!(read(&backend).unwrap(), b"one");
    assert_eq!(backend.write(FileId::CONFIG, b"two").unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(memory.files()[&FileId::CONFIG], b"one");
    backend.write(FileId::CONFIG, b"three").unwrap();
    assert_eq!(backend.calls(), 4);
    let log = backend.log();
    assert_eq!(log[0], "1 write config: passed on");
    assert_eq!(log[2], "3 write config: FailBefore(Full)");
}

#[test]
fn a_lost_answer_fails_although_the_call_was_done() {
    let (memory, backend) = faulty([Rule::every(Fault::FailAfter(ErrorKind::Transient))]);
    assert_eq!(backend.write(FileId::CONFIG, b"new").unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(memory.files()[&FileId::CONFIG], b"new");
    backend.remove(FileId::CONFIG).unwrap_err();
    assert!(memory.files().is_empty());
}

#[test]
fn after_a_freeze_nothing_is_done_any_more() {
    for (fault, expected) in [(Fault::FreezeBefore, b"four".to_vec()), (Fault::FreezeAfter, b"new".to_vec())]
    {
        let (memory, backend) = faulty([Rule::from(2, fault)]);
        read(&backend).unwrap();
        backend.write(FileId::CONFIG, b"new").unwrap_err();
        assert!(backend.is_frozen());
        backend.remove(FileId::CONFIG).unwrap_err();
        assert_eq!(read(&backend), Err(ErrorKind::Other));
        assert_eq!(memory.files()[&FileId::CONFIG], expected);
        assert_eq!(backend.log()[3], "4 read config: frozen");
    }
}

#[test]
fn a_torn_write_leaves_its_beginning() {
    for (fault, frozen) in [(Fault::Tear(2), false), (Fault::TearAndFreeze(2), true)] {
        let (memory, backend) = faulty([Rule::every(fault).on(Operation::Write)]);
        let pack: FileId = PackId(Id::new([1; 32])).into();
        backend.write(pack, b"whole").unwrap_err();
        assert_eq!(memory.files()[&pack], b"wh");
        assert_eq!(backend.is_frozen(), frozen);
    }
}

fn pack(content: &[u8]) -> FileId {
    PackId(crate::hash::sha256(content)).into()
}

fn listed(backend: &dyn Backend, kind: FileKind) -> Vec<Id> {
    let mut ids: Vec<Id> = backend.list(kind).unwrap().iter().map(|listed| listed.id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn what_went_lingers_in_listings_and_reads() {
    let (_, backend) = faulty([
        Rule::every(Fault::Linger).on(Operation::Read),
        Rule::every(Fault::Linger).on(Operation::List),
        Rule::nth(1, Fault::Linger).on(Operation::Size),
    ]);
    backend.write(FileId::CONFIG, b"new").unwrap();
    assert_eq!(read(&backend).unwrap(), b"four");
    backend.remove(FileId::CONFIG).unwrap();
    assert_eq!(read(&backend).unwrap(), b"new");
    assert_eq!(backend.size(FileId::CONFIG).unwrap(), 3);
    assert_eq!(backend.size(FileId::CONFIG).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(listed(&backend, FileKind::Config), [FileId::CONFIG.id]);
}

#[test]
fn a_late_repetition_arrives_in_its_time_or_at_the_end() {
    let (memory, backend) = faulty([Rule::nth(1, Fault::Again(2)), Rule::nth(4, Fault::Again(100))]);
    backend.write(FileId::CONFIG, b"one").unwrap();
    backend.write(FileId::CONFIG, b"two").unwrap();
    assert_eq!(memory.files()[&FileId::CONFIG], b"two");
    assert_eq!(read(&backend).unwrap(), b"one");
    backend.remove(FileId::CONFIG).unwrap();
    backend.write(FileId::CONFIG, b"three").unwrap();
    backend.deliver();
    assert!(memory.files().is_empty());
}

#[test]
fn listings_are_wrong_as_planned() {
    let (_, backend) = faulty(
        [Rule::nth(1, Fault::ListTwice), Rule::nth(2, Fault::LeaveOut(3))]
            .map(|rule| rule.on(Operation::List)),
    );
    let mut ids = [b"a", b"b"].map(|content| {
        backend.write(pack(content), content).unwrap();
        pack(content).id
    });
    ids.sort_unstable();
    assert_eq!(listed(&backend, FileKind::Pack), [ids[0], ids[0], ids[1], ids[1]]);
    assert_eq!(listed(&backend, FileKind::Pack), [ids[0]], "3 is odd, so the second one is left out");
    assert_eq!(listed(&backend, FileKind::Pack), ids);
}

#[test]
fn a_read_gives_another_file_of_the_same_kind_or_more_than_there_is() {
    let mut buffer = Vec::new();
    let (_, backend) = faulty(
        [Rule::nth(1, Fault::Extend(2)), Rule::every(Fault::Exchange)].map(|rule| rule.on(Operation::Read)),
    );
    assert_eq!(read(&backend).unwrap(), b"four**");
    assert_eq!(read(&backend).unwrap(), b"four", "there is no other config");
    for content in [&b"short"[..], b"and longer"] {
        backend.write(pack(content), content).unwrap();
    }
    backend.read(pack(b"short"), 4..10, &mut buffer).unwrap();
    assert_eq!(buffer, b"longer");
    let error = backend.read(pack(b"and longer"), 4..10, &mut buffer).unwrap_err();
    assert_eq!((error.kind(), buffer.len()), (ErrorKind::TooShort, 0));
}

#[test]
fn reads_are_damaged_as_planned() {
    let mut buffer = Vec::new();
    let (_, backend) = faulty([Rule::every(Fault::FlipBit(9))]);
    assert_eq!(read(&backend).unwrap(), b"fmur");
    backend.read(FileId::CONFIG, 3..4, &mut buffer).unwrap();
    assert_eq!(buffer, b"p");
    let (_, backend) = faulty([Rule::every(Fault::CutTo(3))]);
    assert_eq!(read(&backend).unwrap(), b"fou");
    backend.read(FileId::CONFIG, 1..3, &mut buffer).unwrap();
    assert_eq!(buffer, b"ou");
    let error = backend.read(FileId::CONFIG, 1..4, &mut buffer).unwrap_err();
    assert_eq!((error.kind(), buffer.len()), (ErrorKind::TooShort, 0));
}
