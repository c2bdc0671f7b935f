//! The rights of files and folders that are made, as restic gives them.

/// The rights of what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) folder: u32,
    pub(crate) file: u32,
}

impl Modes {
    /// For the owner alone.
    pub(crate) const PRIVATE: Self = Self { folder: 0o700, file: 0o400 };
    const GROUP: Self = Self { folder: 0o770, file: 0o440 };

    /// The group may do what the owner may if it may read the config.
    pub(crate) fn beside_config_of_mode(mode: u32) -> Self {
        if mode & 0o040 == 0 { Self::PRIVATE } else { Self::GROUP }
    }
}
