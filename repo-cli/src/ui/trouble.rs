//! Calls to the storage that are made again → lines as restic writes them.

use std::error::Error;
use std::time::Duration;

use anyhow::Chain;
use repo_core::backend::{BackendError, Operation};
use repo_core::context::Event;
use repo_core::id::{FileId, FileKind};

use super::amount::go_duration;
use super::escape::visible_text;
use crate::exit::sentence;

/// What to say about a call that failed and is made again, or that has succeeded at last.
pub fn line(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Retry { error, wait, .. } => {
            // Tenths of a second are enough for people.
            let tenths = u64::try_from(wait.as_millis() / 100).unwrap_or(u64::MAX);
            let wait = go_duration(Duration::from_millis(tenths.saturating_mul(100)));
            let why = visible_text(&sentence(Chain::new(*error))).replace('\n', " ");
            Some(format!("{} returned error, retrying after {wait}: {why}", call(*error)))
        }
        Event::Recovered { error, attempts } => {
            let times = if *attempts == 1 { "retry" } else { "retries" };
            Some(format!("{} operation successful after {attempts} {times}", call(*error)))
        }
        _ => None,
    }
}

/// `Save(<data/0123456789>)`, `List(index)`.
fn call(error: &(dyn Error + 'static)) -> String {
    let Some(error) = error.downcast_ref::<BackendError>() else { return "Storage".to_owned() };
    let verb = match error.operation() {
        Operation::Write => "Save",
        Operation::Read => "Load",
        Operation::Size => "Stat",
        Operation::List => "List",
        Operation::Remove => "Remove",
        Operation::Create => "Create",
        Operation::Thaw => "Warmup",
        _ => "Open",
    };
    match (error.concerns(), error.concerns_kind()) {
        (Some(FileId { kind: FileKind::Config, .. }), _) => format!("{verb}(<config/>)"),
        (Some(file), _) => format!("{verb}(<{}/{}>)", file.kind.folder(), short(&file.id.to_string())),
        (None, Some(kind)) => format!("{verb}({})", kind.folder()),
        (None, None) => format!("{verb}()"),
    }
}

/// The ten digits that restic shows of a name.
fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use repo_core::backend::ErrorKind;
    use repo_core::id::Id;

    use super::*;

    #[test]
    fn lines_look_like_restics() {
        let pack = FileId { kind: FileKind::Pack, id: Id::new([0x2f; 32]) };
        let error = BackendError::file(ErrorKind::TimedOut, Operation::Write, pack).because("no\nanswer");
        let expected = "Save(<data/2f2f2f2f2f>) returned error, retrying after 1.2s: ";
        let told = line(&Event::Retry { error: &error, wait: Duration::from_millis(1234), attempt: 1 });
        let told = told.unwrap();
        assert!(told.starts_with(expected) && told.ends_with("timed out: no answer"), "{told}");
        let told = line(&Event::Recovered { error: &error, attempts: 2 });
        assert_eq!(told.unwrap(), "Save(<data/2f2f2f2f2f>) operation successful after 2 retries");
        let error = BackendError::folder(ErrorKind::Throttled, Operation::List, FileKind::Index);
        let told = line(&Event::Recovered { error: &error, attempts: 1 });
        assert_eq!(told.unwrap(), "List(index) operation successful after 1 retry");
        assert_eq!(line(&Event::End { stage: repo_core::context::Stage::Scan }), None);
    }
}
