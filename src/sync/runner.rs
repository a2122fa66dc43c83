//! The runner of worker threads: idle strategy, stop token, panic fence and join, owned in one place.
//!
//! A worker is a duty cycle that knows nothing of threads, so that tests call `do_work` by hand. The runner calls it until
//! it is told to stop, sleeps on the worker's bell when there was nothing to do (first the worker's short interval, after
//! some idle rounds its long one), and then calls `on_close` once. All signals are blocked in the thread, which
//! runs under the ordinary policy whatever its maker's is. An error or a panic ends the thread and is handed to `on_failure`, once.
#![allow(unsafe_code, reason = "blocks signals, and tells the scheduler of the thread, through libc")]

use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bell::Bell;
use super::primitives::{Arc, AtomicBool, JoinHandle, ThreadBuilder};

/// Idle rounds before the long sleep.
const SHORT_SLEEPS: u32 = 16;

/// A duty cycle.
pub trait Worker: Send {
    /// What a failing duty cycle says.
    type Error: std::fmt::Display + Send;
    /// The thread's name, at most 15 bytes.
    const NAME: &'static str;
    /// What is added to the thread's nice value: above 0 it gives way to others on the same CPU.
    const NICE: i32 = 0;

    /// Does what can be done now; the count of things done, 0 when there was nothing.
    ///
    /// # Errors
    /// Ends the worker; what it means is the owner's business.
    fn do_work(&mut self) -> Result<usize, Self::Error>;

    /// Does what is left when the worker is told to stop.
    ///
    /// # Errors
    /// As [`Self::do_work`].
    fn on_close(&mut self) -> Result<(), Self::Error>;

    /// How long to sleep after an idle round, and after many.
    fn idle_sleeps(&self) -> (Duration, Duration);
}

/// Tells workers to stop.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Told once, for good.
    pub fn request(&self) {
        // Release: partner of the acquire in `requested`; what the owner did before is seen by `on_close`.
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was told.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a worker's thread ended early.
#[derive(Debug)]
pub enum RunnerError {
    /// The worker's own error.
    Failed(String),
    /// It panicked.
    Panicked(String),
}

impl std::fmt::Display for RunnerError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(text) => out.write_str(text),
            Self::Panicked(text) => write!(out, "panic: {text}"),
        }
    }
}

/// A running worker. [`Self::stop_and_join`] gives the worker back; dropping it without that stops and joins it too.
#[derive(Debug)]
pub struct WorkerThread<W> {
    /// Taken once, by whoever joins.
    handle: Option<JoinHandle<Given>>,
    stop: Arc<Stop>,
    bell: Arc<Bell>,
    gives: PhantomData<fn() -> W>,
}

/// What a thread gives when it is joined.
type Given = Box<dyn Any + Send>;

/// Starts a thread that never sees a signal. One type for all of them: what starts and ends a thread is long, and would be there for each.
fn start_thread(name: &str, body: Box<dyn FnOnce() -> Given + Send>) -> io::Result<JoinHandle<Given>> {
    // A new thread has its maker's signal mask.
    let _blocked = SignalsBlocked::here();
    ThreadBuilder::new().name(name.into()).spawn(body)
}

impl<W: Worker + 'static> WorkerThread<W> {
    /// Starts `worker` on a thread of its own, pinned to `cpu` if given; a pin that fails is passed to `on_failure`.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn spawn(
        worker: W,
        bell: Arc<Bell>,
        cpu: Option<u32>,
        on_failure: impl Fn(RunnerError) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let (token, ears) = (Arc::clone(&stop), Arc::clone(&bell));
        let body = move || -> Given {
            let mut worker = worker;
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut worker, &token, &ears, cpu)));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(text)) => on_failure(RunnerError::Failed(text)),
                Err(panic) => on_failure(RunnerError::Panicked(panic_text(&*panic))),
            }
            Box::new(worker)
        };
        Ok(Self { handle: Some(start_thread(W::NAME, Box::new(body))?), stop, bell, gives: PhantomData })
    }

    /// Lets the worker finish and takes it back; `None` when the thread itself could not be joined.
    pub fn stop_and_join(mut self) -> Option<W> {
        self.join()?.downcast().ok().map(|worker| *worker)
    }
}

impl<W> WorkerThread<W> {
    fn join(&mut self) -> Option<Given> {
        self.stop.request();
        self.bell.ring();
        self.handle.take()?.join().ok()
    }
}

impl<W> Drop for WorkerThread<W> {
    fn drop(&mut self) {
        // Gives nothing when `stop_and_join` has been here.
        drop(self.join());
    }
}

