//! What the end-to-end tests are made of: the real gateway, raw clients, origins that obey a
//! script, certificates, nginx, Prometheus, wrk, openssl, curl, testssl.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a shell of its own
#![allow(unsafe_code)] // signals and sockets of the tests

pub mod certs;
pub mod child;
pub mod client;
pub mod crowd;
pub mod freeze;
pub mod gateway;
pub mod metrics;
pub mod nginx;
pub mod origin;
pub mod prometheus;
pub mod secure;
pub mod tls;
pub mod tokens;
pub mod wrk;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Below the ports that the kernel gives to connections, where it gives the usual ones: the tests
/// open thousands of those, and any could take a port before it is listened on.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.len() as u32;
    // Test processes that run at the same time begin in different places.
    let begin = std::process::id().wrapping_mul(487);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(n < 2 * count, "loopback has free ports");
        let port = (PORTS.start + begin.wrapping_add(n) % count) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `ready` holds, by looking again and again.
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
        pause();
    }
}

/// Makes a socket hold few bytes that its owner has not read (SO_RCVBUF; twice as many count).
pub fn receive_at_most(stream: &std::net::TcpStream, bytes: libc::c_int) {
    use std::os::fd::AsRawFd;
    // SAFETY: passes a local int of the right size for a live socket.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "a socket has a receive buffer");
}

/// The pause of a polling loop: a wait for nothing that can be asserted.
fn pause() {
    pace(Duration::from_millis(5));
}

/// Waits between two bytes of a peer that is slow on purpose.
pub fn pace(time: Duration) {
    // SAFETY: poll of no descriptor with a timeout only waits.
    unsafe { libc::poll(std::ptr::null_mut(), 0, time.as_millis() as libc::c_int) };
}
