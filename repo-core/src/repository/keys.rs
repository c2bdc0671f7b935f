//! Key files: the master key under a password, any number of times.

use zeroize::Zeroizing;

use crate::backend::{Backend, BackendError};
use crate::context::{Context, Event};
use crate::crypto::{KDF_MEMORY_MAX, KdfError, Key, SALT_LEN, ScryptParams, calibrate, derive};
use crate::format::{FormatError, KeyFile, MasterKeyJson, limits};
use crate::hash::sha256;
use crate::id::{FileKind, KeyId};
use crate::repository::{OpenError, Password, Repository};

/// So many key files are tried at most.
const KEYS_TRIED_MAX: usize = 64;

/// Why a key file could not be read, used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The storage failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The text is no key file, or the key inside is none.
    #[error("key {id} is damaged")]
    Damaged {
        /// Which one.
        id: KeyId,
        /// What is wrong, if more is known.
        source: Option<FormatError>,
    },
    /// Its parameters are refused.
    #[error("key {id} cannot be tried")]
    Parameters {
        /// Which one.
        id: KeyId,
        /// Why.
        source: KdfError,
    },
    /// The password does not open it.
    #[error("key {id} does not open with this password")]
    WrongPassword {
        /// Which one.
        id: KeyId,
    },
    /// The key in use cannot be removed.
    #[error("key {id} is the one in use")]
    InUse {
        /// Which one.
        id: KeyId,
    },
    /// A key file that was just written did not open; it was removed again.
    #[error("the new key {id} could not be read back")]
    NotReadBack {
        /// Which one.
        id: KeyId,
        /// Why.
        source: Box<KeyError>,
    },
    /// No key file can be made with these parameters.
    #[error("cannot derive a key from the password")]
    Kdf(#[from] KdfError),
}

/// What a key file says about where it came from.
///
/// ```
/// use repo_core::repository::KeyLabel;
/// # use std::sync::Arc;
/// # use repo_core::crypto::ScryptParams;
/// # use repo_core::{Context, InitOptions, Repository, backend::MemoryBackend};
/// # let context = Context::new();
/// # let cheap = InitOptions { kdf: Some(ScryptParams { n: 1024, r: 8, p: 1 }), ..InitOptions::default() };
/// # let backend = Arc::new(MemoryBackend::new());
/// # let repository = Repository::init(&context, backend, &"password".into(), &cheap)?;
///
/// let label = KeyLabel { username: "ann".into(), hostname: "office".into() };
/// let second = repository.add_key(&context, &"another password".into(), &label, cheap.kdf)?;
/// assert_eq!(repository.keys()?.len(), 2);
/// repository.remove_key(second)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLabel {
    /// The user's name.
    pub username: String,
    /// The machine's name.
    pub hostname: String,
}

/// A key file as it lies in the repository.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its name.
    pub id: KeyId,
    /// What it says.
    pub file: KeyFile,
}

/// Finds the key file that the password opens: `last`, which opened the repository before, then the hinted one,
/// then the cheaper ones.
///
/// Key files that cannot be used are told as warnings; they never keep another one from being found. If the first
/// one opens, nothing is listed.
pub(super) fn find(
    context: &Context,
    backend: &dyn Backend,
    password: &Password,
    hint: Option<&str>,
    last: Option<KeyId>,
) -> Result<(KeyId, Key), OpenError> {
    let hint = hint.filter(|hint| !hint.is_empty());
    let is_hinted = |id: &KeyId| hint.is_some_and(|hint| id.to_string().starts_with(hint));
    let mut ruled_out = None;
    if let Some(id) = last.filter(|id| hint.is_none() || is_hinted(id)) {
        match load(backend, id).and_then(|key| open(&key, password)) {
            Ok(key) => return Ok((id, key)),
            Err(KeyError::WrongPassword { .. }) => ruled_out = Some(id),
            Err(_) => {} // it may be gone; if it is there, the listing meets it again
        }
    }
    let listed = backend.list(FileKind::Key)?;
    let ids = listed.iter().map(|listed| KeyId(listed.id));
    let ids: Vec<KeyId> = ids.filter(|id| Some(*id) != ruled_out).collect();
    let hinted = ids.iter().copied().filter(is_hinted).collect::<Vec<_>>();
    if let [id] = hinted[..]
        && let Ok(key) = load(backend, id).and_then(|key| open(&key, password))
    {
        return Ok((id, key));
    }
    let mut keys: Vec<StoredKey> = Vec::new();
    for id in ids.into_iter().filter(|id| hinted[..] != [*id]) {
        match load(backend, id) {
            Ok(key) => keys.push(key),
            Err(error) => context.tell(&Event::Warning { error: &error }),
        }
    }
    keys.sort_by_key(|key| (params(&key.file).n.saturating_mul(u64::from(key.file.p)), key.id));
    for key in keys.iter().take(KEYS_TRIED_MAX) {
        context.cancel.check()?;
        match open(key, password) {
            Ok(opened) => return Ok((key.id, opened)),
            Err(KeyError::WrongPassword { .. }) => {}
            Err(error) => context.tell(&Event::Warning { error: &error }),
        }
    }
    Err(OpenError::WrongPassword)
}

