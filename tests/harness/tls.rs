//! Clients that speak TLS and are not ours: `openssl s_client`, curl, Python, testssl; and what the
//! raw client needs to speak it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::PATIENCE;
use crate::certs::Pair;
use crate::child::{Said, run, run_with};

/// A request after which the server ends the connection.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// testssl looks at some hundred things, one connection each.
const TESTSSL_PATIENCE: Duration = Duration::from_secs(300);

/// What `s_client` learned from one connection.
#[derive(Debug)]
pub struct Session {
    /// `TLSv1.3`; empty when there was no handshake.
    pub version: String,
    pub cipher: String,
    pub is_resumed: bool,
    /// Of the server's certificate.
    pub subject: String,
    /// 0 is good; 10 has expired, 18 signs itself, 62 is for another host.
    pub verified: Option<u32>,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    pub said: Said,
}

/// Connects, sends [`REQUEST`] and reads to the end. `args` are `s_client`'s: `-servername`,
/// `-CAfile`, `-cert`, `-tls1_2`, `-sess_out`, `-sess_in`, …
pub fn s_client(port: u16, args: &[&str]) -> Session {
    // `-ign_eof`: it waits for the server's end, and so for the tickets that come before.
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    command.args(["-nocommands", "-ign_eof"]).args(args);
    session(run_with(&mut command, REQUEST.as_bytes(), PATIENCE))
}

fn session(said: Said) -> Session {
    let lines = || said.out.lines().map(str::trim);
    let after = |start: &str| lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
    // `New, TLSv1.3, Cipher is …` or `Reused, …`; without a handshake `New, (NONE), …`.
    let settled = lines().find(|line| line.contains(", Cipher is ")).unwrap_or_default();
    let mut parts = settled.split(", ");
    let kind = parts.next().unwrap_or_default();
    let (protocol, cipher) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // The first line names the lowest version of the cipher, which for 1.2 need not be the one
    // that is spoken.
    let version = match protocol {
        "(NONE)" => "",
        _ => after("Protocol  :").unwrap_or(protocol),
    };
    let verified = after("Verify return code:").or(after("Verification error:"));
    let number = verified.and_then(|text| text.split_whitespace().next()?.parse().ok());
    // The answer begins in the midst of what else is printed.
    let status = said.out.split("HTTP/1.1 ").nth(1).and_then(|text| text.get(..3)?.parse().ok());
    Session {
        version: version.to_owned(),
        cipher: cipher.trim_start_matches("Cipher is ").to_owned(),
        is_resumed: kind == "Reused",
        subject: after("subject=").unwrap_or_default().to_owned(),
        verified: number,
        status,
        said,
    }
}

/// curl on `https://HOST:PORT/PATH` at 127.0.0.1, trusting one authority. Its exit code says what
/// it thinks: 0, 60 for a certificate it doesn't believe, 56 or 35 for an alert.
pub fn curl(port: u16, host: &str, path: &str, ca: &Path, args: &[&str]) -> Said {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--resolve", &format!("{host}:{port}:127.0.0.1")]);
    command.arg("--cacert").arg(ca).args(args);
    run(command.arg(format!("https://{host}:{port}{path}")))
}

/// How a raw client speaks: the versions, whom it believes, who it is. It resumes what it did
/// itself.
pub fn speaking(
    versions: &[&'static SupportedProtocolVersion],
    ca: &Path,
    who: Option<&Pair>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.expect("ring has both versions").with_root_certificates(roots);
    let config = match who {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_file_iter(&pair.cert).expect("a file");
            let chain = chain.collect::<Result<_, _>>().expect("certificates");
            let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    Arc::new(config)
}

/// One connection's machine, for `Client::connect_tls`.
pub fn to(host: &str, config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    ClientConnection::new(config.clone(), name).expect("the configuration is whole")
}

/// A script for Python, with arguments.
pub fn python(script: &str, args: &[&str]) -> Said {
    run(Command::new("python3").args(["-c", script]).args(args))
}

/// What testssl has to say about a port: `(id, severity, finding)` of each thing it looked at.
pub fn testssl(port: u16, args: &[&str]) -> Vec<(String, String, String)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("findings.json");
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]);
    command.arg("--jsonfile").arg(&file).args(args).arg(format!("127.0.0.1:{port}"));
    let said = run_with(&mut command, b"", TESTSSL_PATIENCE);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let list = list.as_array().unwrap_or_else(|| panic!("testssl found nothing: {said:#?}"));
    let word = |of: &serde_json::Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    list.iter().map(|f| (word(f, "id"), word(f, "severity"), word(f, "finding"))).collect()
}

#[cfg(test)]
mod tests;
