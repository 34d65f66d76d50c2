//! An authority that issues what a test wants: good certificates and bad ones, for servers and for
//! clients, and lists of those it took back. All of it by the `openssl` program, which is not what
//! the gateway reads them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::run;
use crate::tokens::seconds;

const DAY: i64 = 86_400;

/// Kinds of keys.
pub const P256: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const P384: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub const RSA: &[&str] = &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub const ED25519: &[&str] = &["ED25519"];

/// PEM files of a certificate (with what is between it and the root) and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is to say. The default is good for a server, for a day more and a day less
/// than now.
pub struct Wish<'a> {
    /// `/CN=…`, and what else a subject has.
    pub subject: &'a str,
    /// `DNS:…`, `IP:…`, `URI:…`, `email:…`.
    pub sans: &'a [&'a str],
    pub key: &'a [&'a str],
    /// Days from now.
    pub from: i64,
    pub until: i64,
    /// `serverAuth` or `clientAuth`.
    pub usage: &'a str,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Wish { subject: "/CN=test", sans: &[], key: P256, from: -1, until: 1, usage: "serverAuth" }
    }
}

/// In a folder of its own, which goes with it.
pub struct Authority {
    dir: tempfile::TempDir,
    /// The certificates from this authority's own on to below the root.
    between: String,
}

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args);
    command
}

fn new_key(path: &Path, kind: &[&str]) {
    run(openssl(&["genpkey", "-algorithm"]).args(kind).arg("-out").arg(path)).well();
}

