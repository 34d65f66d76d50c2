//! The door over HTTP: for reading, and with a token for the rest.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use super::bounded::Bounded;
use super::{Asks, Door, app};
use crate::secret::Secret;

/// What changes need; a reload may change it.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<Mutex<Option<Secret>>>);

impl Token {
    pub fn set(&self, token: Option<Secret>) {
        *self.0.lock().expect("nobody panics with the lock") = token;
    }

    fn get(&self) -> Option<Secret> {
        self.0.lock().expect("nobody panics with the lock").clone()
    }
}

/// Checks each request before it is looked at.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    token: Token,
}

impl Guard {
    /// The answer to who may not ask this.
    pub(super) fn refuse(&self, request: &Request) -> Option<Response> {
        let forbidden = |why: &'static str| Some((StatusCode::FORBIDDEN, why).into_response());
        let headers = request.headers();
        if !is_own_host(headers) {
            return forbidden("this Host is not served here; ask by address or as localhost\n");
        }
        if !is_own_origin(headers) {
            return forbidden("other sites' pages may not ask here\n");
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let given = bearer(headers).unwrap_or_default();
        match self.token.get() {
            None => forbidden("changes need `token` in [admin], or the socket\n"),
            Some(token) if is_equal(given.as_bytes(), token.expose()) => None,
            Some(_) => Some((StatusCode::UNAUTHORIZED, "the token is wrong\n").into_response()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// In time that tells nothing about where they differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differ == 0
}

/// An address, or `localhost`: a name would be one that somebody else points at us.
fn is_own_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_address)
}

fn is_address(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Browsers name the page that asks; only our own may.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    origin.to_str().is_ok_and(|o| o.strip_prefix("http://") == Some(host))
}

/// A bound address.
#[derive(Debug)]
pub struct HttpDoor {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpDoor {
    pub async fn bind(address: SocketAddr) -> std::io::Result<HttpDoor> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(HttpDoor { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the returned task is aborted.
    pub fn serve(self, asks: Asks, token: Token) -> tokio::task::JoinHandle<()> {
        let app = app(Door { asks, guard: Some(Guard { token }) });
        tokio::spawn(async move { _ = axum::serve(Bounded::new(self.listener), app).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn ask(method: &str, fields: &[(&str, &str)], token: Option<&str>) -> u16 {
        let mut request = Request::builder().method(method).uri("/status");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let guard = Guard { token: Token::default() };
        guard.token.set(token.map(|token| Secret::new(token.as_bytes())));
        let refused = guard.refuse(&request.body(Body::empty()).unwrap());
        refused.map_or(200, |r| r.status().as_u16())
    }

    #[test]
    fn names_and_other_origins_are_refused() {
        let own = [("host", "127.0.0.1:9911")];
        assert_eq!(ask("GET", &own, None), 200);
        assert_eq!(ask("GET", &[("host", "localhost:9911")], None), 200);
        assert_eq!(ask("GET", &[("host", "[::1]:9911")], None), 200);
        assert_eq!(ask("GET", &[("host", "evil.example:9911")], None), 403);
        assert_eq!(ask("GET", &[], None), 403);
        let origin = |origin| [own[0], ("origin", origin)];
        assert_eq!(ask("GET", &origin("http://127.0.0.1:9911"), None), 200);
        assert_eq!(ask("GET", &origin("http://evil.example"), None), 403);
        assert_eq!(ask("GET", &origin("null"), None), 403);
    }

    #[test]
    fn changes_need_the_token() {
        let with = |token| [("host", "127.0.0.1"), ("authorization", token)];
        assert_eq!(ask("POST", &with("Bearer s3cret"), None), 403);
        assert_eq!(ask("POST", &with("Bearer s3cret"), Some("s3cret")), 200);
        assert_eq!(ask("POST", &with("Bearer s3creT"), Some("s3cret")), 401);
        assert_eq!(ask("POST", &with("Bearer s3cret1"), Some("s3cret")), 401);
        assert_eq!(ask("POST", &with("Basic s3cret"), Some("s3cret")), 401);
    }
}
