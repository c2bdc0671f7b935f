//! Names of users and groups, looked up once per run.
//!
//! In: numbers, or names. Out: the other of the two, from the system's user database, remembered: a backup
//! asks for the same few owners millions of times.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use nix::unistd::{Gid, Group, Uid, User};

/// Looks up owners by number and by name, and remembers. Shared by all threads of a run.
///
/// ```
/// let names = repo_core::fs::metadata::Names::fixed([(1000, "ann")], []);
/// assert_eq!((&*names.user(1000), names.uid("ann")), ("ann", Some(1000)));
/// ```
pub struct Names {
    database: Database,
    users: Cache<u32, Arc<str>>,
    groups: Cache<u32, Arc<str>>,
    uids: Cache<String, Option<u32>>,
    gids: Cache<String, Option<u32>>,
}

/// Who is asked what is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    System,
    Nobody,
}

type Cache<K, V> = RwLock<HashMap<K, V>>;

impl Names {
    /// The names of this machine.
    pub fn system() -> Self {
        Self::of(Database::System)
    }

    /// No names at all, for sources whose numbers mean nothing on this machine.
    pub fn none() -> Self {
        Self::of(Database::Nobody)
    }

    /// Only the given users and groups.
    pub fn fixed<'a>(
        users: impl IntoIterator<Item = (u32, &'a str)>,
        groups: impl IntoIterator<Item = (u32, &'a str)>,
    ) -> Self {
        let names = Self::none();
        for (uid, name) in users {
            remember(&names.users, uid, Arc::from(name));
            remember(&names.uids, name.to_owned(), Some(uid));
        }
        for (gid, name) in groups {
            remember(&names.groups, gid, Arc::from(name));
            remember(&names.gids, name.to_owned(), Some(gid));
        }
        names
    }

    fn of(database: Database) -> Self {
        Self {
            database,
            users: Cache::default(),
            groups: Cache::default(),
            uids: Cache::default(),
            gids: Cache::default(),
        }
    }

    /// The user's name, empty if the number has none.
    pub fn user(&self, uid: u32) -> Arc<str> {
        look_up(&self.users, &uid, || {
            let user = self.ask(|| User::from_uid(Uid::from_raw(uid)));
            Arc::from(user.map_or(String::new(), |user| user.name))
        })
    }

    /// The group's name, empty if the number has none.
    pub fn group(&self, gid: u32) -> Arc<str> {
        look_up(&self.groups, &gid, || {
            let group = self.ask(|| Group::from_gid(Gid::from_raw(gid)));
            Arc::from(group.map_or(String::new(), |group| group.name))
        })
    }

    /// The number of the user of this name.
    pub fn uid(&self, name: &str) -> Option<u32> {
        look_up(&self.uids, name, || self.ask(|| User::from_name(name)).map(|user| user.uid.as_raw()))
    }

    /// The number of the group of this name.
    pub fn gid(&self, name: &str) -> Option<u32> {
        look_up(&self.gids, name, || self.ask(|| Group::from_name(name)).map(|group| group.gid.as_raw()))
    }

    fn ask<T>(&self, question: impl FnOnce() -> nix::Result<Option<T>>) -> Option<T> {
        match self.database {
            Database::System => question().ok().flatten(),
            Database::Nobody => None,
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("database", &self.database).finish_non_exhaustive()
    }
}

fn look_up<K, Q, V>(cache: &Cache<K, V>, key: &Q, find: impl FnOnce() -> V) -> V
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
{
    if let Some(value) = cache.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return value.clone();
    }
    let value = find();
    remember(cache, key.to_owned(), value.clone());
    value
}

fn remember<K: Hash + Eq, V>(cache: &Cache<K, V>, key: K, value: V) {
    cache.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_knows_root_and_not_everybody() {
        let names = Names::system();
        for _ in 0..2 {
            assert_eq!(&*names.user(0), "root");
            assert_eq!(names.uid("root"), Some(0));
            assert_eq!(names.uid("no such user here"), None);
            assert_eq!(&*names.user(4_000_000_123), "");
        }
    }

    #[test]
    fn fixed_names_ask_nobody() {
        let names = Names::fixed([(7, "ann")], [(8, "staff")]);
        assert_eq!(&*names.user(7), "ann");
        assert_eq!(names.gid("staff"), Some(8));
        assert_eq!(&*names.user(0), "");
        assert_eq!(names.uid("root"), None);
    }
}
