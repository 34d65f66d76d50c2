//! epoll with waits in nanoseconds, and the thread's own clockwork.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events that one wait brings.
const EVENTS_MAX: usize = 256;

pub struct Poll {
    epoll: OwnedFd,
    events: [libc::epoll_event; EVENTS_MAX],
}

impl Poll {
    #[allow(unsafe_code)] // a descriptor from the kernel
    pub fn new() -> io::Result<Poll> {
        // SAFETY: a plain call; its result is looked at.
        let id = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if id < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(id) };
        Ok(Poll { epoll, events: [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    /// Tells what comes on a socket, by `key`. A closed socket leaves by itself.
    #[allow(unsafe_code)] // epoll_ctl
    pub fn add(&self, socket: &impl AsRawFd, key: usize, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: key as u64 };
        let (epoll, socket) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, the event outlives the call.
        let done = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for events, at most so long; appends the keys of what is ready.
    #[allow(unsafe_code)] // epoll_pwait2, which libc has no function for
    pub fn wait(&mut self, at_most: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: at_most.as_secs() as libc::time_t,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: the kernel writes at most EVENTS_MAX events into our array and reads the time;
        // there is no signal mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        ready.extend(self.events[..count as usize].iter().map(|e| e.u64 as usize));
        Ok(())
    }
}

/// Puts this thread on a core and makes its sleeps end in time (a thread's are 50 µs late).
#[allow(unsafe_code)] // prctl
pub fn settle(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
    // SAFETY: a plain call with numbers; it concerns this thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize, 0_usize, 0_usize, 0_usize) };
}
