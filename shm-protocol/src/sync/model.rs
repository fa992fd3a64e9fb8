//! Loom's atomics, made to explore what loom 0.7 alone passes over.
//!
//! Loom remembers one last access for each atomic and looks for a race with
//! that one only. A thread that loads a word and then swaps it therefore hides
//! the loads of other threads behind its own, and schedules are never tried:
//! one thread loading, another loading and adding, is a single schedule to it.
//! Here each load first stores to a word beside the value. Nobody reads that
//! word, so it orders nothing, but to loom two loads now race like any others.

pub use loom::sync::atomic::{Ordering, fence};

macro_rules! atomic {
    ($(#[$doc:meta])* $name:ident: $value:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            value: loom::sync::atomic::$name,
            seen: loom::sync::atomic::AtomicUsize,
        }

        #[allow(missing_docs)]
        impl $name {
            pub fn new(value: $value) -> Self {
                $name {
                    value: loom::sync::atomic::$name::new(value),
                    seen: loom::sync::atomic::AtomicUsize::new(0),
                }
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.seen.store(0, Ordering::Relaxed);
                self.value.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.value.store(value, order);
            }

            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_add(value, order)
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_sub(value, order)
            }

            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_and(value, order)
            }

            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_or(value, order)
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                self.value.fetch_max(value, order)
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.value.swap(value, order)
            }

            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.value.compare_exchange(current, new, success, failure)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::new(0)
            }
        }
    };
}

atomic! {
    /// Loom's half word.
    AtomicU32: u32
}
atomic! {
    /// Loom's word.
    AtomicU64: u64
}
