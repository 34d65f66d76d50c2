//! A real nginx in a directory of its own.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::certs::Pair;
use crate::{eventually, free_port};

pub struct Nginx {
    child: Child,
    scheme: &'static str,
    pub port: u16,
    pub dir: tempfile::TempDir,
}

impl Nginx {
    /// Serves `server` (the inside of a server block; `DIR` is its directory) on a free port.
    pub fn start(server: &str) -> Nginx {
        Nginx::listening("http", "", server)
    }

    /// The same over TLS with this certificate.
    pub fn start_tls(pair: &Pair, server: &str) -> Nginx {
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let files = format!(
            "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
        );
        Nginx::listening("https", "ssl", &format!("{files} {server}"))
    }

    fn listening(scheme: &'static str, how: &str, server: &str) -> Nginx {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let path = dir.path().display().to_string();
        let server = server.replace("DIR", &path);
        let conf = format!(
            "daemon off; worker_processes 1; pid {path}/nginx.pid; error_log {path}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log {path}/access.log; client_body_temp_path {path}/body;\n\
             proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u;\n\
             scgi_temp_path {path}/s; client_max_body_size 0; keepalive_requests 1000000;\n\
             server {{ listen 127.0.0.1:{port} {how}; root {path}; {server} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, conf).expect("the directory is ours");
        let child = Command::new("/usr/sbin/nginx")
            .args(["-p", &path, "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed (tests/run does it)");
        eventually("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Nginx { child, scheme, port, dir }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SAFETY: SIGTERM to our own child, which has not been waited for; it ends its worker.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}
