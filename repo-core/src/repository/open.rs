//! Opening a repository, and making a new one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::backend::{Backend, BackendError, CacheBackend, ErrorKind, LastKey};
use crate::chunker::{Chunker, ChunkerError, ChunkerParams, Polynomial};
use crate::context::{Cancelled, Context, Event};
use crate::crypto::{Key, ScryptParams};
use crate::format::{ChunkerField, Config, FormatError, limits};
use crate::id::{FileId, FileKind, Id, KeyId};
use crate::repository::Repository;
use crate::repository::keys::{self, KeyError, KeyLabel};

/// A password; its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes the bytes as they are: no trimming, no normalisation.
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self::new(password)
    }
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Self::new(password)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// How files of a new repository are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InitChunker {
    /// restic's Rabin chunker with a random polynomial.
    #[default]
    Rabin,
    /// restic's Rabin chunker with this polynomial, as taken over from another repository.
    Polynomial(Polynomial),
    /// `FastCDC`, with a random polynomial on record for restic, which knows no other chunker.
    FastCdc,
    /// Cut exactly as the repository with this config.
    SameAs(ChunkerParams),
}

/// What a new repository is like. Name what matters and take the rest from [`Default`].
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Repository version, 1 or 2. Only version 2 compresses.
    pub version: u32,
    /// How files are cut.
    pub chunker: InitChunker,
    /// Where the first key says it came from.
    pub label: KeyLabel,
    /// Cost of the password's key derivation; `None` measures the machine and aims at half a second.
    pub kdf: Option<ScryptParams>,
    /// As in [`OpenOptions::cache`].
    pub cache: Option<PathBuf>,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            version: 2,
            chunker: InitChunker::default(),
            label: KeyLabel::default(),
            kdf: None,
            cache: None,
        }
    }
}

/// Why no repository could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is one already, or at least parts of one.
    #[error("config file already exists")]
    Exists,
    /// Keys or snapshots are there, but no config: the rest of a repository.
    #[error("the location already holds {found} files of a repository")]
    Remains {
        /// What was found.
        found: FileKind,
    },
    /// The version is neither 1 nor 2.
    #[error("repository version {version} is unknown")]
    Version {
        /// What was asked for.
        version: u32,
    },
    /// The chunker's parameters are refused.
    #[error(transparent)]
    Chunker(#[from] ChunkerError),
    /// The storage failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The first key could not be made.
    #[error("cannot make the first key")]
    Key(#[from] KeyError),
    /// Somebody else made a repository here at the same time.
    #[error("another repository was made here at the same time")]
    Raced,
}

/// How to open a repository.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Beginning of the name of the key file to try first.
    pub key_hint: Option<String>,
    /// Folder below which metadata is kept from run to run, in restic's layout; `None` asks the storage for all of
    /// it each time. A cache that cannot be used is told as a warning.
    pub cache: Option<PathBuf>,
}

