//! What the pieces of this folder are made of: atomics, locks and threads of the standard library, or, in the models, loom's.
//!
//! `tests/models` compiles the same pieces with the cfg `loom` and lets loom walk through the orders in which their threads can run and
//! the values that their loads can give (`modelled`). In every other build this file is a list of imports and a cell.

#[cfg(loom)]
pub(crate) use super::modelled::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, JoinHandle, Mutex, SharedCell, ThreadBuilder, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(not(loom))]
pub(crate) use standard::SharedCell;
#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence},
    sync::{Arc, Condvar, Mutex},
    thread::{Builder as ThreadBuilder, JoinHandle},
};

#[cfg(not(loom))]
mod standard {
    use std::cell::UnsafeCell;

    /// A cell that two threads hand to each other; the closures are where loom looks whether they do.
    pub(crate) struct SharedCell<T>(UnsafeCell<T>);

    impl<T> SharedCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// Calls `read` with the content's address.
        #[inline(always)]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Calls `change` with the content's address.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }
}
