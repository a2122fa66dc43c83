//! The panic fence around the cold functions.
//!
//! A panic inside the library is caught here and becomes `WALREC_E_PANIC`; a recorder is poisoned by it. Its text goes
//! to `log_cb` and to `walrec_last_error`, not to stderr: a panic hook, installed at the first open, keeps quiet on
//! threads that are inside the library and hands everything else to the hook that was there before.
//!
//! "Inside" is a count on each thread for callers, and the name for the library's own workers, whose
//! runner catches their panics.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::last_error::Refusal;
use super::status::{WALREC_E_PANIC, walrec_status_t};
use crate::sync::panic_text;

/// What every worker thread's name begins with.
const WORKER_NAME_PREFIX: &str = "walrec-";

thread_local! {
    /// How many fences this thread is inside of.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// What the hook heard of the panic that is unwinding: text and place.
    static HEARD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Counts this thread as inside while it lives.
struct Inside;

impl Inside {
    fn enter() -> Self {
        let _ = INSIDE.try_with(|count| count.set(count.get().saturating_add(1)));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|count| count.set(count.get().saturating_sub(1)));
    }
}

/// Installs the panic hook, once in the life of the process.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !stay_quiet(panic) {
                previous(panic);
            }
        }));
    });
}

/// True on a thread that is inside a fence.
fn is_inside() -> bool {
    INSIDE.try_with(Cell::get).is_ok_and(|count| count > 0)
}

/// True on a worker thread of a recorder.
fn is_worker() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with(WORKER_NAME_PREFIX))
}

/// True when the panic is the library's own business; then its text is kept for the fence.
fn stay_quiet(panic: &PanicHookInfo<'_>) -> bool {
    if is_inside() {
        let _ = HEARD.try_with(|heard| {
            if let Ok(mut heard) = heard.try_borrow_mut() {
                *heard = panic.to_string().replace('\n', " ");
            }
        });
        return true;
    }
    is_worker()
}

/// Runs `body`. A refusal becomes the thread's last error; a panic too, after `on_panic` has poisoned what may
/// be half changed.
pub(super) fn fence(
    on_panic: impl FnOnce(&str),
    body: impl FnOnce() -> Result<walrec_status_t, Refusal>,
) -> walrec_status_t {
    let inside = Inside::enter();
    // Unwind safety: on_panic poisons, and a poisoned recorder or reader gives out nothing but its state.
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    let result = match outcome {
        Ok(Ok(status)) => return status,
        Ok(Err(refusal)) => refusal,
        Err(payload) => {
            let text = format!("panic inside walrec: {}", text_heard(payload));
            // A second panic, out of the handler, has nothing left to save.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| on_panic(&text)));
            Refusal::new(WALREC_E_PANIC, text)
        }
    };
    drop(inside);
    result.record()
}

/// Text of a caught panic: what the hook heard, or the bare message where the hook is not installed.
fn text_heard(payload: Box<dyn Any + Send>) -> String {
    let heard = HEARD.try_with(|heard| heard.try_borrow_mut().map(|mut text| std::mem::take(&mut *text)));
    let text = match heard {
        Ok(Ok(text)) if !text.is_empty() => text,
        _ => panic_text(&*payload),
    };
    // The drop of a payload may panic again, outside of any fence.
    std::mem::forget(payload);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::{WALREC_E_IO, WALREC_END};

    #[test]
    fn status_and_refusal_pass() {
        assert_eq!(fence(|_| unreachable!(), || Ok(WALREC_END)), WALREC_END);
        assert_eq!(fence(|_| unreachable!(), || Err(Refusal::new(WALREC_E_IO, "no"))), WALREC_E_IO);
    }

    #[test]
    fn panic_is_caught_told_with_its_place_and_poisons_once() {
        install_hook();
        let mut poisoned = Vec::new();
        let status = fence(|text| poisoned.push(text.to_owned()), || panic!("index {} is gone", 7));
        assert_eq!(status, WALREC_E_PANIC);
        assert_eq!(poisoned.len(), 1);
        assert!(poisoned[0].contains("index 7 is gone"), "{poisoned:?}");
        assert!(poisoned[0].contains("fence.rs"), "{poisoned:?}");
        assert_eq!(INSIDE.get(), 0);
    }

    #[test]
    fn panic_of_the_handler_is_caught_too() {
        install_hook();
        assert_eq!(fence(|_| panic!("again"), || panic!("first")), WALREC_E_PANIC);
        assert_eq!(INSIDE.get(), 0);
    }

    #[test]
    fn only_fences_and_workers_are_inside() {
        assert!(!is_inside());
        fence(
            |_| unreachable!(),
            || {
                assert!(is_inside());
                fence(|_| unreachable!(), || Ok(0));
                assert!(is_inside(), "an inner fence does not end the outer one");
                Ok(0)
            },
        );
        assert!(!is_inside());
        let on_thread =
            |name: &str| std::thread::Builder::new().name(name.into()).spawn(is_worker).unwrap().join().unwrap();
        assert!(on_thread("walrec-flush"));
        assert!(!on_thread("engine"));
    }
}
