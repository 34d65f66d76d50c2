//! The one HTTP client of control's own tasks: a GET with a deadline and a bound.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderMap};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::resolver;
use crate::auth::fetch::Fetch;
use crate::auth::refresh;

/// For all of it, names and handshakes included.
const WHOLE_MAX: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 512 << 10;

/// What was fetched, and for how long it holds.
#[derive(Debug)]
pub struct Fetched {
    pub body: Vec<u8>,
    /// What `Cache-Control` says: `max-age`, or zero for `no-cache` and `no-store`.
    pub max_age: Option<Duration>,
}

/// Fetches a document; the error is one line.
pub async fn get(from: &Fetch) -> Result<Fetched, String> {
    match tokio::time::timeout(WHOLE_MAX, fetch(from)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("no answer within {} s", WHOLE_MAX.as_secs())),
    }
}

async fn fetch(from: &Fetch) -> Result<Fetched, String> {
    let stream = connect(from).await?;
    if !from.is_https {
        return ask(from, stream).await;
    }
    let name = from.host.trim_matches(['[', ']']);
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    let connector = TlsConnector::from(tls()?);
    let stream = connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
    ask(from, stream).await
}

async fn connect(from: &Fetch) -> Result<TcpStream, String> {
    let addresses = match from.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => vec![(ip, from.port).into()],
        Err(_) => resolver::addresses(&from.host, from.port).await?,
    };
    let mut failed = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => failed = format!("{address}: {e}"),
        }
    }
    Err(failed)
}

async fn ask<S>(from: &Fetch, stream: S) -> Result<Fetched, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    let connection = super::Task(tokio::spawn(async move {
        _ = connection.await; // what it means shows in the answer
    }));
    let request = hyper::Request::builder()
        .uri(&*from.target)
        .header("Host", &*from.authority)
        .header("Accept", "application/json")
        .header("User-Agent", "busbar")
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(format!("the answer is {}", answer.status()));
    }
    let max_age = max_age(answer.headers());
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|e| e.to_string())?.to_bytes().to_vec();
    drop(connection);
    Ok(Fetched { body, max_age })
}

/// Of all lines, the shortest.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    lines.filter_map(|line| refresh::max_age(line.as_bytes())).min()
}

/// The system's roots, read once.
fn tls() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err("this machine has no root certificates (ca-certificates)".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    made.clone()
}
