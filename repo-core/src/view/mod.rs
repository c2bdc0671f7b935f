//! A repository as one tree of folders that can be browsed: the shared ground of everything that shows it.
//!
//! In: names and numbers of bytes, from many threads at a time. Out: items, their attributes, listings, content.
//! Made-up folders lead to snapshots (`layout`), below them lies what is stored. A directory is read when it is
//! looked into, content by the blob. What cannot be had is an error for whoever asked, never other content.
//!
//! Memory: the index, and two shelves bounded in bytes; an item is 64 bytes, and keeps nothing on them.
//! Never writes.

mod attributes;
mod error;
mod file;
mod folder;
mod go_time;
mod item;
mod layout;
mod shelf;

pub use attributes::Attributes;
pub use error::ViewError;
pub use file::OpenFile;
pub use folder::Listing;
pub use go_time::format as format_go_time;
pub use item::Item;
pub use layout::{TEMPLATES, TIME_TEMPLATE};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::context::{Context, Event};
use crate::format::{Node, Snapshot, Xattr, limits};
use crate::id::{DataId, SnapshotId, TreeId};
use crate::repository::{Reader, Repository};
use crate::snapshots::{self, Filter};
use crate::time::Timestamp;

use folder::Folder;
use item::{Dir, What};
use layout::Layout;
use shelf::{Got, Shelf};

/// How a view is made.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    /// Where snapshots stand: `%i` and `%I` are the short and the long name, `%u`, `%h` and `%t` user, host and
    /// each tag, `%T` the time. One that ends with `%T` also gets links `latest`.
    pub templates: Vec<String>,
    /// How `%T` is written: Go's sample date `Mon Jan 2 15:04:05 MST 2006`, written as wanted.
    pub time_template: String,
    /// Which snapshots stand there.
    pub filter: Filter,
    /// User and group of what is made up.
    pub owner: (u32, u32),
    /// Whether stored entries belong to that owner too.
    pub all_owned: bool,
    /// How often to look for new snapshots; only when somebody looks into a made-up folder.
    pub refresh: Duration,
    /// Stored content that is kept, in bytes.
    pub content_bytes: u64,
    /// Directories that are kept, in bytes. The one looked at last is kept whatever its size.
    pub directory_bytes: u64,
}

impl Default for ViewOptions {
    /// restic's folders, all snapshots, owned by root; 128 MiB for content and as much for directories.
    fn default() -> Self {
        Self {
            templates: TEMPLATES.map(str::to_owned).to_vec(),
            time_template: TIME_TEMPLATE.to_owned(),
            filter: Filter::default(),
            owner: (0, 0),
            all_owned: false,
            refresh: Duration::from_mins(1),
            content_bytes: 128 << 20,
            directory_bytes: 128 << 20,
        }
    }
}

/// A repository that can be browsed. May be shared between threads.
///
/// ```
/// use repo_core::view::{View, ViewOptions};
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
/// # let note = repo_core::fs::source::StreamSource::new("/note.txt", &b"milk"[..], Default::default(), (0, 0));
/// # repo_core::archive(&context, &repository, &note, &["/note.txt".into()], &Default::default())?;
///
/// let view = View::new(&context, &repository, ViewOptions::default())?;
/// let snapshots = view.lookup(&view.root(), b"snapshots")?;
/// for at in 0..view.list(&snapshots)?.len() {
///     println!("{}", String::from_utf8_lossy(view.list(&snapshots)?.name(at)));
/// }
/// let latest = view.lookup(&snapshots, b"latest")?;
/// let snapshot = view.lookup(&snapshots, &view.link_target(&latest)?)?;
/// let note = view.open(&view.lookup(&snapshot, b"note.txt")?)?;
/// assert_eq!(view.read(&note, 1, 2)?, b"il");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct View {
    context: Context,
    repository: Repository,
    options: ViewOptions,
    began: Timestamp,
    state: Mutex<State>,
    directories: Shelf<TreeId, Arc<Folder>>,
    content: Shelf<DataId, Arc<[u8]>>,
    /// The file opened last, by the tree that lists it.
    opened: Mutex<Option<(TreeId, u32)>>,
}

/// What stands there, and when it was looked for the last time.
struct State {
    now: Arc<Now>,
    checked: Duration,
    checking: bool,
}

/// The snapshots at one time, and an index that covers all of them.
struct Now {
    ids: Vec<SnapshotId>,
    layout: Layout,
    reader: Arc<Reader>,
}

