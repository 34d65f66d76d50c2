//! Asks a running gateway, for the command line.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failed {
    /// No gateway listens there.
    NotReached(String),
    /// It listens, and the answer broke.
    Broken(String),
}

/// Asks over the socket at `path`. The status and what was answered.
pub fn ask(
    path: &Path,
    method: &str,
    what: &str,
    body: String,
) -> Result<(u16, serde_json::Value), Failed> {
    let broken = |e: &dyn std::fmt::Display| Failed::Broken(e.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| broken(&e))?;
    runtime.block_on(async {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|e| Failed::NotReached(format!("{}: {e}", path.display())))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| broken(&e))?;
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(what)
            .header("Host", "localhost")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| broken(&e))?;
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status().as_u16();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|e| broken(&e))?.to_bytes();
        let json = serde_json::from_slice(&body);
        json.map(|json| (status, json))
            .map_err(|_| Failed::Broken(String::from_utf8_lossy(&body).trim_end().to_owned()))
    })
}
