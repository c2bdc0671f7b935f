//! The kernel's questions about files, answered by the view.
//!
//! What is stored never changes, so the kernel may keep it for long; made-up folders it asks for again. Every
//! failure is an error code for whoever asked and a line on standard error.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use repo_core::format::NodeKind;
use repo_core::time::Timestamp;
use repo_core::view::{Attributes, Item, Listing, OpenFile, View, ViewError};

use super::known::{Handles, Items};
use crate::browse;
use crate::session::Session;

/// How long the kernel may keep what is stored.
const STORED: Duration = Duration::from_hours(1);
/// How long it may keep what is made up.
const MADE_UP: Duration = Duration::from_secs(1);
/// What programs are told to read at a time.
const READ_BYTES: u32 = 128 << 10;
/// Entries before those of a listing: `.` and `..`.
const DOTS: u64 = 2;

/// A view as the kernel's files.
pub(super) struct Files {
    session: Session,
    view: Arc<View>,
    items: Items,
    open: Handles<OpenFile>,
    listings: Handles<(Item, Listing)>,
}

impl Files {
    pub(super) fn new(session: &Session, view: Arc<View>) -> Self {
        Self {
            session: session.clone(),
            view,
            items: Items::default(),
            open: Handles::new(),
            listings: Handles::new(),
        }
    }

    fn item(&self, number: INodeNo) -> Result<Item, Errno> {
        if number == INodeNo::ROOT {
            return Ok(self.view.root());
        }
        self.items.get(number.0).ok_or(Errno::ESTALE)
    }

    /// The code for an error, which is told.
    fn code(&self, error: &ViewError) -> Errno {
        browse::tell(&self.session, error);
        match error {
            ViewError::NotFound { .. } => Errno::ENOENT,
            ViewError::NotADirectory { .. } => Errno::ENOTDIR,
            ViewError::NoContent { .. } => Errno::EINVAL,
            _ => Errno::EIO,
        }
    }

    fn entry(&self, parent: INodeNo, name: &OsStr) -> Result<(Duration, FileAttr), Errno> {
        let parent = self.item(parent)?;
        let item = self.view.lookup(&parent, name.as_bytes()).map_err(|error| self.code(&error))?;
        let attributes = self.view.attributes(&item).map_err(|error| self.code(&error))?;
        Ok((lifetime(&item), attr(self.items.tell(&item), &attributes)))
    }

    fn attributes(&self, number: INodeNo) -> Result<(Duration, FileAttr), Errno> {
        let item = self.item(number)?;
        let attributes = self.view.attributes(&item).map_err(|error| self.code(&error))?;
        Ok((lifetime(&item), attr(number.0, &attributes)))
    }

    fn open_file(&self, number: INodeNo) -> Result<u64, Errno> {
        let file = self.view.open(&self.item(number)?).map_err(|error| self.code(&error))?;
        Ok(self.open.add(file))
    }

    fn read_file(&self, handle: FileHandle, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
        let file = self.open.get(handle.0).ok_or(Errno::EBADF)?;
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        self.view.read(&file, offset, len).map_err(|error| self.code(&error))
    }

    fn open_dir(&self, number: INodeNo) -> Result<(u64, FopenFlags), Errno> {
        let item = self.item(number)?;
        let listing = self.view.list(&item).map_err(|error| self.code(&error))?;
        let stays = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        let flags = if item.is_made_up() { FopenFlags::empty() } else { stays };
        Ok((self.listings.add((item, listing)), flags))
    }

