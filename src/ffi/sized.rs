//! Structures whose size the caller tells in their first field: what sizes are believed, and how one is given out.

use core::mem::size_of;

use super::last_error::Refusal;
use super::status::{WALREC_E_ABI, WALREC_E_INVALID};

/// The smallest struct: one that holds struct_size and flags.
const MIN_STRUCT_BYTES: usize = 8;
/// The largest struct that is believed; above it struct_size is garbage.
const MAX_STRUCT_BYTES: usize = 4096;
/// Every version of a struct ends on a multiple of this, so a struct_size never cuts a field.
pub(super) const STRUCT_ALIGN: usize = 8;

/// Why a struct_size cannot be used, or nothing.
pub(super) fn check_struct_size(name: &str, struct_size: usize) -> Result<(), Refusal> {
    let refuse = |status, why: &str| Err(Refusal::new(status, format!("{name}: struct_size {struct_size} {why}")));
    if struct_size < MIN_STRUCT_BYTES {
        return refuse(WALREC_E_INVALID, "is too small to hold struct_size and flags; set it to sizeof");
    }
    if struct_size > MAX_STRUCT_BYTES {
        return refuse(WALREC_E_ABI, "is more than any version has");
    }
    if !struct_size.is_multiple_of(STRUCT_ALIGN) {
        return refuse(WALREC_E_INVALID, "is no multiple of 8");
    }
    Ok(())
}

/// Writes what `fill` makes for the caller's struct_size to `out`: no more than so many bytes, and 0 where the caller has room for
/// fields that this library does not know. Nothing is written with an error.
///
/// # Safety
/// `T` is `repr(C)`, integers without padding, the first of them a u32 struct_size. `out` is not NULL, and as many bytes as its
/// struct_size says are writable there.
pub(super) unsafe fn give_struct<T>(
    name: &str,
    out: *mut T,
    fill: impl FnOnce(u32) -> Result<T, Refusal>,
) -> Result<(), Refusal> {
    // SAFETY: not NULL, and its first field is a readable u32 by contract.
    let struct_size = unsafe { out.cast::<u32>().read() };
    let bytes = struct_size as usize;
    check_struct_size(name, bytes)?;
    let filled = fill(struct_size)?;
    let known = bytes.min(size_of::<T>());
    // SAFETY: struct_size bytes are writable by contract, and known is not more than either struct has.
    unsafe {
        let to = out.cast::<u8>();
        to.copy_from_nonoverlapping((&raw const filled).cast(), known);
        to.add(known).write_bytes(0, bytes - known);
    }
    Ok(())
}
