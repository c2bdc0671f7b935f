//! Which items the kernel knows by number, until it forgets them; and what it has open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repo_core::view::Item;

/// Items by the number the kernel knows them by.
#[derive(Debug, Default)]
pub(super) struct Items(Mutex<HashMap<u64, Known>>);

#[derive(Debug)]
struct Known {
    item: Item,
    /// How often the kernel was told.
    told: u64,
}

impl Items {
    /// The item of that number.
    pub(super) fn get(&self, number: u64) -> Option<Item> {
        self.lock().get(&number).map(|known| known.item.clone())
    }

    /// Remembers that the kernel is told of an item, and gives the number for it.
    ///
    /// That is the item's own, unless another one has it: the kernel takes equal numbers for the same content.
    pub(super) fn tell(&self, item: &Item) -> u64 {
        let mut items = self.lock();
        let number = number(&items, item);
        items.entry(number).or_insert_with(|| Known { item: item.clone(), told: 0 }).told += 1;
        number
    }

    /// The kernel has forgotten so many of the times it was told.
    pub(super) fn forget(&self, number: u64, times: u64) {
        let mut items = self.lock();
        if let Some(known) = items.get_mut(&number) {
            known.told = known.told.saturating_sub(times);
            if known.told == 0 {
                items.remove(&number);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first number from the item's own that is free or stands for it already.
fn number(items: &HashMap<u64, Known>, item: &Item) -> u64 {
    let mut number = item.number();
    while items.get(&number).is_some_and(|known| known.item.identity() != item.identity()) {
        number = number.wrapping_add(1).max(2);
    }
    number
}

/// Open things by handle.
#[derive(Debug)]
pub(super) struct Handles<T> {
    open: Mutex<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Handles<T> {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1) }
    }

    pub(super) fn add(&self, thing: T) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(handle, Arc::new(thing));
        handle
    }

    pub(super) fn get(&self, handle: u64) -> Option<Arc<T>> {
        self.lock().get(&handle).cloned()
    }

    pub(super) fn remove(&self, handle: u64) {
        self.lock().remove(&handle);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
