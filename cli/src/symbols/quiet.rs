//! Catches panics of code that reads a program's files, without their message
//! on the terminal.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None` if it panicked. Panics of other threads and elsewhere
/// are shown as ever.
pub fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    QUIET.set(before);
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_is_no_answer() {
        assert_eq!(super::catch(|| 7), Some(7));
        let broken: Option<()> = super::catch(|| panic!("broken debug information"));
        assert_eq!(broken, None);
    }
}
