//! From the caller's `walrec_config_t` to the core's `Config`: sizes, flags, ranges.

use core::ffi::{CStr, c_char, c_void};
use core::mem::{offset_of, size_of};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::last_error::Refusal;
use super::sized::{STRUCT_ALIGN, check_struct_size};
use super::status::{WALREC_E_ABI, WALREC_E_INVALID, WALREC_OK, walrec_status_t};
use super::types::{
    WALREC_FLAG_NO_COMPRESS, WALREC_FLAG_REQUIRE_SHM, WALREC_FLAG_SALVAGE, WALREC_FULL_FAIL, WALREC_FULL_WAIT,
    WALREC_LOG_ERROR, WALREC_LOG_INFO, WALREC_LOG_WARNING, walrec_config_t,
};
use crate::recorder::{Config, FullPolicy, LogLevel, LogSink};

/// CPUs a thread can be pinned to: the size of the kernel's cpu_set_t.
const MAX_CPUS: i32 = libc::CPU_SETSIZE;

/// Zeroes struct_size bytes at config and sets config->struct_size. Call it with sizeof(walrec_config_t).
///
/// INVALID: config is NULL, or struct_size is below 8, above 4096 or no multiple of 8; then nothing is written.
///
/// Any thread; never blocks.
///
/// # Safety
/// config: struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_config_init(config: *mut walrec_config_t, struct_size: usize) -> walrec_status_t {
    if config.is_null() {
        return Refusal::new(WALREC_E_INVALID, "walrec_config_init: config is NULL").record();
    }
    if let Err(refusal) = check_struct_size("walrec_config_init", struct_size) {
        return Refusal::new(WALREC_E_INVALID, refusal.text).record();
    }
    let Ok(kept_size) = u32::try_from(struct_size) else {
        return Refusal::new(WALREC_E_INVALID, "walrec_config_init: struct_size is too large").record();
    };
    // SAFETY: the caller gives struct_size writable bytes, at least MIN_STRUCT_BYTES, which hold the first field.
    unsafe {
        config.cast::<u8>().write_bytes(0, struct_size);
        (&raw mut (*config).struct_size).write(kept_size);
    }
    WALREC_OK
}

/// Reads the caller's struct, whatever its version: missing fields are zero, unknown ones must be.
///
/// # Safety
/// `config` is valid for reads of its own struct_size bytes, and of its first field in any case.
unsafe fn read_versioned(config: *const walrec_config_t) -> Result<walrec_config_t, Refusal> {
    // SAFETY: the first field is readable by contract.
    let struct_size = unsafe { (&raw const (*config).struct_size).read() } as usize;
    check_struct_size("walrec_config_t", struct_size)?;
    let known = struct_size.min(size_of::<walrec_config_t>());
    // SAFETY: all-zero bytes are a walrec_config_t: integers, NULL, and no callback.
    let mut ours: walrec_config_t = unsafe { core::mem::zeroed() };
    // SAFETY: struct_size bytes are readable by contract, and known is not more than either struct has.
    unsafe {
        (&raw mut ours).cast::<u8>().copy_from_nonoverlapping(config.cast(), known);
    }
    // SAFETY: the bytes from known to struct_size are readable by contract.
    let tail = unsafe { core::slice::from_raw_parts(config.cast::<u8>().add(known), struct_size - known) };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(Refusal::new(
            WALREC_E_ABI,
            format!(
                "walrec_config_t: struct_size {struct_size} is of a newer version, and a field beyond the {known} bytes \
                 that this library knows is set"
            ),
        ));
    }
    Ok(ours)
}

/// The core's configuration for the caller's; NULL gives the defaults.
///
/// # Safety
/// `config` is NULL, or valid for reads of its own struct_size bytes and of the string it points to. Its log_cb
/// may be called with its log_user, on any thread, as long as the recorder lives.
pub(super) unsafe fn read_config(config: *const walrec_config_t) -> Result<Config, Refusal> {
    if config.is_null() {
        return Ok(Config::default());
    }
    // SAFETY: not NULL, the rest by contract.
    let given = unsafe { read_versioned(config) }?;
    // SAFETY: by contract stage_dir is NULL or a terminated string.
    let stage_dir = unsafe { read_path("stage_dir", given.stage_dir) }?;
    let mut ours = translate(&given)?;
    ours.stage_dir = stage_dir;
    if let Some(callback) = given.log_cb {
        let callback = Callback { callback, user: given.log_user };
        ours.log = LogSink::new(move |level, message| callback.call(level, message));
    }
    Ok(ours)
}

