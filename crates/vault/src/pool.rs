//! Things that are dear to make and can be used again. Large buffers above all: passed from thread to thread through the
//! allocator, they would leave a trail of free memory in every thread's arena.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
};

use crate::sync;

/// A pool; grows to the number of things in use at once. Clones share what is in it.
pub(crate) struct Pool<T> {
    idle: Arc<Mutex<Vec<T>>>,
    make: Arc<dyn Fn() -> T + Send + Sync>,
}

impl<T> Pool<T> {
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { idle: Arc::default(), make: Arc::new(make) }
    }

    /// Takes one, as its last user left it. It goes back when dropped.
    pub(crate) fn take(&self) -> Pooled<T> {
        let idle = sync::lock(&self.idle).pop();
        Pooled { item: Some(idle.unwrap_or_else(|| (self.make)())), home: Arc::clone(&self.idle) }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { idle: Arc::clone(&self.idle), make: Arc::clone(&self.make) }
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
        sync::lock(&self.home).extend(self.item.take());
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Pooled<T> {
    fn as_ref(&self) -> &[u8] {
        (**self).as_ref()
    }
}

impl<T> fmt::Debug for Pooled<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pooled(…)")
    }
}

/// Buffers of bytes.
pub(crate) type BufferPool = Pool<Vec<u8>>;

/// The capacity to give a buffer that is to hold so many bytes, so that the next user need not enlarge it by a little. What
/// is not used of it takes no memory.
pub(crate) fn room_for(length_bytes: usize) -> usize {
    length_bytes.next_power_of_two()
}

/// A buffer of bytes.
pub(crate) type Buffer = Pooled<Vec<u8>>;

impl BufferPool {
    /// Empty buffers that can hold so many bytes at once.
    pub(crate) fn of_capacity(capacity_bytes: usize) -> Self {
        Self::new(move || Vec::with_capacity(capacity_bytes))
    }

    /// Takes a buffer and empties it.
    pub(crate) fn take_empty(&self) -> Buffer {
        let mut buffer = self.take();
        buffer.clear();
        buffer
    }
}