/// As certificates write times.
fn time(days: i64) -> String {
    let at = i64::try_from(seconds()).expect("not yet") + days * DAY;
    let said = run(Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%Y%m%d%H%M%SZ"]));
    said.well().trim().to_owned()
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Authority {
    /// A root of this name.
    pub fn new(name: &str) -> Authority {
        let authority = Authority::empty();
        new_key(&authority.at("ca.key"), P256);
        run(openssl(&["req", "-x509", "-days", "2", "-sha256", "-config"])
            .arg(authority.at("ca.cnf"))
            .args(["-extensions", "authority", "-subj", &format!("/CN={name}"), "-key"])
            .arg(authority.at("ca.key"))
            .arg("-out")
            .arg(authority.at("ca.crt")))
        .well();
        authority
    }

    /// An authority whose certificate this one issues. What it issues carries that certificate.
    pub fn below(&self, name: &str) -> Authority {
        let below = Authority::empty();
        let wish = Wish { subject: &format!("/CN={name}"), ..Wish::default() };
        let pair = self.sign(name, &wish, "@authority");
        for (from, to) in [(&pair.cert, "ca.crt"), (&pair.key, "ca.key")] {
            fs::copy(from, below.at(to)).expect("both folders are ours");
        }
        Authority { between: read(&pair.cert), ..below }
    }

    fn empty() -> Authority {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().display();
        write(
            &dir.path().join("ca.cnf"),
            format!(
                "[ca]\ndefault_ca = own\n[own]\ndatabase = {path}/index\ncrlnumber = {path}/number\n\
                 new_certs_dir = {path}\nrand_serial = yes\nunique_subject = no\n\
                 certificate = {path}/ca.crt\nprivate_key = {path}/ca.key\ndefault_md = sha256\n\
                 default_crl_days = 1\npolicy = any\n\
                 [any]\ncommonName = optional\norganizationName = optional\n\
                 organizationalUnitName = optional\ncountryName = optional\n\
                 [req]\ndistinguished_name = none\n[none]\n\
                 [authority]\nbasicConstraints = critical,CA:TRUE\n\
                 keyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n"
            ),
        );
        write(&dir.path().join("index"), "");
        write(&dir.path().join("number"), "01\n");
        Authority { dir, between: String::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its own certificate.
    pub fn cert(&self) -> PathBuf {
        self.at("ca.crt")
    }

    /// A good certificate of a server for these names (`DNS:shop.example`, `IP:127.0.0.1`).
    pub fn server(&self, file: &str, sans: &[&str]) -> Pair {
        self.issue(file, &Wish { subject: &format!("/CN={file}"), sans, ..Wish::default() })
    }

    /// A good certificate of a client.
    pub fn client(&self, file: &str, subject: &str, sans: &[&str]) -> Pair {
        self.issue(file, &Wish { subject, sans, usage: "clientAuth", ..Wish::default() })
    }

    /// One that was good until yesterday.
    pub fn expired(&self, file: &str, sans: &[&str]) -> Pair {
        self.issue(file, &Wish { sans, from: -3, until: -1, ..Wish::default() })
    }

    /// One that is good from tomorrow on.
    pub fn early(&self, file: &str, sans: &[&str]) -> Pair {
        self.issue(file, &Wish { sans, from: 1, until: 3, ..Wish::default() })
    }

    /// Any other; `file` is what its files are called.
    pub fn issue(&self, file: &str, wish: &Wish<'_>) -> Pair {
        let mut extensions = format!(
            "basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
             extendedKeyUsage = {}\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n",
            wish.usage
        );
        if !wish.sans.is_empty() {
            extensions += &format!("subjectAltName = {}\n", wish.sans.join(","));
        }
        self.sign(file, wish, &extensions)
    }

    /// With these extensions, or with a section of the authority's own (`@NAME`).
    fn sign(&self, file: &str, wish: &Wish<'_>, extensions: &str) -> Pair {
        let at = |end: &str| self.at(&format!("{file}.{end}"));
        let (cnf, pair) = (self.at("ca.cnf"), Pair { cert: at("crt"), key: at("key") });
        new_key(&pair.key, wish.key);
        let mut request = openssl(&["req", "-new", "-subj", wish.subject, "-config"]);
        run(request.arg(&cnf).arg("-key").arg(&pair.key).arg("-out").arg(at("csr"))).well();
        let mut sign = openssl(&["ca", "-batch", "-notext", "-preserveDN", "-config"]);
        sign.arg(&cnf).arg("-in").arg(at("csr")).arg("-out").arg(&pair.cert);
        sign.args(["-startdate", &time(wish.from), "-enddate", &time(wish.until)]);
        match extensions.strip_prefix('@') {
            Some(section) => sign.args(["-extensions", section]),
            None => {
                write(&at("ext"), extensions);
                sign.arg("-extfile").arg(at("ext"))
            }
        };
        run(&mut sign).well();
        write(&pair.cert, read(&pair.cert) + &self.between);
        pair
    }

    /// Takes a certificate back; [`Authority::crl`] says so from then on.
    pub fn revoke(&self, pair: &Pair) {
        let mut revoke = openssl(&["ca", "-config"]);
        run(revoke.arg(self.at("ca.cnf")).arg("-revoke").arg(&pair.cert)).well();
    }

    /// The list of what it took back, written anew.
    pub fn crl(&self) -> PathBuf {
        let path = self.at("ca.crl");
        let mut list = openssl(&["ca", "-gencrl", "-config"]);
        run(list.arg(self.at("ca.cnf")).arg("-out").arg(&path)).well();
        path
    }
}

impl Pair {
    /// One that nobody issued, in `dir`.
    pub fn self_signed(dir: &Path, file: &str, sans: &[&str]) -> Pair {
        let at = |end: &str| dir.join(format!("{file}.{end}"));
        let pair = Pair { cert: at("crt"), key: at("key") };
        new_key(&pair.key, P256);
        run(openssl(&["req", "-x509", "-days", "2", "-subj", &format!("/CN={file}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", &format!("subjectAltName={}", sans.join(","))])
            .arg("-key")
            .arg(&pair.key)
            .arg("-out")
            .arg(&pair.cert))
        .well();
        pair
    }

    /// Certificate and key in one text, as a folder of `.pem` files has them.
    pub fn both(&self) -> String {
        read(&self.cert) + &read(&self.key)
    }

    /// Puts this pair in the place of another, as tools that renew certificates do: each file by a
    /// rename.
    pub fn replaces(&self, other: &Pair) {
        for (from, to) in [(&self.cert, &other.cert), (&self.key, &other.key)] {
            let beside = to.with_extension("new");
            fs::copy(from, &beside).expect("both folders are ours");
            fs::rename(&beside, to).expect("both folders are ours");
        }
    }

    /// SHA-256 of the certificate, as lower-case hex.
    pub fn fingerprint(&self) -> String {
        let mut print = openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
        let said = run(print.arg(&self.cert)).well();
        let (_, hex) = said.trim().split_once('=').expect("`sha256 Fingerprint=…`");
        hex.replace(':', "").to_lowercase()
    }

    /// SHA-256 of the public key (SPKI), as lower-case hex: what a pin names.
    pub fn key_digest(&self) -> String {
        let der = self.key.with_extension("spki");
        let mut public = openssl(&["pkey", "-pubout", "-outform", "DER", "-in"]);
        run(public.arg(&self.key).arg("-out").arg(&der)).well();
        let bytes = fs::read(der).expect("openssl wrote it");
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
