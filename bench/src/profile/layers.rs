//! Which layer a cost belongs to.

use super::callgrind::Place;

/// Layers and where they begin; the first that fits has it.
const LAYERS: [(&str, &[&str]); 9] = [
    ("encode", &["parser::encode", "engine::h1::client", "engine::http"]),
    ("parse", &["parser"]),
    ("messages (h1::server, relay)", &["engine::h1"]),
    ("route", &["engine::router", "engine::way", "engine::action", "engine::snapshot"]),
    ("pick", &["engine::upstream", "engine::worker::dial"]),
    ("record", &["engine::metrics", "engine::log"]),
    (SHELL, &["engine::worker"]),
    (RUNTIME, &["monoio", "mio", "io_uring", "engine::rt", "engine::time"]),
    (OTHER_OF_GATEWAY, &["engine"]),
];
const RUNTIME: &str = "runtime";
const OTHER_OF_GATEWAY: &str = "other of the gateway";
const SHELL: &str = "shell (worker)";
/// Lines of the standard library and small crates in the worker's own functions, which hold much
/// of the other layers' code too: whose they are isn't known.
const IN_SHELL: &str = "library code inlined into the shell";
/// What the worker's thread begins with holds the runtime's loop.
const THREAD_BEGIN: &str = "__rust_begin_short_backtrace";
const ALLOCATOR: &str = "allocator";
const COPIES: &str = "copies (memcpy, memcmp)";
const CALLS: &str = "libc and system call stubs";
const OTHER: &str = "other";
/// Crates whose files say whose work it is; others' (bytes, memchr) is that of who called them.
const CRATES: [&str; 3] = ["monoio", "mio", "io-uring"];
/// The same, as they stand in names of functions.
const ROOTS: [&str; 5] = ["engine::", "parser::", "monoio::", "mio::", "io_uring::"];

/// Whether a layer's cost is the same in each run. The runtime's depends on how often it waits, and
/// what is behind `other` is mostly the control thread's, by time.
pub fn repeats(layer: &str) -> bool {
    ![RUNTIME, CALLS, OTHER, ALLOCATOR, OTHER_OF_GATEWAY].contains(&layer)
}

/// The source file decides, since small functions live on inside of large ones; the standard
/// library's lines belong to the function they were inlined into.
pub fn layer(place: &Place) -> &'static str {
    if let Some(path) = module(&place.file) {
        return layer_of(&path);
    }
    if let Some(path) = path_in(&place.function) {
        let layer = layer_of(&path);
        return if layer == SHELL { IN_SHELL } else { layer };
    }
    if place.function.contains(THREAD_BEGIN) {
        return RUNTIME;
    }
    let function = &*place.function;
    if function.contains("mi_") || place.file.contains("mimalloc") {
        return ALLOCATOR;
    }
    if ["memcpy", "memmove", "memset", "memcmp", "bcmp"].iter().any(|c| function.contains(c)) {
        return COPIES;
    }
    // The C library's files are named from its own source tree.
    if place.file.starts_with("./") || &*place.file == "???" { CALLS } else { OTHER }
}

fn layer_of(path: &str) -> &'static str {
    let begins = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let found = LAYERS.iter().find(|(_, prefixes)| prefixes.iter().any(|p| begins(p)));
    found.map_or(OTHER, |(name, _)| name)
}

/// `engine/src/worker/dial.rs` is `engine::worker::dial`; nothing for others' files.
fn module(file: &str) -> Option<String> {
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        let folder = rest.split('/').nth(1)?;
        let name = folder.rsplit_once('-')?.0;
        return CRATES.contains(&name).then(|| name.replace('-', "_"));
    }
    ["engine", "parser"].into_iter().find_map(|root| {
        let folder = format!("{root}/src/");
        let at = file.find(&folder)?;
        let is_whole = at == 0 || file.as_bytes()[at - 1] == b'/';
        let path = file[at + folder.len()..].strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        is_whole.then(|| format!("{root}::{}", path.replace('/', "::")))
    })
}

/// The first path of ours in a function's name, which may stand in `drop_in_place<…>`.
fn path_in(function: &str) -> Option<String> {
    let is_begin = |at: usize| {
        let before = function[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    let found = ROOTS
        .iter()
        .filter_map(|root| function.match_indices(root).map(|(at, _)| at).find(|at| is_begin(*at)));
    let rest = &function[found.min()?..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    Some(rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_decides_and_then_the_functions_name() {
        let check = |function: &str, file: &str, expect: &str| {
            let place = Place { function: function.into(), file: file.into() };
            assert_eq!(layer(&place), expect, "{function} in {file}");
        };
        let serve = "engine::worker::conn::serve::{{closure}}";
        check(serve, "engine/src/worker/dial.rs", "pick");
        check(serve, "/work/main/parser/src/encode.rs", "encode");
        check(serve, "engine/src/worker/conn.rs", SHELL);
        check("std::sys::backtrace::__rust_begin_short_backtrace", "/rustc/5/l.rs", RUNTIME);
        check(serve, "parser/src/head.rs", "parse");
        check(serve, "engine/src/router/mod.rs", "route");
        check(serve, "/root/.cargo/registry/src/i-1/mio-1.1.1/src/poll.rs", RUNTIME);
        check(serve, "/root/.cargo/registry/src/i-1/bytes-1.1/src/b.rs", IN_SHELL);
        check(serve, "/rustc/5980/library/core/src/ptr/mod.rs", IN_SHELL);
        check("core::ptr::drop_in_place<monoio::X<engine::worker::Y>>", "/rustc/5/l.rs", "runtime");
        check("<parser::encode::Head as core::fmt::Write>::w", "/rustc/5/l.rs", "encode");
        check("toml::parser::x", "/root/.cargo/registry/src/i-1/toml-1/src/p.rs", "other");
        check("mi_free", "/x/libmimalloc-sys-0.1/c_src/mimalloc/v3/src/free.c", ALLOCATOR);
        check("__memcpy_avx_unaligned_erms", "./string/../x.S", COPIES);
        check("recv", "./socket/../sysdeps/unix/sysv/linux/recv.c", CALLS);
    }
}
