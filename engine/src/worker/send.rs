//! Writing, with the patience that a route has.

use std::io;
use std::time::Duration;

use crate::rt::{self, Stop, Watch};
use crate::time::Mono;
use crate::worker::exchange::Exchange;
use crate::worker::wire::Wire;

/// Over this much waiting the rate of a body is judged.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// How long one direction of a body may stand still, and how slow it may be. Only time spent
/// waiting for the peer counts.
#[derive(Debug)]
pub struct Pace {
    timeout: Option<Duration>,
    rate_min: Option<u64>,
    /// The exchange's own deadline.
    deadline: Mono,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// By the route's `body_timeout` and `body_rate_min`.
    pub fn of_body(x: &Exchange<'_>) -> Pace {
        Pace {
            timeout: x.route.body_timeout,
            rate_min: x.route.body_rate_min,
            deadline: x.deadline,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// For answers of our own, and for waits without a rate.
    pub fn plain(timeout: Option<Duration>, deadline: Mono) -> Pace {
        Pace { timeout, rate_min: None, deadline, waited: Duration::ZERO, bytes: 0 }
    }

    #[inline]
    pub fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Waits for `ready`, made anew for each window, as long as the peer keeps its pace.
    pub async fn wait<F>(&mut self, watch: &Watch, ready: impl Fn() -> F) -> Result<(), Stop>
    where
        F: Future<Output = Result<(), Stop>>,
    {
        let since = rt::cached_now();
        let stands_still = self.timeout.map_or(Mono::NEVER, |t| since.after(t));
        let hard = stands_still.min(self.deadline);
        let mut from = since;
        loop {
            let window = match self.rate_min {
                Some(_) => from.after(RATE_WINDOW.saturating_sub(self.waited)),
                None => Mono::NEVER,
            };
            watch.arm(hard.min(window));
            let result = ready().await;
            let now = rt::now();
            self.waited += now.since(from);
            from = now;
            let slow = self.is_too_slow();
            match result {
                Err(Stop::Expired) if now < hard && !slow => {}
                Ok(()) if slow => return Err(Stop::Expired),
                result => return result,
            }
        }
    }

    fn is_too_slow(&mut self) -> bool {
        let Some(rate) = self.rate_min else { return false };
        if self.waited < RATE_WINDOW {
            return false;
        }
        let slow = self.bytes < rate.saturating_mul(RATE_WINDOW.as_secs());
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

/// Writes `head`, `body` and `tail` in this order, the first two as one packet.
pub async fn send(
    stream: &Wire,
    mut head: &[u8],
    mut body: &[u8],
    mut tail: &[u8],
    watch: &Watch,
    pace: &mut Pace,
) -> Result<(), Stop> {
    loop {
        if head.is_empty() && body.is_empty() {
            if tail.is_empty() {
                return Ok(());
            }
            (body, tail) = (tail, &[]);
        }
        match stream.try_write(head, body) {
            Ok(n) => {
                let of_head = n.min(head.len());
                head = &head[of_head..];
                body = &body[n - of_head..];
                pace.moved(n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                pace.wait(watch, || stream.writable(watch)).await?;
            }
            Err(e) => return Err(e.into()),
        }
    }
}