impl View {
    /// Lists the snapshots and loads the index.
    pub fn new(context: &Context, repository: &Repository, options: ViewOptions) -> Result<Self, ViewError> {
        let checked = context.clock.elapsed();
        let now = Arc::new(Now::load(context, repository, &options)?);
        Ok(Self {
            context: context.clone(),
            repository: repository.clone(),
            began: context.clock.now(),
            state: Mutex::new(State { now, checked, checking: false }),
            directories: Shelf::new(options.directory_bytes),
            content: Shelf::new(options.content_bytes),
            opened: Mutex::default(),
            options,
        })
    }

    /// The uppermost folder.
    pub fn root(&self) -> Item {
        Item::made_up("")
    }

    /// Finds an item inside a folder.
    ///
    /// Returns [`ViewError::NotFound`] if there is none of that name.
    pub fn lookup(&self, parent: &Item, name: &[u8]) -> Result<Item, ViewError> {
        let not_found = || ViewError::NotFound { path: self.path_of(parent).join(folder::os(name)) };
        match &parent.what {
            What::MadeUp(path) => {
                let name = str::from_utf8(name).map_err(|_| not_found())?;
                let now = self.now();
                let (path, spot) = now.layout.child(path, name).ok_or_else(not_found)?;
                Ok(Item::at_spot(&path, spot))
            }
            What::Dir(dir) => {
                let folder = self.folder(dir)?;
                let at = folder.find(name).ok_or_else(not_found)?;
                Ok(Item::stored(dir, &folder, at))
            }
            What::Link { .. } | What::Entry(..) => {
                Err(ViewError::NotADirectory { path: self.path_of(parent) })
            }
        }
    }