/// Why a repository could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// No key file opens with this password.
    #[error("wrong password or no key found")]
    WrongPassword,
    /// The config is not sealed by the repository's key.
    #[error("the repository's config is damaged")]
    ConfigSealed,
    /// The config is authentic, but this version cannot use it.
    #[error("the repository's config cannot be used")]
    Config(#[from] FormatError),
    /// The config's chunker is refused.
    #[error("the repository's chunker cannot be used")]
    Chunker(#[from] ChunkerError),
    /// The storage failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A repository that was found; it takes a password to open it.
pub struct Unopened {
    backend: Arc<dyn Backend>,
    /// As stored.
    config: Vec<u8>,
    options: OpenOptions,
}

impl Unopened {
    /// Opens it. May be called again after a wrong password.
    pub fn open(&self, context: &Context, password: &Password) -> Result<Repository, OpenError> {
        let Self { backend, config: sealed, options } = self;
        let last = options.cache.as_deref().map(|base| LastKey::of(base, sealed));
        let first = last.as_ref().and_then(LastKey::recall);
        let (key_id, key) =
            keys::find(context, backend.as_ref(), password, options.key_hint.as_deref(), first)?;
        let mut json = Vec::new();
        key.open(sealed, &mut json).map_err(|_| OpenError::ConfigSealed)?;
        let config = Config::parse(&json)?;
        // A reducible polynomial would never end a chunk, or always: no program should write with it.
        Chunker::new(ChunkerParams::Rabin(Polynomial(config.chunker_polynomial)))?;
        let repository = Repository::assemble(backend.clone(), key_id, key, config);
        let repository = repository.with_cache(context, options.cache.as_deref());
        if let Some(last) = last.filter(|_| repository.cache.is_some()) {
            last.remember(key_id, context.random.number());
        }
        Ok(repository)
    }
}

impl fmt::Debug for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unopened").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Repository {
    /// Makes a new repository: folders, first key, and last the config, which makes it one.
    ///
    /// What was stopped before its config goes on with the key that is there, if the password opens it.
    pub fn init(
        context: &Context,
        backend: Arc<dyn Backend>,
        password: &Password,
        options: &InitOptions,
    ) -> Result<Self, InitError> {
        let config = new_config(context, options)?;
        let left = remains(backend.as_ref())?;
        backend.create()?;
        let (key_id, key) = if let Some(found) = key_among(backend.as_ref(), &left, password)? {
            found
        } else {
            let key = Key::generate(context.random.as_ref());
            let (backend, label) = (backend.as_ref(), &options.label);
            (keys::add(context, backend, &key, password, label, options.kdf)?, key)
        };
        let mut sealed = Vec::new();
        key.seal(context.random.as_ref(), &config.to_json(), &mut sealed);
        backend.write(FileId::CONFIG, &sealed)?;
        let mut stored = Vec::new();
        backend.read_all(FileId::CONFIG, limits::CONFIG_BYTES_MAX, &mut stored)?;
        if stored != sealed {
            return Err(InitError::Raced);
        }
        let repository = Self::assemble(backend, key_id, key, config);
        Ok(repository.with_cache(context, options.cache.as_deref()))
    }

    /// Opens a repository with a password.
    pub fn open(
        context: &Context,
        backend: Arc<dyn Backend>,
        password: &Password,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        Self::find(backend, options)?.open(context, password)
    }

    /// Finds a repository, for those who ask for a password only if there is one.
    pub fn find(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Unopened, OpenError> {
        let mut config = Vec::new();
        match backend.read_all(FileId::CONFIG, limits::CONFIG_BYTES_MAX, &mut config) {
            Ok(()) => Ok(Unopened { backend, config, options: options.clone() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(OpenError::NoRepository { location: backend.properties().location })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn assemble(backend: Arc<dyn Backend>, key_id: KeyId, key: Key, config: Config) -> Self {
        Self { backend, key: Arc::new(key), key_id, config: Arc::new(config), cache: None }
    }

    /// The same repository with metadata kept below `base`, if that can be.
    fn with_cache(self, context: &Context, base: Option<&Path>) -> Self {
        let Some(base) = base else { return self };
        match CacheBackend::open(context, self.backend.clone(), base, &self.config.id) {
            Ok(cache) => {
                let cache = Arc::new(cache);
                Self { backend: cache.clone(), cache: Some(cache), ..self }
            }
            Err(error) => {
                context.tell(&Event::Warning { error: &error });
                self
            }
        }
    }

    /// How this repository's files are cut.
    pub fn chunker(&self) -> Result<Chunker, UnknownChunker> {
        Chunker::new(self.chunker_params()?).map_err(UnknownChunker::Refused)
    }

    /// The parameters of its chunker, for [`InitChunker::SameAs`].
    pub fn chunker_params(&self) -> Result<ChunkerParams, UnknownChunker> {
        match &self.config.chunker {
            Some(ChunkerField::FastCdc { min, average, max }) => {
                Ok(ChunkerParams::FastCdc { min: *min, average: *average, max: *max })
            }
            None => Ok(ChunkerParams::Rabin(Polynomial(self.config.chunker_polynomial))),
            Some(_) => Err(UnknownChunker::Unknown),
        }
    }
}

/// This version cannot cut files as the repository wants it; reading is not concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownChunker {
    /// The config names a chunker of a later version.
    #[error("the repository's chunker needs a newer version")]
    Unknown,
    /// The chunker's parameters are refused.
    #[error(transparent)]
    Refused(ChunkerError),
}

/// The keys of an init that was stopped before its config. All other remains are refused: nobody knows what needs them.
fn remains(backend: &dyn Backend) -> Result<Vec<KeyId>, InitError> {
    match backend.size(FileId::CONFIG) {
        Ok(_) => return Err(InitError::Exists),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let list = |kind| match backend.list(kind) {
        Err(error) if error.is_not_found() => Ok(Vec::new()), // not even the location is there yet
        result => result,
    };
    let keys = list(FileKind::Key)?;
    // A key without a config may be all that is left of a repository.
    let more: &[FileKind] = if keys.is_empty() { &[] } else { &[FileKind::Index, FileKind::Pack] };
    for found in [&[FileKind::Snapshot][..], more].concat() {
        if !list(found)?.is_empty() {
            return Err(InitError::Remains { found });
        }
    }
    Ok(keys.iter().map(|listed| KeyId(listed.id)).collect())
}

/// The first of these keys that the password opens. Torn ones are of no use to anybody; one that is sound and does not
/// open is somebody's.
fn key_among(
    backend: &dyn Backend,
    ids: &[KeyId],
    password: &Password,
) -> Result<Option<(KeyId, Key)>, InitError> {
    let mut somebodys = false;
    for id in ids {
        match keys::open_one(backend, *id, password) {
            Ok(key) => return Ok(Some((*id, key))),
            Err(KeyError::Damaged { .. }) => {}
            Err(KeyError::Backend(error)) => return Err(error.into()),
            Err(_) => somebodys = true,
        }
    }
    if somebodys { Err(InitError::Remains { found: FileKind::Key }) } else { Ok(None) }
}

fn new_config(context: &Context, options: &InitOptions) -> Result<Config, InitError> {
    if !(1..=2).contains(&options.version) {
        return Err(InitError::Version { version: options.version });
    }
    let params = match options.chunker {
        InitChunker::Rabin => ChunkerParams::Rabin(Polynomial::random(context.random.as_ref())),
        InitChunker::Polynomial(polynomial) => ChunkerParams::Rabin(polynomial),
        InitChunker::FastCdc => ChunkerParams::FAST_CDC,
        InitChunker::SameAs(params) => params,
    };
    Chunker::new(params)?;
    let mut id = [0; 32];
    context.random.fill(&mut id);
    let (polynomial, chunker) = match params {
        ChunkerParams::Rabin(polynomial) => (polynomial, None),
        ChunkerParams::FastCdc { min, average, max } => {
            (Polynomial::random(context.random.as_ref()), Some(ChunkerField::FastCdc { min, average, max }))
        }
    };
    Ok(Config { chunker, ..Config::new(options.version, Id::new(id), polynomial.0) })
}
