//! What memguard says is so: exactly where everything is recorded, without
//! bias where it is sampled, after a death as before, and after a long churn.

mod churn;
mod evidence;
mod killed;
mod known;
mod memory;
mod polled;
mod sampled;
mod things;