    /// Finds an item by its path from the root. Made-up links are followed, stored ones are not.
    pub fn resolve(&self, path: &[u8]) -> Result<Item, ViewError> {
        let mut at = self.root();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let found = self.lookup(&at, name)?;
            at = self.followed(&at, found)?;
        }
        Ok(at)
    }

    /// What a made-up link inside `parent` leads to; anything else as it is.
    pub fn followed(&self, parent: &Item, item: Item) -> Result<Item, ViewError> {
        let What::Link { target, .. } = &item.what else { return Ok(item) };
        let mut at = parent.clone();
        for name in target.split('/') {
            at = self.lookup(&at, name.as_bytes())?;
        }
        Ok(at)
    }

    /// What a folder holds, by name. It stays as it is, whatever happens to the repository.
    pub fn list(&self, item: &Item) -> Result<Listing, ViewError> {
        match &item.what {
            What::MadeUp(path) => {
                let not_found = || ViewError::NotFound { path: self.path_of(item) };
                let now = self.now();
                let children = now.layout.children(path).ok_or_else(not_found)?;
                Ok(Listing::made_up(
                    children.map(|(name, path, spot)| (name.to_owned(), Item::at_spot(&path, spot))),
                ))
            }
            What::Dir(dir) => Ok(Listing::stored(dir.clone(), self.folder(dir)?)),
            What::Link { .. } | What::Entry(..) => Err(ViewError::NotADirectory { path: self.path_of(item) }),
        }
    }

    /// What is known about an item without reading its content.
    pub fn attributes(&self, item: &Item) -> Result<Attributes, ViewError> {
        if let Some((dir, at)) = item.entry() {
            return self.with_node(dir, at, |node| self.of_node(node));
        }
        let owner = self.options.owner;
        Ok(match &item.what {
            What::Link { target, time } => Attributes::link(target.len(), *time, owner),
            What::Dir(dir) => Attributes::snapshot(dir.time, owner),
            What::MadeUp(_) | What::Entry(..) => Attributes::folder(self.began, owner),
        })
    }

    /// The same for an entry of a listing, which needs no further reading.
    pub fn listed_attributes(&self, listing: &Listing, at: usize) -> Result<Attributes, ViewError> {
        listing.node(at).map_or_else(|| self.attributes(&listing.item(at)), |node| Ok(self.of_node(node)))
    }

    /// Where a link points to.
    pub fn link_target(&self, item: &Item) -> Result<Vec<u8>, ViewError> {
        match &item.what {
            What::Link { target, .. } => Ok(target.as_bytes().to_vec()),
            What::Entry(dir, at) => self.with_node(dir, *at, |node| node.link_target.clone()),
            What::MadeUp(_) | What::Dir(_) => Err(ViewError::NoContent { path: self.path_of(item) }),
        }
    }

    /// The extended attributes in the order stored.
    pub fn xattrs(&self, item: &Item) -> Result<Vec<Xattr>, ViewError> {
        let Some((dir, at)) = item.entry() else { return Ok(Vec::new()) };
        self.with_node(dir, at, |node| node.xattrs.clone())
    }

    /// Where an item lies, for messages. Of an entry whose folder is not on the shelf any more, the folder.
    pub fn path_of(&self, item: &Item) -> PathBuf {
        match &item.what {
            What::MadeUp(path) => Path::new("/").join(&**path),
            What::Link { .. } => PathBuf::from("/"),
            What::Dir(dir) => dir.path.clone(),
            What::Entry(dir, at) => {
                let folder = dir.tree.and_then(|tree| self.directories.peek(&tree));
                let name = folder.and_then(|folder| folder.node(*at).map(|node| node.name.clone()));
                name.map_or_else(|| dir.path.clone(), |name| dir.path.join(folder::os(&name)))
            }
        }
    }

    fn of_node(&self, node: &Node) -> Attributes {
        let attributes = Attributes::of(node);
        if self.options.all_owned { attributes.owned_by(self.options.owner) } else { attributes }
    }

    fn with_node<R>(&self, dir: &Dir, at: u32, look: impl FnOnce(&Node) -> R) -> Result<R, ViewError> {
        let folder = self.folder(dir)?;
        let node = folder.node(at).ok_or_else(|| ViewError::NotFound { path: dir.path.clone() })?;
        Ok(look(node))
    }

    /// A stored directory, read now unless it is on the shelf.
    fn folder(&self, dir: &Dir) -> Result<Arc<Folder>, ViewError> {
        if dir.depth > limits::TREE_DEPTH_MAX {
            return Err(ViewError::TooDeep { path: dir.path.clone() });
        }
        let tree = dir.tree.ok_or_else(|| ViewError::NoTree { path: dir.path.clone() })?;
        match self.directories.get(tree) {
            Got::Here(folder) => Ok(folder),
            Got::Mine(claim) => {
                let reader = self.lock().now.reader.clone();
                let read = reader
                    .tree(tree)
                    .map_err(|source| ViewError::Read { path: dir.path.clone(), source: source.into() })?;
                let folder = Arc::new(Folder::new(read));
                if let Some(error) = folder.left_out(&dir.path) {
                    self.context.tell(&Event::Warning { error: &error });
                }
                let bytes = folder.bytes();
                Ok(claim.fill(folder, bytes))
            }
        }
    }

    /// What stands there now; looks for new snapshots first, if that is due. Only one thread does.
    fn now(&self) -> Arc<Now> {
        let elapsed = self.context.clock.elapsed();
        let old = {
            let mut state = self.lock();
            if state.checking || elapsed.saturating_sub(state.checked) < self.options.refresh {
                return state.now.clone();
            }
            state.checking = true;
            state.now.clone()
        };
        let new = old.again(&self.context, &self.repository, &self.options);
        let mut state = self.lock();
        (state.checking, state.checked) = (false, elapsed);
        match new {
            Ok(Some(new)) => state.now = Arc::new(new),
            Ok(None) => {}
            // What was seen so far is still true, and somebody may look again soon.
            Err(error) => self.context.tell(&Event::Warning { error: &error }),
        }
        state.now.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// Snapshots first, so that the index covers each of them.
    fn load(context: &Context, repository: &Repository, options: &ViewOptions) -> Result<Self, ViewError> {
        let mut ids = repository.list::<Snapshot>().map_err(snapshots::SelectError::from)?;
        ids.sort_unstable();
        let mut found = snapshots::list(context, repository)?;
        found.retain(|stored| options.filter.matches(&stored.snapshot));
        let layout = Layout::new(&options.templates, &options.time_template, &context.zone, found);
        Ok(Self { ids, layout, reader: Arc::new(repository.reader(context)?) })
    }

    /// The same anew if there are other snapshots than before.
    fn again(
        &self,
        context: &Context,
        repository: &Repository,
        options: &ViewOptions,
    ) -> Result<Option<Self>, ViewError> {
        let mut ids = repository.list::<Snapshot>().map_err(snapshots::SelectError::from)?;
        ids.sort_unstable();
        if ids == self.ids { Ok(None) } else { Self::load(context, repository, options).map(Some) }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("repository", &self.repository).finish_non_exhaustive()
    }
}
