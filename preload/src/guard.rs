//! The recursion guard: one hook at a time takes stacks on a thread.
//!
//! It keeps sampling and unwinding from being entered twice, by our own work
//! or by a signal handler. Removals never ask it. It holds the stack pointer
//! of the hook at work, so that a longjmp over that hook is noticed: a later
//! hook on the same stack, at the same place or above, knows that it is gone.
//!
//! Only for hooks on the thread's own stack; elsewhere no stack is taken.

use crate::{live, sys, tls};

/// Enters; false when a hook is at work on this thread.
pub fn enter(stack_pointer: usize) -> bool {
    let block = tls::block();
    if block.guard != 0 && !abandoned(block.guard, stack_pointer) {
        return false;
    }
    block.guard = stack_pointer;
    true
}

/// Leaves.
pub fn leave() {
    tls::block().guard = 0;
}

/// Does something rare that no signal handler may come upon on this thread,
/// where system calls are allowed.
pub fn undisturbed<R>(work: impl FnOnce() -> R) -> R {
    let before = (!live::frozen()).then(|| sys::block_signals(u64::MAX));
    let done = work();
    if let Some(before) = before {
        sys::block_signals(before);
    }
    done
}

/// Whether the hook that entered at `guard` can be there no more. A signal
/// handler's alternate stack may lie above it, in an outer frame.
fn abandoned(guard: usize, stack_pointer: usize) -> bool {
    stack_pointer == guard || stack_pointer > guard && !live::frozen() && !sys::on_alternate_stack()
}
