//! Aeron IPC, through rusteron: a message into a ring in shared memory that another thread takes it from. It records nothing.

use std::error::Error;
use std::hint::spin_loop;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusteron_client::{AeronExclusivePublication, AeronOfferError, Handlers};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::testing::EmbeddedDriver;

use crate::event::Event;
use crate::peer::{Outcome, Peer, Purpose, Survives};

/// A window of 64 MiB, half a term, holds a burst: 96 bytes a message.
const CHANNEL: &std::ffi::CStr = c"aeron:ipc?term-length=128m";
const STREAM: i32 = 1001;
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that are taken at once.
const FRAGMENTS: usize = 256;

/// A publication, its driver, and a thread that takes what is published.
pub struct Aeron {
    publication: AeronExclusivePublication,
    published: u64,
    taken: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    taker: Option<JoinHandle<()>>,
    // Dropped in this order, the clients before their driver: one that finds it gone ends the process.
    _client: rusteron_client::Aeron,
    _driver: EmbeddedDriver,
}

impl Peer for Aeron {
    const NAME: &'static str = "Aeron IPC";
    const SURVIVES: Survives = Survives::Nothing;
    const LIES_IN: &'static str = "a ring in shared memory, for who takes it in time; nothing is recorded";
    const SETTINGS: &'static str = "exclusive publication, terms of 128 MiB in /dev/shm, locked in memory; a shared driver thread and the taking thread in the process";
    const SYNCS: bool = false;
    const REPLAYS: bool = false;

    fn version() -> String {
        format!("rusteron {}", env!("VERSION_RUSTERON_CLIENT"))
    }

    fn open(_: &Path, _: Purpose) -> Outcome<Self> {
        let driver = EmbeddedDriver::launch_with(|context| {
            context.set_threading_mode(aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED).map(drop)
        })?;
        let client = rusteron_client::Aeron::connect_dir(driver.dir())?;
        let publication = client.async_add_exclusive_publication(CHANNEL, STREAM)?.poll_blocking(PATIENCE)?;
        let taken = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, count, until) = (driver.dir().to_owned(), Arc::clone(&taken), Arc::clone(&stop));
        let taker = thread::spawn(move || {
            if let Err(why) = take(&dir, &count, &until) {
                eprintln!("the taking thread: {why}");
            }
        });
        // A fault for each page of the ring's first round would be counted as the publication's.
        // SAFETY: no pointers.
        if unsafe { libc::mlockall(libc::MCL_CURRENT) } != 0 {
            eprintln!("not locked in memory: {}", io::Error::last_os_error());
        }
        Ok(Self { publication, published: 0, taken, stop, taker: Some(taker), _client: client, _driver: driver })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        while let Err(why) = self.publication.offer(event.bytes()) {
            refused(why)?;
        }
        self.published += 1;
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        while self.taken.load(Ordering::Acquire) < self.published {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn replay(_: &Path, _: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        Err("it keeps nothing".into())
    }
}

impl Drop for Aeron {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.taker.take().map(JoinHandle::join);
    }
}

/// A full window, or a taker that is not there yet, is waited for.
#[cold]
fn refused(why: AeronOfferError) -> Outcome<()> {
    spin_loop();
    if why.is_retryable() { Ok(()) } else { Err(why.into()) }
}

fn take(dir: &str, taken: &AtomicU64, stop: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let client = rusteron_client::Aeron::connect_dir(dir)?;
    let pending = client.async_add_subscription(CHANNEL, STREAM, Handlers::NONE, Handlers::NONE)?;
    let subscription = pending.poll_blocking(PATIENCE)?;
    while !stop.load(Ordering::Acquire) {
        let mut count = 0;
        let fragments = subscription.poll_fn(|_, _| count += 1, FRAGMENTS)?;
        taken.fetch_add(count, Ordering::Release);
        if fragments == 0 {
            thread::yield_now();
        }
    }
    Ok(())
}
