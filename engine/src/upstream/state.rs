//! What this worker believes about an upstream's targets, told to whoever explains.

use std::time::Duration;

use super::Local;
use crate::snapshot::EndpointAddress;
use crate::time::Mono;

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The endpoint as written.
    pub text: Box<str>,
    /// What is connected to; the same as `text` unless that is a name.
    pub address: String,
    /// Exchanges under way.
    pub inflight: u32,
    /// Connections that wait for the next request.
    pub idle: u32,
    /// How long it is still passed over, since it refused.
    pub shunned_for: Option<Duration>,
}

impl<C> Local<C> {
    /// Allocates; not for the request path.
    pub fn states(&self, now: Mono) -> Vec<TargetState> {
        let targets = self.targets.borrow();
        let state = |target: &std::rc::Rc<super::Target<C>>| TargetState {
            text: target.text.clone(),
            address: match &target.address {
                EndpointAddress::Ip(address) => address.to_string(),
                _ => target.text.to_string(),
            },
            inflight: target.inflight.get(),
            idle: target.pool.borrow().len() as u32,
            shunned_for: target.is_shunned(now).then(|| target.shunned_until.get().since(now)),
        };
        targets.iter().map(state).collect()
    }
}
