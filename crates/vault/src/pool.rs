//! Things that are dear to make and can be used again.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// A pool; grows to the number of things in use at once.
pub(crate) struct Pool<T> {
    idle: Arc<Mutex<Vec<T>>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

impl<T> Pool<T> {
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { idle: Arc::default(), make: Box::new(make) }
    }

    /// Takes one, which goes back when dropped.
    pub(crate) fn take(&self) -> Pooled<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Pooled { item: Some(idle.unwrap_or_else(&self.make)), home: Arc::clone(&self.idle) }
    }
}

/// Something taken from a pool.
pub(crate) struct Pooled<T> {
    item: Option<T>,
    home: Arc<Mutex<Vec<T>>>,
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("only dropping empties it")
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("only dropping empties it")
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).extend(self.item.take());
    }
}
