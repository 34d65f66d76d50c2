//! Tree → model → terms: what listeners and upstreams speak TLS with. Files are read here and
//! judged by `crate::tls`; a message names the file and says nothing of what is in it.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::model::{Endpoint, Spot};
use super::reader::{Section, text_of, wrong_type};
use super::source::{Node, Value};
use super::{defaults, keys, secret};
use crate::auth::base64;
use crate::snapshot::EndpointAddress;
use crate::tls::verify::{self, Clients, Trust};
use crate::tls::{Certificate, Certs, ClientTerms, Digest, Fault, ServerTerms};
use crate::tls::{certs, client, date_text, digest, server};

/// A certificate with its chain, or a key.
const CERT_BYTES_MAX: u64 = 1 << 20;
/// Authorities, or a list of what they have revoked.
const BUNDLE_BYTES_MAX: u64 = 32 << 20;
/// Of one listener.
const CERTS_MAX: usize = 10_000;
/// What lists of preloaded names ask for (hstspreload.org).
const PRELOAD_SECONDS_MIN: u64 = 31_536_000;

/// `tls` of a listener, key by key; `[defaults.listener]` has one, too.
#[derive(Debug, Clone, Default)]
pub struct ListenerTls {
    pub at: At,
    /// The default first. Fewer than were named when some could not be used.
    certs: Vec<Certificate>,
    has_certs: bool,
    is_tls13_only: Option<bool>,
    client_ca: Option<Vec<CertificateDer<'static>>>,
    client_crl: Option<Vec<CertificateRevocationListDer<'static>>>,
    is_client_required: Option<bool>,
    client_headers: Option<bool>,
    handshake_timeout: Option<std::time::Duration>,
    handshakes_max: Option<u64>,
    hsts: Option<String>,
}

impl ListenerTls {
    /// Whether fields of clients' certificates are written, which nobody else may then write.
    pub(super) fn has_client_headers(&self) -> bool {
        self.client_headers == Some(true)
    }
}

/// `tls` of an upstream, the same way.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTls {
    ca: Option<(Arc<RootCertStore>, Digest)>,
    verify: Option<bool>,
    server_name: Option<ServerName<'static>>,
    own: Option<Certificate>,
    pins: Option<Vec<Digest>>,
}

/// A file that was read, as it is called in the configuration.
struct File<'t> {
    path: &'t str,
    at: At,
    bytes: Vec<u8>,
    mode: u32,
}

/// `None` was reported.
fn file<'t>(
    (text, at): (&'t str, At),
    bytes_max: u64,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<File<'t>> {
    if text.contains("-----BEGIN") || text.contains('\n') {
        let error = Diagnostic::new("E161", at, "a file's path is wanted here");
        out.push(error.note("what is in it stands in a file of its own"));
        return None;
    }
    let path = text.strip_prefix("file:").unwrap_or(text);
    match outside.read_list(path, at, bytes_max) {
        Ok(content) => Some(File { path, at, bytes: content.bytes, mode: content.mode }),
        Err(note) => {
            outside.is_faulty(path);
            let error = Diagnostic::new("E114", at, format!("\"{path}\" can't be read"));
            out.push(error.note(note));
            None
        }
    }
}

fn unusable(file: &File<'_>, fault: &Fault, outside: &Outside<'_>, out: &mut Diagnostics) {
    outside.is_faulty(file.path);
    let title = format!("\"{}\" can't be used", file.path);
    out.push(Diagnostic::new("E161", file.at, title).note(fault.to_string()));
}

/// A certificate and its key, which stands in the same file when there is no other.
fn pair(
    cert: &File<'_>,
    key: Option<&File<'_>>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Certificate> {
    let key = key.unwrap_or(cert);
    secret::warn_if_open(key.mode, key.at, out);
    match Certificate::of(&cert.bytes, &key.bytes) {
        Ok(found) => {
            doubtful(cert, &found, outside, out);
            return Some(found);
        }
        Err(fault @ (Fault::OtherKey | Fault::NotFirst(_))) => {
            outside.is_faulty(cert.path);
            let title = format!("the key in \"{}\" does not fit \"{}\"", key.path, cert.path);
            out.push(Diagnostic::new("E162", key.at, title).note(fault.to_string()));
        }
        Err(fault @ (Fault::NoKey | Fault::EncryptedKey | Fault::UnknownKey)) => {
            unusable(key, &fault, outside, out);
        }
        Err(fault @ (Fault::NotPem | Fault::BrokenPem)) => {
            let is_cert = certs::certificates(&cert.bytes).is_err();
            unusable(if is_cert { cert } else { key }, &fault, outside, out);
        }
        Err(fault) => unusable(cert, &fault, outside, out),
    }
    None
}

