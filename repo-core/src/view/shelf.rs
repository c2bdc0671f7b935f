//! What was read lately, bounded in bytes; what is being read is not read twice.
//!
//! Whoever asks for what is not here gets a claim: everybody else who asks waits until it is filled or given up.
//! Nobody may wait for one thing while holding the claim on another. Failures are not kept: the next one tries.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Things by their key, those that were used last.
#[derive(Debug)]
pub(super) struct Shelf<K, V> {
    bytes_max: u64,
    held: Mutex<Held<K, V>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Held<K, V> {
    /// `None` is claimed.
    things: HashMap<K, Option<Thing<V>>>,
    /// Keys by their last use.
    uses: BTreeMap<u64, K>,
    count: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Thing<V> {
    value: V,
    bytes: u64,
    used: u64,
}

/// What [`Shelf::get`] gives.
#[derive(Debug)]
pub(super) enum Got<'a, K: Copy + Eq + Hash, V: Clone> {
    /// Here it is.
    Here(V),
    /// It is to be read by whoever has this.
    Mine(Claim<'a, K, V>),
}

/// The right to read a thing; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a, K: Copy + Eq + Hash, V: Clone> {
    shelf: &'a Shelf<K, V>,
    key: K,
}

impl<K: Copy + Eq + Hash, V: Clone> Shelf<K, V> {
    pub(super) fn new(bytes_max: u64) -> Self {
        let held = Held { things: HashMap::new(), uses: BTreeMap::new(), count: 0, bytes: 0 };
        Self { bytes_max, held: Mutex::new(held), changed: Condvar::new() }
    }

    /// The thing or a claim on it; waits while somebody else reads it.
    pub(super) fn get(&self, key: K) -> Got<'_, K, V> {
        let mut held = self.lock();
        loop {
            match held.things.get(&key) {
                None => {
                    held.things.insert(key, None);
                    return Got::Mine(Claim { shelf: self, key });
                }
                Some(None) => held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner),
                Some(Some(_)) => return Got::Here(held.used(key)),
            }
        }
    }

    /// The thing if it is here; its use is not noted.
    pub(super) fn peek(&self, key: &K) -> Option<V> {
        Some(self.lock().things.get(key)?.as_ref()?.value.clone())
    }

    /// A claim on what is neither here nor being read. Never waits.
    pub(super) fn claim(&self, key: K) -> Option<Claim<'_, K, V>> {
        let mut held = self.lock();
        if held.things.contains_key(&key) {
            return None;
        }
        held.things.insert(key, None);
        Some(Claim { shelf: self, key })
    }

    fn lock(&self) -> MutexGuard<'_, Held<K, V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Held<K, V> {
    fn used(&mut self, key: K) -> V {
        self.count += 1;
        let thing = self.things.get_mut(&key).and_then(Option::as_mut).expect("the caller saw it");
        self.uses.remove(&thing.used);
        thing.used = self.count;
        self.uses.insert(self.count, key);
        thing.value.clone()
    }

    fn put(&mut self, key: K, value: V, bytes: u64, bytes_max: u64) {
        self.count += 1;
        self.things.insert(key, Some(Thing { value, bytes, used: self.count }));
        self.uses.insert(self.count, key);
        self.bytes += bytes;
        // The newest stays whatever its size: somebody is looking at it.
        while self.bytes > bytes_max && self.uses.len() > 1 {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            if let Some(Some(thing)) = self.things.remove(&oldest) {
                self.bytes -= thing.bytes;
            }
        }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Claim<'_, K, V> {
    /// Whether it is the right to read that thing.
    pub(super) fn is_for(&self, key: &K) -> bool {
        self.key == *key
    }

    /// Puts the thing on the shelf for everybody who waits for it, and gives it back.
    pub(super) fn fill(self, value: V, bytes: u64) -> V {
        self.shelf.lock().put(self.key, value.clone(), bytes, self.shelf.bytes_max);
        value
        // Dropping tells those who wait.
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Drop for Claim<'_, K, V> {
    fn drop(&mut self) {
        let mut held = self.shelf.lock();
        if let Some(None) = held.things.get(&self.key) {
            held.things.remove(&self.key);
        }
        drop(held);
        self.shelf.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::parallel;

    fn put(shelf: &Shelf<u32, u32>, key: u32, bytes: u64) {
        match shelf.get(key) {
            Got::Mine(claim) => assert_eq!(claim.fill(key * 10, bytes), key * 10),
            Got::Here(_) => panic!("{key} is here"),
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_newest_stays() {
        let shelf = Shelf::new(10);
        for key in 1..=3 {
            put(&shelf, key, 3);
        }
        assert!(matches!(shelf.get(1), Got::Here(10)));
        put(&shelf, 4, 3);
        let here = |keys: [u32; 5]| keys.map(|key| shelf.peek(&key).is_some());
        assert_eq!(here([1, 2, 3, 4, 5]), [true, false, true, true, false]);
        put(&shelf, 5, 100);
        assert_eq!(here([1, 2, 3, 4, 5]), [false, false, false, false, true]);
        put(&shelf, 2, 1);
        assert_eq!(here([1, 2, 3, 4, 5]), [false, true, false, false, false]);
    }

    #[test]
    fn a_thing_is_read_once_whoever_asks_and_again_after_a_failure() {
        let shelf = Shelf::<u32, u32>::new(10);
        let reads = AtomicUsize::new(0);
        parallel::scope(|scope| {
            for _ in 0..8 {
                scope.spawn("asks", || match shelf.get(7) {
                    // The first one fails.
                    Got::Mine(claim) if reads.fetch_add(1, Ordering::SeqCst) > 0 => drop(claim.fill(70, 1)),
                    Got::Mine(_) => {}
                    Got::Here(value) => assert_eq!(value, 70),
                });
            }
        });
        assert_eq!(reads.load(Ordering::SeqCst), 2);
        assert!(shelf.claim(7).is_none());
        let claim = shelf.claim(8).expect("nobody has it");
        assert!(shelf.claim(8).is_none());
        drop(claim);
        assert!(shelf.claim(8).is_some());
    }
}
