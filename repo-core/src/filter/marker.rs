//! Directories that a file in them excludes: `CACHEDIR.TAG` and its like.
//!
//! In: what a user named. Out: which file to look for, and whether its content counts. Never reads that file.

/// A file that excludes all other entries of the directory it lies in.
///
/// ```
/// let marker = repo_core::filter::Marker::parse(b".nobackup:yes")?;
/// assert_eq!((marker.name(), marker.header()), (&b".nobackup"[..], &b"yes"[..]));
/// # Ok::<(), repo_core::filter::MarkerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    name: Vec<u8>,
    header: Vec<u8>,
}

/// A marker without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file that excludes its directory has no name")]
pub struct MarkerError;

impl Marker {
    /// The standard marker of caches, `CACHEDIR.TAG` with its signature.
    pub fn cachedir() -> Self {
        Self {
            name: b"CACHEDIR.TAG".to_vec(),
            header: b"Signature: 8a477f597d28d172789f06886806bc55".to_vec(),
        }
    }

    /// Reads `name` or `name:header`, where the file must start with the header.
    pub fn parse(text: &[u8]) -> Result<Self, MarkerError> {
        let mut parts = text.splitn(2, |&byte| byte == b':');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return Err(MarkerError);
        }
        Ok(Self { name: name.to_vec(), header: parts.next().unwrap_or_default().to_vec() })
    }

    /// The file's name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What the file must start with; empty if its presence is enough.
    pub fn header(&self) -> &[u8] {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_is_a_name_with_or_without_a_header() {
        let check = |text: &[u8], expected: Option<(&[u8], &[u8])>| {
            let found = Marker::parse(text).ok();
            assert_eq!(found.as_ref().map(|marker| (marker.name(), marker.header())), expected);
        };
        check(b".nobackup", Some((b".nobackup", b"")));
        check(b"tag:head:er", Some((b"tag", b"head:er")));
        check(b"tag:", Some((b"tag", b"")));
        check(b"", None);
        check(b":x", None);
    }
}