/// A certificate that no client takes now.
fn doubtful(file: &File<'_>, cert: &Certificate, outside: &Outside<'_>, out: &mut Diagnostics) {
    let (from, until) = cert.validity();
    let now = outside.now();
    let (what, when) = match () {
        () if until < now => ("has expired", format!("on {}", date_text(until))),
        () if from > now => ("is not valid yet", format!("before {}", date_text(from))),
        () => return,
    };
    let title = format!("the certificate in \"{}\" {what}", file.path);
    let warning = Diagnostic::new("W217", file.at, title);
    out.push(warning.note(format!("{when}; clients refuse it ({})", cert.label())));
}

/// `cert` and `key` of one table.
fn cert_and_key(
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Certificate> {
    let Some(cert) = section.text("cert", out) else {
        if let Some(key) = section.entry("key").filter(|_| section.entry("cert").is_none()) {
            let error = Diagnostic::new("E107", key.key_at, "`cert` is missing");
            out.push(error.note("a key has its certificate beside it"));
        }
        return None;
    };
    let cert = file(cert, CERT_BYTES_MAX, outside, out);
    let key = match section.node("key") {
        Some(node) => Some(file(text_of(node, out)?, CERT_BYTES_MAX, outside, out)?),
        None => None,
    };
    pair(&cert?, key.as_ref(), outside, out)
}

/// What `certs` names.
fn more_certs(
    section: &Section<'_>,
    outside: &Outside<'_>,
    found: &mut Vec<Certificate>,
    out: &mut Diagnostics,
) {
    let Some(node) = section.node("certs") else { return };
    let items = match &node.value {
        Value::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    };
    for item in items {
        match &item.value {
            Value::Text(_) => folder(item, outside, found, out),
            Value::Table(table) => {
                let one = Section::open(table, item.at, keys::LISTENER_CERT, out);
                if one.entries().is_empty() {
                    let error = Diagnostic::new("E107", item.at, "`cert` is missing");
                    out.push(error.note("such as { cert = \"a.pem\", key = \"a.key\" }"));
                }
                found.extend(cert_and_key(&one, outside, out));
            }
            _ => out.push(wrong_type(item, "a folder or a table with `cert` and `key`")),
        }
    }
    if found.len() > CERTS_MAX {
        let error = Diagnostic::new("E115", node.at, "this is too large");
        out.push(error.note(format!("at most {CERTS_MAX} certificates of one listener")));
    }
}

/// All certificates of a folder, by name. Hidden files are others' (Kubernetes keeps versions in
/// them), and so is an authority's certificate without a key.
fn folder(node: &Node, outside: &Outside<'_>, found: &mut Vec<Certificate>, out: &mut Diagnostics) {
    let Some((text, at)) = text_of(node, out) else { return };
    let path = text.strip_prefix("file:").unwrap_or(text).trim_end_matches('/');
    let names = match outside.names_of_list(path, at) {
        Ok(names) => names,
        Err(note) => {
            outside.is_faulty(path);
            let error = Diagnostic::new("E114", at, format!("\"{path}\" can't be read"));
            return out.push(error.note(note));
        }
    };
    let files: Vec<&str> = names
        .iter()
        .filter(|(name, is_dir)| !is_dir && !name.starts_with('.'))
        .map(|f| &*f.0)
        .collect();
    let mut is_any = false;
    for name in &files {
        let Some((stem, "pem" | "crt")) = name.rsplit_once('.') else { continue };
        is_any = true;
        let cert_path = format!("{path}/{name}");
        let Some(cert) = file((&cert_path, at), CERT_BYTES_MAX, outside, out) else { continue };
        let key_name = format!("{stem}.key");
        if !files.contains(&&*key_name) {
            let is_other = !certs::has_key(&cert.bytes) && certs::is_authority(&cert.bytes);
            if !is_other {
                found.extend(pair(&cert, None, outside, out));
            }
            continue;
        }
        let key_path = format!("{path}/{key_name}");
        let Some(key) = file((&key_path, at), CERT_BYTES_MAX, outside, out) else { continue };
        found.extend(pair(&cert, Some(&key), outside, out));
    }
    if !is_any {
        let error = Diagnostic::new("E161", at, format!("there is no certificate in \"{path}\""));
        out.push(error.note("a folder holds NAME.pem or NAME.crt, and NAME.key"));
    }
}

/// Certificates of authorities, of all files that a key names.
fn authorities(
    section: &Section<'_>,
    key: &str,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    for spot in section.texts(key, false, out)? {
        let Some(file) = file((spot.value, spot.at), BUNDLE_BYTES_MAX, outside, out) else {
            continue;
        };
        let found = certs::certificates(&file.bytes);
        match found.and_then(|found| verify::roots_of(&found).map(|_| found)) {
            Ok(found) => all.extend(found),
            Err(fault) => unusable(&file, &fault, outside, out),
        }
    }
    Some(all)
}

fn revoked(
    section: &Section<'_>,
    authorities: &[CertificateDer<'static>],
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let mut all = Vec::new();
    for spot in section.texts("client_crl", false, out)? {
        let Some(file) = file((spot.value, spot.at), BUNDLE_BYTES_MAX, outside, out) else {
            continue;
        };
        let found = certs::crls(&file.bytes);
        // Without authorities nothing can be said of a list; that they are missing is said.
        let checked = found.and_then(|found| match authorities.is_empty() {
            true => Ok((found, None)),
            false => verify::check_crls(authorities, &found).map(|next| (found, next)),
        });
        match checked {
            Ok((found, next)) => {
                if let Some(next) = next.filter(|next| *next < outside.now()) {
                    let title = format!("\"{}\" is out of date", file.path);
                    let warning = Diagnostic::new("W217", file.at, title);
                    let date = date_text(next);
                    out.push(warning.note(format!("since {date}; it still counts")));
                }
                all.extend(found);
            }
            Err(fault) => unusable(&file, &fault, outside, out),
        }
    }
    Some(all)
}

/// `tls` of a listener, or of all; `None`: there is none.
pub(super) fn listener(
    listener: &Section<'_>,
    defaults: Option<&ListenerTls>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<ListenerTls> {
    let section = listener.section("tls", keys::LISTENER_TLS, out)?;
    let fallback = ListenerTls::default();
    let defaults = defaults.unwrap_or(&fallback);
    // `acme` is refused by its name, and not for what it stands in place of.
    let has_certs = ["cert", "key", "certs", "acme"].iter().any(|key| section.entry(key).is_some());
    let mut certs = Vec::new();
    certs.extend(cert_and_key(&section, outside, out));
    more_certs(&section, outside, &mut certs, out);
    let own_ca = authorities(&section, "client_ca", outside, out);
    let client_ca = own_ca.or_else(|| defaults.client_ca.clone());
    let vouching = client_ca.as_deref().unwrap_or_default();
    let client_crl = revoked(&section, vouching, outside, out);
    for key in ["client_crl", "client", "client_headers"] {
        let Some(entry) = section.entry(key).filter(|_| client_ca.is_none()) else { continue };
        let is_off = matches!(entry.node.value, Value::Bool(false));
        if !is_off && !out.is_torn() {
            let title = format!("`{key}` needs `client_ca`");
            let error = Diagnostic::new("E163", entry.key_at, title);
            out.push(error.note("clients are asked for a certificate when it says who vouches"));
        }
    }
    let is_client_required = section.word("client", out).map(|word| word == "required");
    let is_tls13_only = section.word("min_version", out).map(|word| word == "1.3");
    Some(ListenerTls {
        at: section.at,
        certs: if has_certs { certs } else { defaults.certs.clone() },
        has_certs: has_certs || defaults.has_certs,
        is_tls13_only: is_tls13_only.or(defaults.is_tls13_only),
        client_ca,
        client_crl: client_crl.or_else(|| defaults.client_crl.clone()),
        is_client_required: is_client_required.or(defaults.is_client_required),
        client_headers: section.bool("client_headers", out).or(defaults.client_headers),
        handshake_timeout: section.time("handshake_timeout", out).or(defaults.handshake_timeout),
        handshakes_max: section.count("handshakes_max", out).or(defaults.handshakes_max),
        hsts: hsts(&section, out).or_else(|| defaults.hsts.clone()),
    })
}

/// The value of the field.
fn hsts(section: &Section<'_>, out: &mut Diagnostics) -> Option<String> {
    let node = section.node("hsts")?;
    let (max_age, subdomains, preload) = match &node.value {
        Value::Table(table) => {
            let hsts = Section::open(table, node.at, keys::HSTS, out);
            if hsts.entry("max_age").is_none() && !out.is_torn() {
                let error = Diagnostic::new("E107", node.at, "`max_age` is missing");
                out.push(error.note("such as max_age = \"365d\""));
            }
            let is = |key: &str, out: &mut Diagnostics| hsts.bool(key, out).unwrap_or_default();
            (hsts.time("max_age", out)?, is("subdomains", out), is("preload", out))
        }
        _ => (super::reader::time_within(node, &keys::HSTS[0], out)?, false, false),
    };
    let seconds = max_age.as_secs();
    if preload && (!subdomains || seconds < PRELOAD_SECONDS_MIN) {
        let error = Diagnostic::new("E169", node.at, "lists of preloaded names refuse this");
        out.push(error.note("they want `subdomains = true` and at least \"365d\""));
        return None;
    }
    let mut value = format!("max-age={seconds}");
    value.push_str(if subdomains { "; includeSubDomains" } else { "" });
    value.push_str(if preload { "; preload" } else { "" });
    Some(value)
}

/// What a listener speaks TLS with. `None` was reported.
pub(super) fn server_terms(
    name: &str,
    tls: &ListenerTls,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Arc<ServerTerms>> {
    if !tls.has_certs && !out.is_torn() {
        let error = Diagnostic::new("E107", tls.at, "`cert` is missing");
        out.push(error.note("such as { cert = \"a.pem\", key = \"a.key\" }, or `certs`"));
    }
    if tls.certs.is_empty() {
        return None;
    }
    let refused = |fault: Fault, out: &mut Diagnostics| {
        let error = Diagnostic::new("E161", tls.at, "TLS can't be spoken like this");
        out.push(error.note(fault.to_string()));
    };
    let certs = Certs::new(tls.certs.clone(), 0, outside.now());
    for cert in certs.all().iter().skip(1).filter(|cert| cert.names().is_empty()) {
        let title = format!("no client is given the certificate of `{}`", cert.label());
        let warning = Diagnostic::new("W219", tls.at, title);
        out.push(warning.note("it holds no DNS name that a client could ask for"));
    }
    let clients = match tls.client_ca.as_deref() {
        None | Some([]) => None,
        Some(authorities) => {
            let crls = tls.client_crl.clone().unwrap_or_default();
            let is_required = tls.is_client_required.unwrap_or(true);
            let clients = Clients::new(authorities, crls, is_required);
            Some(clients.map_err(|fault| refused(fault, out)).ok()?)
        }
    };
    let terms = ServerTerms::of(server::Given {
        name,
        certs,
        is_tls13_only: tls.is_tls13_only.unwrap_or_default(),
        clients: clients.as_ref(),
        handshake_timeout: tls.handshake_timeout.unwrap_or(defaults::HANDSHAKE_TIMEOUT),
        handshakes_max: tls.handshakes_max.unwrap_or(defaults::HANDSHAKES_MAX) as u32,
        hsts: tls.hsts.as_deref().map(Box::from),
        client_headers: tls.has_client_headers(),
    });
    terms.map(Arc::new).map_err(|fault| refused(fault, out)).ok()
}

/// `tls` of an upstream, or of all; `None`: there is none.
pub(super) fn upstream(
    upstream: &Section<'_>,
    defaults: Option<&UpstreamTls>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<UpstreamTls> {
    let section = upstream.section("tls", keys::UPSTREAM_TLS, out)?;
    let fallback = UpstreamTls::default();
    let defaults = defaults.unwrap_or(&fallback);
    let has_own = section.entry("cert").is_some() || section.entry("key").is_some();
    let own = cert_and_key(&section, outside, out);
    let ca = authorities(&section, "ca", outside, out).and_then(|found| {
        let digest = digest(found.iter().map(|der| der.as_ref()));
        Some((Arc::new(verify::roots_of(&found).ok()?), digest))
    });
    let server_name = section.text("server_name", out).and_then(|(text, at)| {
        let name = ServerName::try_from(text.to_owned());
        name.map_err(|_| {
            let error = Diagnostic::new("E132", at, format!("\"{text}\" is no host"));
            out.push(error.note("a name or an address, as it stands in the certificate"));
        })
        .ok()
    });
    let pins = section
        .texts("pins", false, out)
        .map(|list| list.iter().filter_map(|spot| pin(spot, out)).collect::<Vec<_>>());
    let pins = pins.or_else(|| defaults.pins.clone());
    let verify = section.bool("verify", out);
    if let Some(entry) = section.entry("verify").filter(|_| verify == Some(false) && pins.is_none())
    {
        let warning = Diagnostic::new("W218", entry.key_at, "anybody can be this service");
        out.push(warning.note("give the authority's certificate with `ca`, or `pins`"));
    }
    Some(UpstreamTls {
        ca: ca.or_else(|| defaults.ca.clone()),
        verify: verify.or(defaults.verify),
        server_name: server_name.or_else(|| defaults.server_name.clone()),
        own: if has_own { own } else { defaults.own.clone() },
        pins,
    })
}

/// `sha256:` and 44 characters of base64, or 64 digits.
fn pin(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<Digest> {
    let text = spot.value.strip_prefix("sha256:").unwrap_or_default();
    let bytes = match text.len() {
        64 => {
            (0..64).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
        }
        _ => base64::decoded(base64::Form::Padded, text.as_bytes()),
    };
    let digest = bytes.and_then(|bytes: Vec<u8>| Digest::try_from(bytes.as_slice()).ok());
    if digest.is_none() {
        let error = Diagnostic::new("E166", spot.at, "this is no pin");
        out.push(error.note("`sha256:` and the digest of the key's SPKI in base64, or 64 digits"));
    }
    digest
}

/// Which of an upstream's endpoints are spoken TLS with: all or none. Whether they are.
pub(super) fn is_tls(endpoints: &[Endpoint], own_tls: Option<At>, out: &mut Diagnostics) -> bool {
    let https = endpoints.iter().find(|endpoint| endpoint.is_https == Some(true));
    let plain = endpoints.iter().find(|endpoint| match own_tls {
        Some(_) => endpoint.is_https == Some(false),
        None => endpoint.is_https != Some(true),
    });
    let tls_at = own_tls.or(https.map(|endpoint| endpoint.at));
    if let (Some(tls_at), Some(plain)) = (tls_at, plain) {
        let (first, second) = (tls_at.min(plain.at), tls_at.max(plain.at));
        let error = Diagnostic::new("E164", first, "TLS with some, and not with all");
        out.push(error.note("endpoints of one upstream are all `https://`, or none").other(second));
    }
    tls_at.is_some()
}

/// What an upstream is spoken TLS with. `None` was reported.
pub(super) fn client_terms(
    tls: &UpstreamTls,
    endpoints: &[Endpoint],
    at: At,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Arc<ClientTerms>> {
    let verify = tls.verify.unwrap_or(true);
    let (trust, trust_digest) = match (&tls.ca, verify) {
        (_, false) => (Trust::Anyone, digest([&b"anyone"[..]])),
        (Some((roots, digest)), true) => (Trust::Roots(roots.clone()), *digest),
        (None, true) => match outside.system_roots() {
            Ok((roots, digest)) => (Trust::Roots(roots), digest),
            Err(note) => {
                let error = Diagnostic::new("E114", at, "this system knows no authorities");
                out.push(error.note(note).help("install ca-certificates, or say `ca`"));
                return None;
            }
        },
    };
    let terms = ClientTerms::of(client::Given {
        trust: &trust,
        trust_digest,
        pins: tls.pins.as_deref().unwrap_or_default(),
        server_name: tls.server_name.clone(),
        own: tls.own.as_ref(),
    });
    let terms = match terms {
        Ok(terms) => terms,
        Err(fault) => {
            let error = Diagnostic::new("E161", at, "TLS can't be spoken like this");
            out.push(error.note(fault.to_string()));
            return None;
        }
    };
    for endpoint in endpoints {
        let has_name = match &endpoint.address {
            EndpointAddress::Ip(_) => true,
            EndpointAddress::Name { host, .. } => terms.name_for(Some(host)).is_some(),
            EndpointAddress::Unix(_) => terms.name_for(None).is_some(),
        };
        if !has_name {
            let error = Diagnostic::new("E165", endpoint.at, "there is no name to ask for");
            out.push(error.note("say tls = { server_name = \"…\" }"));
        }
    }
    Some(Arc::new(terms))
}

/// `"https"` or `"https:8443"`: the port.
pub(super) fn redirect(section: &Section<'_>, out: &mut Diagnostics) -> Option<Spot<u16>> {
    let (text, at) = section.text("redirect", out)?;
    let port = match text.strip_prefix("https") {
        Some("") => Some(443),
        Some(rest) => rest.strip_prefix(':').and_then(super::address::port_of),
        None => None,
    };
    if port.is_none() {
        let error = Diagnostic::new("E167", at, format!("\"{text}\" is nowhere to send to"));
        out.push(error.note("\"https\", or with a port: \"https:8443\""));
    }
    port.map(|value| Spot { value, at })
}

/// A listener that says both.
pub(super) fn redirect_of_its_own(section: &Section<'_>, out: &mut Diagnostics) {
    if let (Some(entry), Some(_)) = (section.entry("redirect"), section.entry("tls")) {
        let error = Diagnostic::new("E167", entry.node.at, "this listener speaks TLS itself");
        out.push(error.note("a listener without `tls` sends its requests to one that has it"));
    }
}