/// The path behind `path`, or nothing for NULL.
///
/// # Safety
/// `path` is NULL or a terminated string.
pub(super) unsafe fn read_path(name: &str, path: *const c_char) -> Result<Option<PathBuf>, Refusal> {
    if path.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so terminated by contract.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    if bytes.is_empty() {
        return Err(Refusal::new(WALREC_E_INVALID, format!("{name} is an empty string")));
    }
    Ok(Some(Path::new(OsStr::from_bytes(bytes)).to_path_buf()))
}

/// Everything but pointers: numbers and flags, each refused by its name and range.
fn translate(given: &walrec_config_t) -> Result<Config, Refusal> {
    const KNOWN_FLAGS: u32 = WALREC_FLAG_REQUIRE_SHM | WALREC_FLAG_NO_COMPRESS | WALREC_FLAG_SALVAGE;
    if given.flags & !KNOWN_FLAGS != 0 {
        let unknown = given.flags & !KNOWN_FLAGS;
        return Err(invalid(format!("flags {:#x} has the unknown bits {unknown:#x}", given.flags)));
    }
    if given.reserved.iter().any(|&word| word != 0) {
        return Err(invalid("reserved is not 0"));
    }
    let mut ours = Config::default();
    // Ranges are the core's: it refuses a number by its name before it touches anything.
    for (field, given) in [
        (&mut ours.num_blocks, given.num_blocks),
        (&mut ours.max_segments, given.max_segments),
        (&mut ours.max_compressed_segments, given.max_compressed_segments),
        (&mut ours.stage_slots, given.stage_slots),
        (&mut ours.flush_interval_us, given.flush_interval_us),
        (&mut ours.append_sample, given.append_sample),
    ] {
        *field = or_default(given, *field);
    }
    ours.full_policy = match given.full_policy {
        WALREC_FULL_WAIT => FullPolicy::Wait { limit_us: or_default(given.wait_limit_us, WAIT_LIMIT_US) },
        WALREC_FULL_FAIL => FullPolicy::Fail,
        other => return Err(invalid(format!("full_policy {other} is not 0 (WAIT) or 1 (FAIL)"))),
    };
    ours.cpu_prepare = cpu("cpu_prepare", given.cpu_prepare)?;
    ours.cpu_flush = cpu("cpu_flush", given.cpu_flush)?;
    ours.cpu_maintain = cpu("cpu_maintain", given.cpu_maintain)?;
    ours.cpu_meta = cpu("cpu_meta", given.cpu_meta)?;
    ours.retention_floor = given.retention_floor;
    ours.require_shm = given.flags & WALREC_FLAG_REQUIRE_SHM != 0;
    ours.no_compress = given.flags & WALREC_FLAG_NO_COMPRESS != 0;
    ours.salvage = given.flags & WALREC_FLAG_SALVAGE != 0;
    Ok(ours)
}

/// Default of wait_limit_us.
const WAIT_LIMIT_US: u32 = 1_000_000;

fn invalid(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(WALREC_E_INVALID, format!("walrec_config_t: {text}"))
}

const fn or_default(given: u32, default: u32) -> u32 {
    if given == 0 { default } else { given }
}

fn cpu(name: &str, given: i32) -> Result<Option<u32>, Refusal> {
    match u32::try_from(given) {
        Ok(0) => Ok(None),
        Ok(number) if given <= MAX_CPUS => Ok(Some(number - 1)),
        _ => Err(invalid(format!("{name} {given} is not in 0..={MAX_CPUS} (CPU + 1, 0 = not pinned)"))),
    }
}

/// The caller's log callback.
#[derive(Clone, Copy)]
struct Callback {
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the contract of walrec_config_t.log_cb says that it is called on the library's threads; `user` is only
// handed back to it.
unsafe impl Send for Callback {}
// SAFETY: as above; it may be called at once on several threads.
unsafe impl Sync for Callback {}

impl Callback {
    fn call(self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Error => WALREC_LOG_ERROR,
            LogLevel::Warning => WALREC_LOG_WARNING,
            LogLevel::Info => WALREC_LOG_INFO,
        };
        // A path may hold any byte but 0; a message made of one cannot hold it either, and if so it ends there.
        let bytes = message.split('\0').next().unwrap_or_default();
        let text = CString::new(bytes).unwrap_or_default();
        // SAFETY: the caller of walrec_open gave the function and its argument for this; text is terminated and
        // lives until it returns.
        unsafe { (self.callback)(self.user, level, text.as_ptr()) }
    }
}

