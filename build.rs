//! Link arguments of `libwalrec.so` that Cargo has no field for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number after .so is WALREC_ABI_VERSION.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwalrec.so.0");
    // Worker threads and thread-local storage would outlive a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // No lazy binding: the first append resolves nothing, and the tables it jumps through are read-only.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,relro");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
}
