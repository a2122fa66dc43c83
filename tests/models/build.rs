//! Sets `loom`, by which the sources choose loom's primitives.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cfg=loom");
}
