//! How fast bytes may go in either direction, over all connections of a run.
//!
//! Bytes are paid for before they are sent, and before they are asked for; so nothing is on its way that was not
//! granted, and whoever waits for its turn holds nothing that others need.

use repo_core::backend::Throttle;
use repo_core::context::{Cancelled, Context};

/// The limits that one operation keeps to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) context: &'a Context,
    pub(super) upload: Option<&'a Throttle>,
    pub(super) download: Option<&'a Throttle>,
}

impl Pace<'_> {
    pub(super) fn pay_to_send(&self, bytes: u64) -> Result<(), Cancelled> {
        self.upload.map_or(Ok(()), |limit| limit.pay(self.context, bytes))
    }

    pub(super) fn pay_to_receive(&self, bytes: u64) -> Result<(), Cancelled> {
        self.download.map_or(Ok(()), |limit| limit.pay(self.context, bytes))
    }

    /// The size of the pieces that a file is cut into, so that small requests slip in between.
    pub(super) fn piece(&self, server_takes: u32) -> u32 {
        let limits = [self.upload, self.download].into_iter().flatten();
        limits.fold(server_takes, |piece, limit| {
            // Below this the requests would weigh more than the bytes.
            piece.min(u32::try_from(limit.piece_len()).unwrap_or(u32::MAX).max(1 << 10))
        })
    }
}
