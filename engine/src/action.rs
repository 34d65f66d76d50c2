//! What a route does in the end.

use crate::http::template::{Place, Template};
use crate::ids::UpstreamId;

#[derive(Debug)]
pub enum Action {
    To(To),
    Respond(Box<Respond>),
    Redirect(Box<Redirect>),
    /// Answers with the request as it arrived; the embedded default's service.
    Echo,
}

/// One upstream, or a weighted split over several.
#[derive(Debug)]
pub struct To {
    /// Weights are 1 to 1,000,000; one target's weight does not matter.
    pub targets: Box<[(UpstreamId, u32)]>,
    pub weight_sum: u32,
}

#[derive(Debug)]
pub struct Respond {
    pub status: u16,
    /// Value of `Content-Type`; empty when there is no body.
    pub content_type: Box<str>,
    pub body: Template,
    /// How variables in `body` are escaped, by its type.
    pub place: Place,
    /// Further fields, names as written.
    pub headers: Box<[(Box<str>, Template)]>,
}

#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub to: Template,
}
