//! What workers believe about endpoints, put together for people.

use std::time::Duration;

use super::{Act, Explanation, Outcome};
use crate::ids::UpstreamId;
use crate::upstream::state::TargetState;

/// What one worker said of one upstream.
#[derive(Debug)]
pub struct Said {
    pub upstream: UpstreamId,
    pub targets: Vec<TargetState>,
}

/// All workers together, about one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointState {
    /// Addresses that it has, when it is a name: those that some worker knows.
    pub addresses: Vec<String>,
    /// Workers that have it.
    pub workers: usize,
    /// Those which pass it over, since it refused them; one that has several addresses counts
    /// when all refuse.
    pub refusing: usize,
    /// Until the first of them tries it again.
    pub again_in: Option<Duration>,
    /// Requests under way.
    pub inflight: u32,
    /// Connections that wait for the next request.
    pub idle: u32,
}

impl Explanation {
    /// Adds what each worker said; `workers` counts them, those without an answer too.
    pub fn add_states(&mut self, said: &[Vec<Said>], workers: usize) {
        if said.len() < workers {
            let silent = workers - said.len();
            self.notes.push(format!("{silent} of {workers} workers did not answer in time"));
        }
        let Outcome::Route(chosen) = &mut self.outcome else { return };
        let Act::To { targets, .. } = &mut chosen.action else { return };
        for target in targets {
            for endpoint in &mut target.endpoints {
                let mut state = EndpointState::default();
                for worker in said {
                    let here = worker.iter().filter(|said| said.upstream == target.id);
                    let targets = here.flat_map(|said| &said.targets);
                    let own: Vec<&TargetState> =
                        targets.filter(|state| *state.text == *endpoint.text).collect();
                    state.add(&own);
                }
                endpoint.state = Some(state);
            }
        }
    }
}

impl EndpointState {
    /// Adds one worker's word about its addresses.
    fn add(&mut self, own: &[&TargetState]) {
        if own.is_empty() {
            return;
        }
        self.workers += 1;
        for target in own {
            self.inflight += target.inflight;
            self.idle += target.idle;
            if target.address != *target.text && !self.addresses.contains(&target.address) {
                self.addresses.push(target.address.clone());
            }
        }
        if own.iter().all(|target| target.shunned_for.is_some()) {
            self.refusing += 1;
        }
        let next = own.iter().filter_map(|target| target.shunned_for).min();
        self.again_in = [self.again_in, next].into_iter().flatten().min();
    }

    /// `up`, `refuses connections`, `no address known`.
    pub fn word(&self) -> &'static str {
        match (self.workers, self.refusing) {
            (0, _) => "no address known",
            (_, 0) => "up",
            (all, refusing) if refusing == all => "refuses connections",
            _ => "refuses some workers",
        }
    }
}
