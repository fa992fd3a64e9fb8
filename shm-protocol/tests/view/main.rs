//! The reader gives back what the library wrote, and whatever else the bytes
//! hold, it neither panics nor does more work than their length allows.
#![cfg(not(loom))]

#[path = "../image/mod.rs"]
mod image;

mod damage;
mod hostile;
mod round_trip;
