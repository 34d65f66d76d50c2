//! In this crate alone the engine's atomics are loom's.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=busbar_loom");
}