    /// Hands the entries from `offset` on to `add`, until it says that its buffer is full.
    fn listed(
        &self,
        handle: FileHandle,
        offset: u64,
        mut add: impl FnMut(u64, &OsStr, Place<'_>) -> Result<bool, Errno>,
    ) -> Result<(), Errno> {
        let held = self.listings.get(handle.0).ok_or(Errno::EBADF)?;
        let (item, listing) = &*held;
        for (at, (name, number)) in
            [(".", item.number()), ("..", item.parent_number())].into_iter().enumerate()
        {
            let next = at as u64 + 1;
            if next > offset && add(next, OsStr::new(name), Place::Dots(number))? {
                return Ok(());
            }
        }
        let first = usize::try_from(offset.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        for at in first..listing.len() {
            let place = Place::Entry(listing, at);
            if add(at as u64 + DOTS + 1, OsStr::from_bytes(listing.name(at)), place)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn attribute(&self, number: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let xattrs = self.view.xattrs(&self.item(number)?).map_err(|error| self.code(&error))?;
        let found = xattrs.into_iter().find(|xattr| xattr.name == name.as_bytes());
        found.map(|xattr| xattr.value.unwrap_or_default()).ok_or(Errno::NO_XATTR)
    }

    fn attribute_names(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let xattrs = self.view.xattrs(&self.item(number)?).map_err(|error| self.code(&error))?;
        let safe = xattrs.iter().filter(|xattr| !xattr.name.is_empty() && !xattr.name.contains(&0));
        Ok(safe.flat_map(|xattr| xattr.name.iter().copied().chain([0])).collect())
    }
}

/// What stands behind a name of a listing.
enum Place<'a> {
    Dots(u64),
    Entry(&'a Listing, usize),
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            // What an old kernel does not know, it goes without.
            let _ = config.add_capabilities(wanted);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.entry(parent, name) {
            Ok((lifetime, attr)) => reply.entry(&lifetime, &attr, Generation(0)),
            Err(code) => reply.error(code),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.items.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number) {
            Ok((lifetime, attr)) => reply.attr(&lifetime, &attr),
            Err(code) => reply.error(code),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.item(number);
        match target.and_then(|item| self.view.link_target(&item).map_err(|error| self.code(&error))) {
            Ok(target) => reply.data(&target),
            Err(code) => reply.error(code),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(number) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(code) => reply.error(code),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_file(handle, offset, len) {
            Ok(bytes) => reply.data(&bytes),
            Err(code) => reply.error(code),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.remove(handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_dir(number) {
            Ok((handle, flags)) => reply.opened(FileHandle(handle), flags),
            Err(code) => reply.error(code),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.listed(handle, offset, |next, name, place| {
            let (number, kind) = match place {
                Place::Dots(number) => (number, FileType::Directory),
                Place::Entry(listing, at) => {
                    let attributes = self.view.listed_attributes(listing, at);
                    let attributes = attributes.map_err(|error| self.code(&error))?;
                    (listing.item(at).number(), file_type(&attributes.kind))
                }
            };
            Ok(reply.add(INodeNo(number), next, kind, name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(code) => reply.error(code),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.listed(handle, offset, |next, name, place| {
            let (number, lifetime, attr) = match place {
                // The kernel takes no more than the number of these.
                Place::Dots(number) => (number, MADE_UP, dots(number)),
                Place::Entry(listing, at) => {
                    let attributes = self.view.listed_attributes(listing, at);
                    let attributes = attributes.map_err(|error| self.code(&error))?;
                    let item = listing.item(at);
                    let number = self.items.tell(&item);
                    (number, lifetime(&item), attr(number, &attributes))
                }
            };
            let full = reply.add(INodeNo(number), next, name, &lifetime, &attr, Generation(0));
            if full && matches!(place, Place::Entry(..)) {
                self.items.forget(number, 1); // it was not told after all
            }
            Ok(full)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(code) => reply.error(code),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.remove(handle.0);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, len_max: u32, reply: ReplyXattr) {
        answer(self.attribute(number, name), len_max, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, len_max: u32, reply: ReplyXattr) {
        answer(self.attribute_names(number), len_max, reply);
    }
}

/// Asked with no room, the length is wanted.
fn answer(bytes: Result<Vec<u8>, Errno>, len_max: u32, reply: ReplyXattr) {
    match bytes.map(|bytes| (u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes)) {
        Err(code) => reply.error(code),
        Ok((len, _)) if len_max == 0 => reply.size(len),
        Ok((len, _)) if len > len_max => reply.error(Errno::ERANGE),
        Ok((_, bytes)) => reply.data(&bytes),
    }
}

fn lifetime(item: &Item) -> Duration {
    if item.is_made_up() { MADE_UP } else { STORED }
}

fn attr(number: u64, attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: attributes.len,
        blocks: attributes.len.div_ceil(512),
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(&attributes.kind),
        perm: u16::try_from(attributes.permissions & 0o7777).unwrap_or(0),
        nlink: u32::try_from(attributes.links).unwrap_or(u32::MAX),
        uid: attributes.uid,
        gid: attributes.gid,
        // Below 2³² the number that is stored is the kernel's own.
        rdev: u32::try_from(attributes.device).unwrap_or(0),
        blksize: READ_BYTES,
        flags: 0,
    }
}

fn dots(number: u64) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::Directory,
        perm: 0o555,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: READ_BYTES,
        flags: 0,
    }
}

fn file_type(kind: &NodeKind) -> FileType {
    match kind {
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Device => FileType::BlockDevice,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// A time as the system has it; one that no system has is the epoch.
fn time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let part = Duration::from_nanos(time.nanos.into());
    let second = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    second.and_then(|second| second.checked_add(part)).unwrap_or(SystemTime::UNIX_EPOCH)
}
