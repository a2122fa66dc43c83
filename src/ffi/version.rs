//! The version of the library, and static texts: calls that take no handle, never fail and never block.

use core::ffi::c_char;

/// Number of the binary interface, also in the SONAME. It changes when a program has to be compiled again.
pub const WALREC_ABI_VERSION: u32 = 0;

/// One part of the version in Cargo.toml.
const fn part(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let mut number = 0;
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i].is_ascii_digit());
        number = number * 10 + (bytes[i] - b'0') as u32;
        i += 1;
    }
    number
}

const VERSION_NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + part(env!("CARGO_PKG_VERSION_PATCH"));

/// Version of the loaded library: major * 10000 + minor * 100 + patch, as WALREC_VERSION_NUMBER is for the
/// header.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn walrec_version_number() -> u32 {
    VERSION_NUMBER
}

/// Version of the loaded library as text, like "0.1.0". Static, never NULL.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn walrec_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

/// WALREC_ABI_VERSION of the loaded library.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn walrec_abi_version() -> u32 {
    WALREC_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decimal() {
        assert_eq!((part("0"), part("7"), part("120")), (0, 7, 120));
    }
}
