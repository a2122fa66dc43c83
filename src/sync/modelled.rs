//! loom's atomics and locks for the models, and what runs a model.
//!
//! A model is a closure that loom runs again and again, once for each order in which its threads can meet, as far as the number of
//! preemptions allows (`WALREC_MODEL_PREEMPTIONS`). Each has a negative control: either the code under it is weakened here, in all of
//! its atomics at once ([`Weakened`]), or the model's own module has the protocol without one of its steps. loom has no time: a sleep
//! ends only when it is ended, so a wake-up that is lost is a deadlock, and found.

use std::cell::Cell;
use std::sync::LockResult;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use loom::cell::UnsafeCell as SharedCell;
use loom::sync::MutexGuard;
pub(crate) use loom::thread::{Builder as ThreadBuilder, JoinHandle};

/// What is taken from the code under a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakened {
    Nothing,
    /// Loads order nothing.
    Loads,
    /// Stores order nothing.
    Stores,
    /// Fences do nothing.
    Fences,
}

thread_local! {
    /// loom's threads are coroutines on the thread of their test.
    static WEAKENED: Cell<Weakened> = const { Cell::new(Weakened::Nothing) };
}

fn ordered(kind: Weakened, order: Ordering) -> Ordering {
    if WEAKENED.get() == kind { Ordering::Relaxed } else { order }
}

pub(crate) fn fence(order: Ordering) {
    if WEAKENED.get() != Weakened::Fences {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! atomics {
    ($($name:ident: $value:ty;)*) => {
        $(
            #[derive(Debug, Default)]
            pub struct $name(loom::sync::atomic::$name);

            #[allow(dead_code, reason = "each piece uses some")]
            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.0.load(ordered(Weakened::Loads, order))
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, ordered(Weakened::Stores, order));
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, ordered(Weakened::Stores, order))
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, success, failure)
                }
            }
        )*
    };
}

atomics! {
    AtomicBool: bool;
    AtomicU64: u64;
    AtomicUsize: usize;
}

impl AtomicU64 {
    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_max(value, ordered(Weakened::Stores, order))
    }
}

/// A value that threads hand to each other without an atomic; loom looks whether they do.
pub(crate) struct HandedOver<T>(SharedCell<T>);

#[allow(unsafe_code, reason = "loom ends a model whose threads are in each other's way")]
impl<T: Copy> HandedOver<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(SharedCell::new(value))
    }

    pub(crate) fn get(&self) -> T {
        // SAFETY: nobody writes meanwhile, or loom ends the model before this is reached.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) fn set(&self, value: T) {
        // SAFETY: as above.
        self.0.with_mut(|old| unsafe { *old = value });
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.0.lock()
    }
}

/// Sleeps in it have no end but a notification.
#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        Ok((self.0.wait(guard).unwrap(), ()))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _limit: Duration,
        mut asleep: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        while asleep(&mut guard) {
            guard = self.0.wait(guard).unwrap();
        }
        Ok((guard, ()))
    }
}

/// Bound of the short form.
const PREEMPTIONS: usize = 2;

fn preemptions() -> usize {
    let given = std::env::var("WALREC_MODEL_PREEMPTIONS").ok();
    given.map_or(PREEMPTIONS, |text| text.parse().expect("WALREC_MODEL_PREEMPTIONS is a number"))
}

/// Runs `model` in every order; gives how many there were.
fn explore(model: impl Fn() + Sync + Send + 'static) -> usize {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions());
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    runs.load(Ordering::Relaxed)
}

/// A control runs in a process of its own: what it finds may be a deadlock, which ends in an abort.
const CONTROL: &str = "WALREC_MODEL_CONTROL";

/// `model` holds in every order.
pub(crate) fn holds(name: &str, model: impl Fn() + Sync + Send + 'static) {
    if std::env::var_os(CONTROL).is_some() {
        return;
    }
    let runs = explore(model);
    assert!(runs > 1, "{name}: the threads of the model never meet");
    println!("FIGURE model {name}: holds in {runs} orders, preemptions {}", preemptions());
}

/// The negative control: with `weakened` taken away, `model` does not hold.
pub(crate) fn fails(name: &str, weakened: Weakened, model: impl Fn() + Sync + Send + 'static) {
    let control = format!("{name} ({weakened:?} weakened)");
    match std::env::var(CONTROL) {
        Ok(wanted) if wanted == control => {
            WEAKENED.set(weakened);
            let runs = explore(model);
            println!("{HELD}: {runs} orders");
            std::process::exit(0);
        }
        Ok(_) => return,
        Err(_) => {}
    }
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    let program = std::env::current_exe().expect("the test's own program");
    let mut child = std::process::Command::new(program);
    child.args(["--exact", test, "--nocapture"]).env(CONTROL, &control).env("RUST_BACKTRACE", "0");
    let output = child.output().expect("the test's own program runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // Ended by what loom or an assertion of the model found, and by nothing else.
    let finding = text.lines().find(|line| FINDINGS.iter().any(|finding| line.contains(finding)));
    assert!(!output.status.success() && !text.contains(HELD), "{control}: not found\n{text}");
    let finding = finding.unwrap_or_else(|| panic!("{control}: ended otherwise\n{text}"));
    println!("FIGURE model {control}: found: {finding}");
}

const HELD: &str = "the control held";
/// What loom says, and what the models' assertions begin with.
const FINDINGS: [&str; 3] = ["deadlock; threads", "Causality violation", "model:"];
