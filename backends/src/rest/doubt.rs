//! rclone's "not found", which may mean that it could not look.
//!
//! It answers 404 to whatever goes wrong on its way to a file, so a fault of the storage behind it looks as if the file
//! were gone: a key or a snapshot would be passed over, a removal would count as done. A listing of the folder tells
//! the two apart, because rclone lists whole folders or fails. The config is in no folder, so there its word counts.
//! Source: `cmd/serve/restic` of rclone.

use http::HeaderMap;
use http::header::SERVER;
use repo_core::backend::{Backend as _, BackendError, ErrorKind, Operation};
use repo_core::id::{FileId, FileKind};

use super::RestBackend;
use crate::http::HttpError;

/// Whether rclone is the server.
pub(super) fn is_rclone(headers: &HeaderMap) -> bool {
    headers.get(SERVER).and_then(|name| name.to_str().ok()).is_some_and(|name| name.starts_with("rclone/"))
}

impl RestBackend {
    /// What "not found" means for a file: that it is not there, or a failure that passes.
    pub(super) fn not_found(
        &self,
        operation: Operation,
        file: FileId,
        from_rclone: bool,
        cause: HttpError,
    ) -> BackendError {
        let error = |kind| BackendError::file(kind, operation, file);
        if !from_rclone || file.kind == FileKind::Config {
            return error(ErrorKind::NotFound).because(cause);
        }
        match self.list(file.kind) {
            Ok(listed) if listed.iter().any(|one| one.id == file.id) => {
                error(ErrorKind::Transient).because(cause)
            }
            Ok(_) => error(ErrorKind::NotFound).because(cause),
            Err(unknown) => error(unknown.kind()).because(unknown),
        }
    }
}
