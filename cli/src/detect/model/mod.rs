//! The statistical model: three questions to each site, each answered by the
//! chance that a healthy one would look so, and all of them must agree.
//!
//! - [`data`]: what it is told of a site; [`constants`]: every number in it
//! - [`lives`]: completed lives; [`poisson`]: the tails that all chances are
//! - [`closing`], [`coming`], [`using`](mod@using): the questions
//! - [`measure`](mod@measure): one site; [`false_share`]: many at once;
//!   [`judge`](mod@judge): the verdicts
//! - [`fraction`](mod@fraction), [`survival`](mod@survival): for people
//!
//! Pure functions, no I/O. docs/DETECTION.md has the formulas and the
//! simulation.

pub mod closing;
pub mod coming;
pub mod constants;
pub mod data;
pub mod false_share;
pub mod fraction;
pub mod judge;
pub mod lives;
pub mod measure;
pub mod poisson;
pub mod survival;
pub mod using;

#[cfg(test)]
mod tests;

pub use data::{Holding, Idle, SiteData};
pub use fraction::{Fraction, fraction};
pub use judge::{Decision, Sort, Why, judge};
pub use lives::Lives;
pub use measure::{Chances, Measured, measure};
pub use survival::survival;