fn run<W: Worker>(worker: &mut W, stop: &Stop, bell: &Bell, cpu: Option<u32>) -> Result<(), String> {
    leave_real_time();
    if let Some(cpu) = cpu {
        pin_to(cpu).map_err(|error| format!("pin {} to CPU {cpu}: {error}", W::NAME))?;
    }
    if W::NICE > 0 {
        // SAFETY: the call has no conditions; on Linux it is about the calling thread. Being nicer is always allowed.
        let _ = unsafe { libc::nice(W::NICE) };
    }
    let mut idle_rounds = 0_u32;
    while !stop.requested() {
        if worker.do_work().map_err(|error| error.to_string())? > 0 {
            idle_rounds = 0;
            continue;
        }
        let (short, long) = worker.idle_sleeps();
        let rang = bell.sleep(if idle_rounds < SHORT_SLEEPS { short } else { long });
        idle_rounds = if rang { 0 } else { idle_rounds.saturating_add(1) };
    }
    worker.on_close().map_err(|error| error.to_string())
}

/// A thread has its maker's policy. Under a real-time one the workers would take turns with the engine by priority, and an engine that
/// spins gives none: theirs is the ordinary one. Where that is not allowed they stay what they are.
fn leave_real_time() {
    // SAFETY: the calls are about the calling thread; all-zero bytes are the parameters of the ordinary policy.
    unsafe {
        let policy = libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK;
        if policy == libc::SCHED_FIFO || policy == libc::SCHED_RR {
            let ordinary: libc::sched_param = std::mem::zeroed();
            let _ = libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        }
    }
}

/// The text of a panic.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

/// Whether a thread of this process can be pinned to `cpu`, tried on a thread of its own.
///
/// # Errors
/// The system's.
pub fn try_pin(cpu: u32) -> io::Result<()> {
    let probe = start_thread("walrec-pin", Box::new(move || Box::new(pin_to(cpu))))?;
    let given = probe.join().ok().and_then(|given| given.downcast::<io::Result<()>>().ok());
    given.map_or_else(|| Err(io::ErrorKind::Other.into()), |result| *result)
}

fn pin_to(cpu: u32) -> io::Result<()> {
    // SAFETY: all-zero bytes are an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let cpu = usize::try_from(cpu).unwrap_or(usize::MAX);
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the CPU's number lies within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set has the size given; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Processors of this machine, those included that are off now or that this process may not use.
pub fn processors() -> u64 {
    // SAFETY: the call has no conditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }).unwrap_or(1)
}

/// Whether this thread may run on more than one processor; true where the system does not say. The standard library's
/// available_parallelism also reads the files of cgroups, with 10 KiB of code that nothing else here needs.
pub fn has_second_processor() -> bool {
    // SAFETY: all-zero bytes are an empty set; it has the size given; 0 is the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 || libc::CPU_COUNT(&set) > 1
    }
}

/// The one processor that this thread is kept to, on a machine that has more.
pub fn only_processor() -> Option<usize> {
    // SAFETY: all-zero bytes are an empty set; it has the size given; 0 is the calling thread; each number asked for lies in the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let told = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) == 0;
        if !told || libc::CPU_COUNT(&set) != 1 || libc::sysconf(libc::_SC_NPROCESSORS_ONLN) < 2 {
            return None;
        }
        (0..8 * size_of::<libc::cpu_set_t>()).find(|&cpu| libc::CPU_ISSET(cpu, &set))
    }
}

