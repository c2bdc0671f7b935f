//! What can go wrong, and with which calls.
//!
//! In: nothing. Out: values that [`FaultBackend`](super::FaultBackend) goes by. Never does anything itself.

use crate::backend::{ErrorKind, Operation};
use crate::id::FileKind;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails and nothing was done.
    FailBefore(ErrorKind),
    /// The call is done, and yet reported as failed: the answer got lost.
    FailAfter(ErrorKind),
    /// The call fails with [`ErrorKind::Throttled`]; the storage asks to wait for so many seconds.
    Throttle(u32),
    /// The storage has not noticed yet what was last written of that kind: a listing leaves it out, and looking
    /// it up or reading it is [`ErrorKind::NotFound`].
    Lag,
    /// The machine stops: this call and all later ones fail, and none of them is done.
    FreezeBefore,
    /// The machine stops as soon as this call is done: it and all later ones fail.
    FreezeAfter,
    /// A write leaves this many bytes, at most all but the last, under the final name and fails with
    /// [`ErrorKind::Transient`], as storage without whole-file writes does when the connection breaks. Breaks the promise
    /// of [`Backend::write`](crate::backend::Backend::write), therefore only over a
    /// [`MemoryBackend`](crate::backend::MemoryBackend).
    Tear(usize),
    /// The same, and the machine stops.
    TearAndFreeze(usize),
    /// A successful read gets one bit flipped: this one, counted from the first byte read, modulo their number.
    FlipBit(u64),
    /// The file is read as if it were cut to this many bytes.
    CutTo(u64),
    /// A whole file is read with this many bytes more at its end.
    Extend(usize),
    /// A read gives the bytes of another file of the same kind, if there is one.
    Exchange,
    /// The storage has not noticed yet what was removed or replaced last of that kind: a listing shows it, and looking it
    /// up or reading it gives what was there before.
    Linger,
    /// A listing tells every file twice.
    ListTwice,
    /// A listing leaves out one file: this one, counted by name and modulo their number.
    LeaveOut(u64),
    /// The call is done, and a write or removal once more right before the call that comes so many later: a repetition that
    /// was long on its way. [`FaultBackend::deliver`](crate::backend::FaultBackend::deliver) brings those that are still
    /// under way when nobody calls any more.
    Again(u64),
}

/// Which calls go wrong, and how. The first rule that fits a call decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub(super) fault: Fault,
    pub(super) which: Which,
    operation: Option<Operation>,
    kind: Option<FileKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Every,
    Nth(u64),
    From(u64),
}

impl Rule {
    /// Every call.
    pub fn every(fault: Fault) -> Self {
        Self { fault, which: Which::Every, operation: None, kind: None }
    }

    /// The `n`th call only, counted from 1 among the calls that the rest of the rule fits.
    pub fn nth(n: u64, fault: Fault) -> Self {
        Self { which: Which::Nth(n), ..Self::every(fault) }
    }

    /// The `n`th call and all after it, counted in the same way.
    pub fn from(n: u64, fault: Fault) -> Self {
        Self { which: Which::From(n), ..Self::every(fault) }
    }

    /// Only calls of this operation.
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Only calls about this kind of files.
    pub fn of(self, kind: FileKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    pub(super) fn concerns(&self, operation: Operation, kind: Option<FileKind>) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation)
            && self.kind.is_none_or(|wanted| Some(wanted) == kind)
    }
}
