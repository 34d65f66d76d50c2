//! One thread of a gateway, held still by ptrace: a worker that hangs.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Goes on when dropped, which must be before its process is waited for.
pub struct Frozen {
    over: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

/// Stops the thread of this name.
pub fn freeze(pid: u32, name: &str) -> Frozen {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let is_named = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let task = tasks.map_while(Result::ok).map(|task| task.path()).find(|path| is_named(path));
    let task = task.unwrap_or_else(|| panic!("it has no thread {name}"));
    let id = task.file_name().and_then(|n| n.to_str()?.parse::<libc::pid_t>().ok());
    let id = id.expect("a task's directory is its number");
    let (over, ends) = channel::<()>();
    let (frozen, stands) = channel();
    // All calls for one tracee come from one thread.
    let tracer = std::thread::spawn(move || {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: stops and continues a thread of our own child; no memory is written.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, id, none, none), 0, "ptrace is allowed");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, none, none), 0);
            assert_eq!(libc::waitpid(id, std::ptr::null_mut(), libc::__WALL), id);
        }
        frozen.send(()).expect("somebody waits");
        let _ = ends.recv();
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, id, none, none) };
    });
    stands.recv().expect("the thread was stopped");
    Frozen { over: Some(over), tracer: Some(tracer) }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.over.take());
        let _ = self.tracer.take().map(JoinHandle::join);
    }
}
