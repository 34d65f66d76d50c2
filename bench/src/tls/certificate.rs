//! The proxies' certificate, made for one run: ECDSA on P-256, as most sites have it now.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The certificate.
pub const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Both, which HAProxy wants.
const PAIR: &str = "tls.pem";

/// The name clients ask for.
pub const NAME: &str = "bench.example";

/// Leaves certificate and key in `dir`. It signs itself but is no authority, so that a handshake
/// carries one certificate.
pub fn make(dir: &Path) -> Result<(), String> {
    let (chain, key) = (dir.join(CHAIN), dir.join(KEY));
    let out = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", &format!("/CN={NAME}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName=DNS:{NAME},IP:127.0.0.1")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&chain)
        .output()
        .map_err(|e| format!("openssl: {e}"))?;
    if !out.status.success() {
        return Err(format!("openssl: {}", String::from_utf8_lossy(&out.stderr)));
    }
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let both = [read(&chain)?, read(&key)?].concat();
    fs::write(dir.join(PAIR), both).map_err(|e| format!("{PAIR}: {e}"))
}
