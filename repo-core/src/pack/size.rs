//! How large packs should become.

const MIB: u32 = 1024 * 1024;

/// Target size of packs in bytes, 4 to 128 MiB. A pack is closed as soon as its blobs reach it, so packs are
/// larger than the target by up to one blob (8 MiB of data).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackSize(u32);

/// The target size is outside of 4 to 128 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pack size {mib} MiB is outside of {} to {} MiB", PackSize::MIN_MIB, PackSize::MAX_MIB)]
pub struct PackSizeError {
    /// What was asked for.
    pub mib: u32,
}

impl PackSize {
    /// Smallest target in MiB.
    pub const MIN_MIB: u32 = 4;
    /// Largest target in MiB.
    pub const MAX_MIB: u32 = 128;

    /// A target of so many MiB.
    pub fn from_mib(mib: u32) -> Result<Self, PackSizeError> {
        if (Self::MIN_MIB..=Self::MAX_MIB).contains(&mib) {
            Ok(Self(mib * MIB))
        } else {
            Err(PackSizeError { mib })
        }
    }

    /// The target in bytes.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Default for PackSize {
    /// 16 MiB.
    fn default() -> Self {
        Self(16 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_of_the_format_are_refused() {
        for mib in [0, 3, 129, u32::MAX] {
            assert_eq!(PackSize::from_mib(mib), Err(PackSizeError { mib }));
        }
        assert_eq!(PackSize::from_mib(4).map(PackSize::bytes), Ok(4_194_304));
        assert_eq!(PackSize::from_mib(128).map(PackSize::bytes), Ok(134_217_728));
    }
}