/// The master key behind one key file.
pub(super) fn open_one(backend: &dyn Backend, id: KeyId, password: &Password) -> Result<Key, KeyError> {
    load(backend, id).and_then(|key| open(&key, password))
}

/// Puts the master key under a password and stores it; the file is read back and opened before this succeeds.
pub(super) fn add(
    context: &Context,
    backend: &dyn Backend,
    master: &Key,
    password: &Password,
    label: &KeyLabel,
    params: Option<ScryptParams>,
) -> Result<KeyId, KeyError> {
    let params = params.unwrap_or_else(|| calibrate(context.clock.as_ref()));
    let mut salt = vec![0; SALT_LEN];
    context.random.fill(&mut salt);
    let json = MasterKeyJson { encrypt: *master.encrypt(), mac_k: *master.mac_k(), mac_r: *master.mac_r() };
    let mut data = Vec::new();
    derive(password.as_bytes(), &salt, params)?.seal(context.random.as_ref(), &json.to_json(), &mut data);
    let file = KeyFile {
        created: Some(context.now()),
        username: label.username.clone(),
        hostname: label.hostname.clone(),
        n: params.n,
        r: params.r,
        p: params.p,
        salt,
        data,
    };
    let text = file.to_json();
    let id = KeyId(sha256(&text));
    backend.write(id.into(), &text)?;
    if let Err(source) = load(backend, id).and_then(|key| open(&key, password)) {
        backend.remove(id.into())?;
        return Err(KeyError::NotReadBack { id, source: Box::new(source) });
    }
    Ok(id)
}

fn load(backend: &dyn Backend, id: KeyId) -> Result<StoredKey, KeyError> {
    let mut text = Vec::new();
    backend.read_all(id.into(), limits::KEY_FILE_BYTES_MAX, &mut text)?;
    if sha256(&text) != id.0 {
        return Err(KeyError::Damaged { id, source: None });
    }
    let file = KeyFile::parse(&text).map_err(|source| KeyError::Damaged { id, source: Some(source) })?;
    Ok(StoredKey { id, file })
}

fn params(file: &KeyFile) -> ScryptParams {
    ScryptParams { n: file.n, r: file.r, p: file.p }
}

fn open(key: &StoredKey, password: &Password) -> Result<Key, KeyError> {
    let StoredKey { id, file } = key;
    let (id, params) = (*id, params(file));
    params.check(KDF_MEMORY_MAX).map_err(|source| KeyError::Parameters { id, source })?;
    let user_key = derive(password.as_bytes(), &file.salt, params)
        .map_err(|source| KeyError::Parameters { id, source })?;
    let mut json = Zeroizing::new(Vec::new());
    user_key.open(&file.data, &mut json).map_err(|_| KeyError::WrongPassword { id })?;
    let parts =
        MasterKeyJson::parse(&json).map_err(|source| KeyError::Damaged { id, source: Some(source) })?;
    Key::from_parts(&parts.encrypt, &parts.mac_k, &parts.mac_r)
        .map_err(|_| KeyError::Damaged { id, source: None })
}

impl Repository {
    /// Every key file; unreadable ones with the reason.
    #[expect(clippy::type_complexity, reason = "a list of names, each with what is there")]
    pub fn keys(&self) -> Result<Vec<(KeyId, Result<StoredKey, KeyError>)>, BackendError> {
        let listed = self.backend.list(FileKind::Key)?;
        Ok(listed
            .iter()
            .map(|listed| (KeyId(listed.id), load(self.backend.as_ref(), KeyId(listed.id))))
            .collect())
    }

    /// Adds a password. The new key file is read back and opened before this succeeds.
    pub fn add_key(
        &self,
        context: &Context,
        password: &Password,
        label: &KeyLabel,
        params: Option<ScryptParams>,
    ) -> Result<KeyId, KeyError> {
        add(context, self.backend.as_ref(), &self.key, password, label, params)
    }

    /// Removes a password. The key file that opened this repository is refused.
    pub fn remove_key(&self, id: KeyId) -> Result<(), KeyError> {
        if id == self.key_id {
            return Err(KeyError::InUse { id });
        }
        Ok(self.backend.remove(id.into())?)
    }

    /// Replaces the password in use: adds the new one, then removes the old one. Gives the repository as the
    /// new key opens it.
    pub fn change_password(
        &self,
        context: &Context,
        password: &Password,
        label: &KeyLabel,
        params: Option<ScryptParams>,
    ) -> Result<Self, KeyError> {
        let new = Self { key_id: self.add_key(context, password, label, params)?, ..self.clone() };
        new.remove_key(self.key_id)?;
        Ok(new)
    }
}
