//! Go's file mode, which trees hold instead of the Unix one.

use std::fmt;

use super::node::NodeKind;

/// Go's `os.FileMode`: the kind in the high bits, nine permission bits at the bottom (section 0.5).
///
/// ```
/// use repo_core::format::Mode;
///
/// let mode = Mode::from_unix(0o041_777);
/// assert_eq!((mode.0, mode.to_string()), (2_148_532_735, "dtrwxrwxrwx".to_owned()));
/// assert_eq!(mode.unix_permissions(), 0o1777);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mode(pub u32);

/// Go's bit and Unix's, for the three special permissions.
const SPECIAL: [(u32, u32); 3] = [(Mode::SETUID, 0o4000), (Mode::SETGID, 0o2000), (Mode::STICKY, 0o1000)];

/// What each kind sets; the bits of a character device hold those of a device, so it goes first.
const KINDS: [(u32, NodeKind); 7] = [
    (Mode::DIR, NodeKind::Dir),
    (Mode::SYMLINK, NodeKind::Symlink),
    (Mode::DEVICE | Mode::CHAR_DEVICE, NodeKind::CharDevice),
    (Mode::DEVICE, NodeKind::Device),
    (Mode::FIFO, NodeKind::Fifo),
    (Mode::SOCKET, NodeKind::Socket),
    (Mode::IRREGULAR, NodeKind::Irregular),
];

impl Mode {
    /// A directory.
    pub const DIR: u32 = 1 << 31;
    /// A symbolic link.
    pub const SYMLINK: u32 = 1 << 27;
    /// A device; also set for character devices.
    pub const DEVICE: u32 = 1 << 26;
    /// A named pipe.
    pub const FIFO: u32 = 1 << 25;
    /// A socket.
    pub const SOCKET: u32 = 1 << 24;
    /// Runs as its owner.
    pub const SETUID: u32 = 1 << 23;
    /// Runs as its group.
    pub const SETGID: u32 = 1 << 22;
    /// A character device.
    pub const CHAR_DEVICE: u32 = 1 << 21;
    /// Only owners remove entries.
    pub const STICKY: u32 = 1 << 20;
    /// Nothing that is known.
    pub const IRREGULAR: u32 = 1 << 19;

    /// Translates `st_mode`.
    pub fn from_unix(st_mode: u32) -> Self {
        let kind = match st_mode & 0o170_000 {
            0o040_000 => Self::DIR,
            0o120_000 => Self::SYMLINK,
            0o060_000 => Self::DEVICE,
            0o020_000 => Self::DEVICE | Self::CHAR_DEVICE,
            0o010_000 => Self::FIFO,
            0o140_000 => Self::SOCKET,
            0o100_000 => 0,
            _ => Self::IRREGULAR,
        };
        Self(kind | permissions(st_mode))
    }

    /// An entry of that kind with the twelve permission bits of `chmod`. A kind that is unknown sets no bit.
    pub fn new(kind: &NodeKind, unix_permissions: u32) -> Self {
        let bits = KINDS.iter().find(|(_, known)| known == kind).map_or(0, |(bits, _)| *bits);
        Self(bits | permissions(unix_permissions))
    }

    /// The twelve permission bits as `chmod` takes them.
    pub fn unix_permissions(self) -> u32 {
        let special = SPECIAL.iter().filter(|(go, _)| self.0 & go != 0).map(|(_, unix)| unix).sum::<u32>();
        special | self.0 & 0o777
    }

    /// What the mode says the entry is.
    ///
    /// Some programs leave these bits out, so where there is a node its kind counts.
    pub fn kind(self) -> NodeKind {
        KINDS.into_iter().find(|(bits, _)| self.0 & bits == *bits).map_or(NodeKind::File, |(_, kind)| kind)
    }
}

/// Unix's twelve permission bits where Go has them.
fn permissions(unix: u32) -> u32 {
    SPECIAL.iter().filter(|(_, bit)| unix & bit != 0).map(|(go, _)| go).sum::<u32>() | unix & 0o777
}

impl fmt::Display for Mode {
    /// Writes `drwxr-xr-x` in Go's letters: a symbolic link is `L`, a set-user-id file `u`, and so on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |bit: u32| self.0 >> bit & 1 == 1;
        let mut text = String::with_capacity(12);
        text.extend(
            "dalTLDpSugct?".chars().zip((19..=31).rev()).filter(|&(_, bit)| set(bit)).map(|(c, _)| c),
        );
        if text.is_empty() {
            text.push('-');
        }
        text.extend("rwxrwxrwx".chars().zip((0..9).rev()).map(|(c, bit)| if set(bit) { c } else { '-' }));
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(st_mode: u32, mode: u32, text: &str, kind: &NodeKind) {
        let read = Mode::from_unix(st_mode);
        assert_eq!((read.0, &*read.to_string()), (mode, text), "{st_mode:o}");
        assert_eq!(read.kind(), *kind, "{st_mode:o}");
        assert_eq!(read.unix_permissions(), st_mode & 0o7777, "{st_mode:o}");
        assert_eq!(Mode::new(kind, st_mode & 0o7777), read, "{st_mode:o}");
    }

    /// The examples of section 0.5, measured with restic.
    #[test]
    fn modes_are_gos() {
        check(0o100_644, 420, "-rw-r--r--", &NodeKind::File);
        check(0o100_000, 0, "----------", &NodeKind::File);
        check(0o040_755, 2_147_484_141, "drwxr-xr-x", &NodeKind::Dir);
        check(0o041_777, 2_148_532_735, "dtrwxrwxrwx", &NodeKind::Dir);
        check(0o042_775, 2_151_678_461, "dgrwxrwxr-x", &NodeKind::Dir);
        check(0o104_755, 8_389_101, "urwxr-xr-x", &NodeKind::File);
        check(0o102_755, 4_194_797, "grwxr-xr-x", &NodeKind::File);
        check(0o101_644, 1_048_996, "trw-r--r--", &NodeKind::File);
        check(0o107_777, 13_631_999, "ugtrwxrwxrwx", &NodeKind::File);
        check(0o120_777, 134_218_239, "Lrwxrwxrwx", &NodeKind::Symlink);
        check(0o010_640, 33_554_848, "prw-r-----", &NodeKind::Fifo);
        check(0o020_644, 69_206_436, "Dcrw-r--r--", &NodeKind::CharDevice);
        check(0o060_640, 67_109_280, "Drw-r-----", &NodeKind::Device);
        check(0o140_600, 16_777_600, "Srw-------", &NodeKind::Socket);
        check(0o150_600, 524_672, "?rw-------", &NodeKind::Irregular);
    }
}
