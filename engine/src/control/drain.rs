//! The stages of going down and their deadlines. A core: `now` in, steps out.
//!
//! ```text
//!  begin: readiness drops ─ drain_delay ─▶ listeners close, idle connections go
//!           ├─ drain_timeout ─▶ exchanges are cut ─┐
//!           └─ tunnel_drain ──▶ tunnels are cut ───┴─ PATIENCE ─▶ give up on what hangs
//! ```

use std::time::Duration;

use crate::snapshot::Server;
use crate::time::Mono;

/// How long workers may take to end after everything was cut.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Workers stop accepting and close what is idle.
    Close,
    CutExchanges,
    CutTunnels,
    /// The later of both deadlines: whatever is left.
    CutAll,
    /// Some worker does not end: nothing more can be waited for.
    GiveUp,
}

/// What is still to come, the next one last.
#[derive(Debug)]
pub struct Drain {
    steps: Vec<(Mono, Step)>,
}

impl Drain {
    /// Both deadlines count from the moment the listeners close.
    pub fn begin(now: Mono, server: &Server) -> Drain {
        let close = now.after(server.drain_delay);
        let exchanges = (close.after(server.drain_timeout), Step::CutExchanges);
        let tunnels = (close.after(server.tunnel_drain), Step::CutTunnels);
        let first = if tunnels.0 < exchanges.0 { tunnels } else { exchanges };
        let last = tunnels.0.max(exchanges.0);
        let mut steps = vec![(last.after(PATIENCE), Step::GiveUp), (last, Step::CutAll)];
        if first.0 < last {
            steps.push(first);
        }
        steps.push((close, Step::Close));
        Drain { steps }
    }

    /// The next step, if its time has come. Each comes once.
    pub fn due(&mut self, now: Mono) -> Option<Step> {
        let (at, _) = *self.steps.last()?;
        if at > now {
            return None;
        }
        self.steps.pop().map(|(_, step)| step)
    }

    /// When the next step is due.
    pub fn next_at(&self) -> Option<Mono> {
        self.steps.last().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(delay: u64, timeout: u64, tunnels: u64) -> Server {
        let s = Duration::from_secs;
        Server {
            workers: None,
            pin: None,
            driver: Default::default(),
            drain_timeout: s(timeout),
            drain_delay: s(delay),
            tunnel_drain: s(tunnels),
            trusted_proxies: Box::default(),
            memory_max: None,
            via: false,
            limit_keys: 1000,
        }
    }

    /// Steps with the second each is due at.
    fn plan(server: &Server) -> Vec<(u64, Step)> {
        let start = Mono(7_000_000_000);
        let mut drain = Drain::begin(start, server);
        let mut plan = Vec::new();
        while let Some(at) = drain.next_at() {
            assert_eq!(drain.due(Mono(at.0 - 1)), None, "not before its time");
            let step = drain.due(at).expect("at its time");
            plan.push((at.since(start).as_secs(), step));
        }
        assert_eq!(drain.due(Mono::NEVER), None);
        plan
    }

    #[test]
    fn each_step_comes_once_at_its_time() {
        use Step::*;
        let expect = [(3, Close), (33, CutExchanges), (303, CutAll), (308, GiveUp)];
        assert_eq!(plan(&server(3, 30, 300)), expect);
        let expect = [(0, Close), (1, CutTunnels), (30, CutAll), (35, GiveUp)];
        assert_eq!(plan(&server(0, 30, 1)), expect);
        assert_eq!(plan(&server(0, 7, 7)), [(0, Close), (7, CutAll), (12, GiveUp)]);
    }
}