/// All signals are blocked in this thread, and in those it starts, while this lives: so that a thread of the library handles none.
pub struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    /// Blocks them in the calling thread.
    #[must_use]
    pub fn here() -> Self {
        // SAFETY: all-zero bytes are a valid set to be filled; the calls change this thread's mask only.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }

    /// Takes the SIGXFSZ that a call of this thread has met with its error: it would end the process once signals are let through.
    pub fn take_file_size_signal(&self) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: all-zero bytes are a valid set to be filled; the signal is blocked, as those who wait for one must have it.
        unsafe {
            let mut one: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut one);
            libc::sigaddset(&raw mut one, libc::SIGXFSZ);
            libc::sigtimedwait(&raw const one, std::ptr::null_mut(), &raw const now);
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set came from the same call.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Counter {
        rounds: usize,
        fail_at: usize,
        panic_at: usize,
        reached: mpsc::Sender<usize>,
    }

    impl Worker for Counter {
        type Error = &'static str;
        const NAME: &'static str = "walrec-test";

        fn do_work(&mut self) -> Result<usize, Self::Error> {
            self.rounds += 1;
            let _ = self.reached.send(self.rounds);
            assert_ne!(self.rounds, self.panic_at, "told to panic");
            if self.rounds == self.fail_at { Err("told to fail") } else { Ok(0) }
        }

        fn on_close(&mut self) -> Result<(), Self::Error> {
            self.reached.send(0).map_err(|_| "nobody listens")
        }

        fn idle_sleeps(&self) -> (Duration, Duration) {
            (Duration::ZERO, Duration::from_millis(1))
        }
    }

    fn start(
        fail_at: usize,
        panic_at: usize,
    ) -> (WorkerThread<Counter>, mpsc::Receiver<usize>, mpsc::Receiver<String>) {
        let (reached, rounds) = mpsc::channel();
        let (failed, failures) = mpsc::channel();
        let worker = Counter { rounds: 0, fail_at, panic_at, reached };
        let on_failure = move |error: RunnerError| failed.send(error.to_string()).unwrap();
        (WorkerThread::spawn(worker, Arc::default(), None, on_failure).unwrap(), rounds, failures)
    }

    #[test]
    fn works_until_stopped_and_closes_once() {
        let (thread, rounds, failures) = start(0, 0);
        while rounds.recv().unwrap() < 100 {}
        let worker = thread.stop_and_join().unwrap();
        assert!(worker.rounds >= 100);
        assert_eq!(rounds.try_iter().filter(|&round| round == 0).count(), 1);
        assert!(failures.try_recv().is_err());
    }

    /// Tells the nice value of its thread.
    struct Told<const NICE: i32>(mpsc::Sender<i32>);

    impl<const NICE: i32> Worker for Told<NICE> {
        type Error = &'static str;
        const NAME: &'static str = "walrec-test";
        const NICE: i32 = NICE;

        fn do_work(&mut self) -> Result<usize, Self::Error> {
            // SAFETY: the call has no conditions; 0 is the calling thread.
            let _ = self.0.send(unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) });
            Ok(0)
        }

        fn on_close(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }

        fn idle_sleeps(&self) -> (Duration, Duration) {
            (Duration::from_millis(1), Duration::from_millis(1))
        }
    }

    fn nice_value<const NICE: i32>() -> i32 {
        let (told, values) = mpsc::channel();
        let thread = WorkerThread::spawn(Told::<NICE>(told), Arc::default(), None, |_| ()).unwrap();
        let value = values.recv().unwrap();
        drop(thread);
        value
    }

    #[test]
    fn a_nice_worker_is_nicer_than_its_maker() {
        let own = nice_value::<0>();
        assert_eq!(nice_value::<3>(), (own + 3).min(19));
        // The one who started it stays what it was.
        assert_eq!(nice_value::<0>(), own);
    }

    #[test]
    fn an_error_and_a_panic_are_handed_on() {
        let (thread, _rounds, failures) = start(3, 0);
        assert_eq!(failures.recv().unwrap(), "told to fail");
        assert_eq!(thread.stop_and_join().unwrap().rounds, 3);
        let (thread, _rounds, failures) = start(0, 2);
        assert!(failures.recv().unwrap().starts_with("panic: "));
        assert_eq!(thread.stop_and_join().unwrap().rounds, 2);
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};
    use crate::sync::watermark::Watermark;

    /// As the flusher: raises the mark when it is wanted.
    struct Raiser {
        watermark: Arc<Watermark>,
        closed: u32,
    }

    impl Worker for Raiser {
        type Error = &'static str;
        const NAME: &'static str = "walrec-model";

        fn do_work(&mut self) -> Result<usize, Self::Error> {
            if !self.watermark.is_wanted() {
                return Ok(0);
            }
            self.watermark.raise(1);
            self.watermark.wake();
            Ok(1)
        }

        fn on_close(&mut self) -> Result<(), Self::Error> {
            self.closed += 1;
            Ok(())
        }

        fn idle_sleeps(&self) -> (Duration, Duration) {
            (Duration::ZERO, Duration::ZERO)
        }
    }

    /// A deadlock that loom finds on the worker's thread comes out of the runner as a panic of the worker.
    fn start() -> (Arc<Watermark>, Arc<Bell>, WorkerThread<Raiser>) {
        let (watermark, bell) = (Arc::new(Watermark::new(0)), Arc::new(Bell::default()));
        let worker = Raiser { watermark: Arc::clone(&watermark), closed: 0 };
        let on_failure = |error: RunnerError| panic!("{error}");
        let thread = WorkerThread::spawn(worker, Arc::clone(&bell), None, on_failure).unwrap();
        (watermark, bell, thread)
    }

    fn stopped(end: impl Fn(WorkerThread<Raiser>) -> Option<Raiser>) {
        let (_, _, thread) = start();
        assert_eq!(end(thread).unwrap().closed, 1);
    }

    fn synced(want: impl Fn(&Watermark, &Bell)) {
        let (watermark, bell, thread) = start();
        want(&watermark, &bell);
        assert!(watermark.wait(None, || watermark.get() >= 1));
        assert_eq!(thread.stop_and_join().unwrap().closed, 1);
    }

    fn ring_and_stop(mut thread: WorkerThread<Raiser>) -> Option<Raiser> {
        thread.bell.ring();
        thread.stop.request();
        thread.handle.take()?.join().ok()?.downcast().ok().map(|worker| *worker)
    }

    #[test]
    fn a_worker_is_stopped_and_joined() {
        holds("runner, stopped and joined", || stopped(WorkerThread::stop_and_join));
        fails("runner, rung before it is told to stop", Weakened::Nothing, || stopped(ring_and_stop));
    }

    #[test]
    fn a_wish_is_fulfilled() {
        let real = |watermark: &Watermark, bell: &Bell| {
            watermark.want(1);
            bell.ring();
        };
        holds("runner, a wish of the watermark fulfilled", move || synced(real));
        fails("runner, rung before the wish", Weakened::Nothing, || {
            synced(|watermark, bell| {
                bell.ring();
                watermark.want(1);
            });
        });
    }
}
