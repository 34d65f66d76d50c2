//! THE LIST of what can be asked of a running gateway, and who may ask. Answers come from control.
//!
//! Over the unix socket everything, by ourselves and root. Over HTTP what only reads, and with a
//! token the rest; its `Host` and `Origin` are checked, since browsers reach loopback, too, and
//! names can be pointed at it (DNS rebinding).

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // control's thread

mod bounded;
pub mod client;
mod http;
mod socket;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::expose::Format;
pub use http::{HttpDoor, Token};
pub use socket::{SocketDoor, default_path};

/// Asks that wait for control; it answers one after another.
const ASKS_MAX: usize = 64;
/// Longest body of an ask.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Read the configuration again.
    Reload,
    /// What runs.
    Status,
    /// Whether it runs at all.
    Health,
    /// Whether all workers serve the same configuration, and no drain has begun.
    Ready,
    /// The numbers of all workers.
    Metrics(Format),
    /// What a request would get: the body of the ask describes it.
    Explain(String),
    /// What rate limits have counted: the body says of whom.
    Limits(String),
}

struct Endpoint {
    method: &'static str,
    path: &'static str,
    what: What,
}

/// THE LIST. `GET` only reads.
static ENDPOINTS: [Endpoint; 7] = [
    Endpoint { method: "GET", path: "/metrics", what: What::Metrics(Format::Prometheus) },
    Endpoint { method: "POST", path: "/reload", what: What::Reload },
    Endpoint { method: "GET", path: "/status", what: What::Status },
    Endpoint { method: "GET", path: "/healthz", what: What::Health },
    Endpoint { method: "GET", path: "/readyz", what: What::Ready },
    Endpoint { method: "POST", path: "/explain", what: What::Explain(String::new()) },
    Endpoint { method: "POST", path: "/limits", what: What::Limits(String::new()) },
];

/// An ask on its way to control.
#[derive(Debug)]
pub struct Ask {
    pub what: What,
    pub answer: oneshot::Sender<Answer>,
}

/// What control says.
#[derive(Debug)]
pub enum Answer {
    Done(serde_json::Value),
    /// Why the ask was not fulfilled.
    Refused(serde_json::Value),
    /// A type and a text of it.
    Text(&'static str, Bytes),
}

pub type Asks = mpsc::Sender<Ask>;

/// The way of asks from all doors to control.
pub fn asks() -> (Asks, mpsc::Receiver<Ask>) {
    mpsc::channel(ASKS_MAX)
}

/// Who comes through a door.
#[derive(Debug, Clone)]
struct Door {
    asks: Asks,
    /// `None`: everybody who gets this far may ask everything.
    guard: Option<http::Guard>,
}

fn app(door: Door) -> Router {
    Router::new().fallback(serve).with_state(door)
}

async fn serve(State(door): State<Door>, request: Request) -> Response {
    if let Some(refused) = door.guard.as_ref().and_then(|guard| guard.refuse(&request)) {
        return refused;
    }
    let path = request.uri().path().to_owned();
    let mut known = ENDPOINTS.iter().filter(|e| e.path == path);
    let method = request.method().as_str().replace("HEAD", "GET");
    let Some(first) = known.clone().next() else {
        let list: Vec<&str> = ENDPOINTS.iter().map(|e| e.path).collect();
        let text = format!("nothing is here; there are {}\n", list.join(", "));
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let Some(endpoint) = known.find(|e| e.method == method) else {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, first.method)]).into_response();
    };
    let format = format_for(&request);
    let Ok(body) = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut what = endpoint.what.clone();
    match &mut what {
        What::Explain(query) | What::Limits(query) => {
            *query = String::from_utf8_lossy(&body).into_owned()
        }
        What::Metrics(asked) => *asked = format,
        _ => {}
    }
    ask(door.asks, what).await
}

async fn ask(asks: Asks, what: What) -> Response {
    let (answer, answered) = oneshot::channel();
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending\n").into_response();
    let is_probe = matches!(what, What::Health | What::Ready);
    if asks.send(Ask { what, answer }).await.is_err() {
        return gone();
    }
    let Ok(answer) = answered.await else { return gone() };
    let (status, kind, text) = match answer {
        Answer::Done(json) => (StatusCode::OK, JSON, line(&json)),
        Answer::Text(kind, text) => (StatusCode::OK, kind, text),
        Answer::Refused(json) if is_probe => (StatusCode::SERVICE_UNAVAILABLE, JSON, line(&json)),
        Answer::Refused(json) => (StatusCode::UNPROCESSABLE_ENTITY, JSON, line(&json)),
    };
    (status, [(CONTENT_TYPE, kind)], text).into_response()
}

fn line(json: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{json}\n"))
}

const JSON: &str = "application/json";

/// OpenMetrics where it is asked for by name, as Prometheus does.
fn format_for(request: &Request) -> Format {
    let accept = request.headers().get_all(axum::http::header::ACCEPT);
    let is_named = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"))
    };
    match accept.iter().any(is_named) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}