const _: () = assert!(offset_of!(walrec_config_t, struct_size) == 0);
const _: () = assert!(size_of::<walrec_config_t>().is_multiple_of(STRUCT_ALIGN));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::refusal_of;
    use crate::ffi::types::WALREC_KEEP_ALL;
    use std::sync::Mutex;

    fn init() -> walrec_config_t {
        let mut config = core::mem::MaybeUninit::<walrec_config_t>::uninit();
        // SAFETY: config has the size that is given, and is zeroed by the call.
        unsafe {
            assert_eq!(walrec_config_init(config.as_mut_ptr(), size_of::<walrec_config_t>()), WALREC_OK);
            config.assume_init()
        }
    }

    /// As `walrec_open` does it, the core's own check included.
    fn read(config: &walrec_config_t) -> Result<Config, Refusal> {
        // SAFETY: a whole struct, and the tests set no pointer that is not valid.
        let ours = unsafe { read_config(config) }?;
        ours.validate().map_err(|error| refusal_of("walrec_open", &error))?;
        Ok(ours)
    }

    fn refused(change: impl FnOnce(&mut walrec_config_t)) -> (walrec_status_t, String) {
        let mut config = init();
        change(&mut config);
        let refusal = read(&config).expect_err("the configuration is refused");
        (refusal.status, refusal.text)
    }

    #[test]
    fn zeroed_means_default() {
        let (ours, default) = (read(&init()).unwrap(), Config::default());
        assert_eq!(ours.num_blocks, default.num_blocks);
        assert_eq!(ours.max_segments, default.max_segments);
        assert_eq!(ours.max_compressed_segments, default.max_compressed_segments);
        assert_eq!(ours.stage_slots, default.stage_slots);
        assert_eq!(ours.flush_interval_us, default.flush_interval_us);
        assert_eq!(ours.append_sample, default.append_sample);
        assert!(matches!(ours.full_policy, FullPolicy::Wait { limit_us: WAIT_LIMIT_US }));
        assert!(matches!(default.full_policy, FullPolicy::Wait { limit_us: WAIT_LIMIT_US }));
        assert_eq!((ours.cpu_flush, ours.stage_dir, ours.retention_floor), (None, None, 0));
        // The documented defaults.
        assert_eq!((default.num_blocks, default.max_segments, default.max_compressed_segments), (512, 32, 128));
        assert_eq!((default.stage_slots, default.flush_interval_us, default.append_sample), (6, 200, 1024));
    }

    #[test]
    fn each_bad_number_is_refused_by_its_name_and_range() {
        type Change = fn(&mut walrec_config_t);
        let cases: [(&str, Change); 14] = [
            ("num_blocks is 15, not 16..=131072", |c| c.num_blocks = 15),
            ("num_blocks is 131073, not 16..=131072", |c| c.num_blocks = 131_073),
            ("max_segments is 1, not 2 or more", |c| c.max_segments = 1),
            ("stage_slots is 2, not 3..=1024", |c| c.stage_slots = 2),
            ("stage_slots is 1025, not 3..=1024", |c| c.stage_slots = 1025),
            ("flush_interval_us is 1000001, not at most 1000000", |c| c.flush_interval_us = 1_000_001),
            ("full_policy 2 is not", |c| c.full_policy = 2),
            ("cpu_prepare -1 is not in 0..=1024", |c| c.cpu_prepare = -1),
            ("cpu_flush 1025 is not in 0..=1024", |c| c.cpu_flush = 1025),
            ("cpu_maintain -5 is not", |c| c.cpu_maintain = -5),
            ("cpu_meta -2147483648 is not", |c| c.cpu_meta = i32::MIN),
            ("unknown bits 0x8", |c| c.flags = 0xf),
            ("reserved is not 0", |c| c.reserved[6] = 1),
            ("stage_dir is an empty string", |c| c.stage_dir = c"".as_ptr()),
        ];
        for (expected, change) in cases {
            let (status, text) = refused(change);
            assert_eq!(status, WALREC_E_INVALID, "{text}");
            assert!(text.contains(expected), "{text:?} does not say {expected:?}");
        }
    }

    #[test]
    fn good_values_arrive() {
        let mut config = init();
        config.flags = WALREC_FLAG_REQUIRE_SHM | WALREC_FLAG_SALVAGE;
        config.num_blocks = 16;
        config.max_segments = WALREC_KEEP_ALL;
        config.full_policy = WALREC_FULL_FAIL;
        config.cpu_flush = 1;
        config.stage_dir = c"/dev/shm/there".as_ptr();
        config.retention_floor = 7;
        let ours = read(&config).unwrap();
        assert!(ours.require_shm && !ours.no_compress && ours.salvage);
        assert_eq!((ours.num_blocks, ours.max_segments, ours.retention_floor), (16, u32::MAX, 7));
        assert!(matches!(ours.full_policy, FullPolicy::Fail));
        assert_eq!((ours.cpu_flush, ours.cpu_prepare), (Some(0), None));
        assert_eq!(ours.stage_dir.unwrap(), Path::new("/dev/shm/there"));
    }

    /// What a later version's caller gives.
    #[repr(C)]
    struct Newer {
        known: walrec_config_t,
        more: [u64; 2],
    }

    #[test]
    fn struct_size_of_older_and_newer_callers() {
        // Older: what lies behind its struct is not read.
        let mut config = init();
        config.num_blocks = 16;
        config.reserved = [u64::MAX; 7];
        config.struct_size = 88;
        assert_eq!(read(&config).unwrap().num_blocks, 16);
        config.struct_size = 8;
        assert_eq!(read(&config).unwrap().num_blocks, Config::default().num_blocks);
        for (bad, status) in
            [(0, WALREC_E_INVALID), (4, WALREC_E_INVALID), (12, WALREC_E_INVALID), (4104, WALREC_E_ABI)]
        {
            config.struct_size = bad;
            assert_eq!(read(&config).unwrap_err().status, status, "struct_size {bad}");
        }
        // Newer: zero beyond what is known is no wish.
        let mut newer = Newer { known: init(), more: [0; 2] };
        newer.known.struct_size = 160;
        newer.known.num_blocks = 32;
        // SAFETY: 160 bytes are readable.
        unsafe {
            assert_eq!(read_config((&raw const newer).cast()).unwrap().num_blocks, 32);
            newer.more[1] = 1;
            assert_eq!(read_config((&raw const newer).cast()).unwrap_err().status, WALREC_E_ABI);
        }
    }

    #[test]
    fn config_init_refuses_odd_sizes_and_writes_nothing_beyond() {
        let mut words = [u64::MAX; 32];
        let config: *mut walrec_config_t = words.as_mut_ptr().cast();
        // SAFETY: 256 bytes are writable, and the sizes asked for are not more.
        unsafe {
            for bad in [0, 4, 12, 4104, usize::MAX] {
                assert_eq!(walrec_config_init(config, bad), WALREC_E_INVALID);
            }
            assert_eq!(walrec_config_init(core::ptr::null_mut(), 144), WALREC_E_INVALID);
            assert_eq!(words, [u64::MAX; 32]);
            assert_eq!(walrec_config_init(config, 160), WALREC_OK);
        }
        assert_eq!(words[0], 160);
        assert!(words[1..20].iter().all(|&w| w == 0) && words[20..].iter().all(|&w| w == u64::MAX));
    }

    #[test]
    fn messages_reach_the_callback_terminated() {
        unsafe extern "C" fn keep(user: *mut c_void, level: i32, message: *const c_char) {
            // SAFETY: the test gives a Mutex<Vec<_>> as user, and the library a terminated string.
            let (kept, text) = unsafe { (&*user.cast::<Mutex<Vec<(i32, String)>>>(), CStr::from_ptr(message)) };
            kept.lock().unwrap().push((level, text.to_str().unwrap().to_owned()));
        }
        let kept: Mutex<Vec<(i32, String)>> = Mutex::default();
        let callback = Callback { callback: keep, user: (&raw const kept).cast_mut().cast() };
        callback.call(LogLevel::Warning, "look here");
        callback.call(LogLevel::Error, "cut\0off");
        assert_eq!(*kept.lock().unwrap(), [(1, "look here".to_owned()), (0, "cut".to_owned())]);
    }
}
