//! One worker's use of a snapshot: the frozen part and, beside it, what this worker does with it.

use std::rc::Rc;
use std::sync::Arc;

use crate::snapshot::Snapshot;
use crate::upstream::Local;
use crate::worker::dial::Connection;

#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    /// By `UpstreamId`.
    pub upstreams: Box<[Rc<Local<Connection>>]>,
    /// Some route takes `%2F` in its path.
    pub any_encoded_slash: bool,
    /// Some route keeps `//` in its path.
    pub any_slashes: bool,
    /// Some route redirects over a last slash.
    pub any_slash_redirect: bool,
}

impl View {
    pub fn new(snapshot: Arc<Snapshot>, workers: u32) -> View {
        let local = |u| Rc::new(Local::new(u, workers));
        let upstreams = snapshot.upstreams.iter().map(local).collect();
        View {
            upstreams,
            any_encoded_slash: snapshot.routes.iter().any(|r| r.encoded_slash_keep),
            any_slashes: snapshot.routes.iter().any(|r| r.slashes_keep),
            any_slash_redirect: snapshot.routes.iter().any(|r| r.slash_redirect),
            snapshot,
        }
    }
}
