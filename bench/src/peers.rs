//! The proxies, configured as an expert would for speed; their files stand in `bench/peers/`.

use std::fs;
use std::path::Path;

use crate::process::{Process, free_port, wait_for};
use crate::relay::Kind;
use crate::routes::Texts;

pub struct Peer {
    pub name: &'static str,
    pub port: u16,
    /// What a client speaks with it: `http` or `https`.
    pub scheme: &'static str,
    pub process: Process,
}

const ORIGIN: &str = include_str!("../peers/origin.conf");
const NGINX: &str = include_str!("../peers/nginx.conf");
const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
pub const BUSBAR: &str = include_str!("../peers/busbar.toml");

/// What a line begins with that is only for the proxies with an access log, or only for the others.
const WITH_LOG: &str = "@LOG@ ";
const WITHOUT_LOG: &str = "@OFF@ ";
/// The same for TLS towards the client.
const WITH_TLS: &str = "@TLS@ ";
const WITHOUT_TLS: &str = "@TCP@ ";

fn lines_for(text: &str, logs: bool, tls: bool) -> String {
    let (log, no_log) = if logs { (WITH_LOG, WITHOUT_LOG) } else { (WITHOUT_LOG, WITH_LOG) };
    let (wire, no_wire) = if tls { (WITH_TLS, WITHOUT_TLS) } else { (WITHOUT_TLS, WITH_TLS) };
    let lines = text.lines().filter(|line| !line.contains(no_log) && !line.contains(no_wire));
    lines.map(|line| line.replacen(log, "", 1).replacen(wire, "", 1) + "\n").collect()
}

/// What the proxies of one comparison have in common.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    pub dir: &'a Path,
    pub origin: u16,
    /// Another gateway than the one beside this program.
    pub busbar: Option<&'a str>,
    /// With a JSON line in a file for each request.
    pub logs: bool,
    /// With TLS towards the client, by the certificate that `tls::certificate` left in `dir`.
    pub tls: bool,
    /// Connections that nginx and HAProxy reserve room for.
    pub connections_max: u32,
}

/// Connections at once where the scenario is not about them.
pub const CONNECTIONS_MAX: u32 = 8192;

impl Setup<'_> {
    /// Writes a configuration with its places filled in.
    pub fn write(&self, name: &str, text: &str, port: u16, routes: &str) -> Result<String, String> {
        let path = self.dir.join(name);
        let text = lines_for(text, self.logs, self.tls)
            .replace("@PORT@", &port.to_string())
            .replace("@ORIGIN@", &self.origin.to_string())
            .replace("@CONNECTIONS@", &self.connections_max.to_string())
            .replace("@CONNECTIONS_SPARE@", &(self.connections_max * 9 / 8).to_string())
            .replace("@NAME@", name)
            .replace("@DIR@", &self.dir.display().to_string())
            .replace("@ROUTES@\n", routes);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn start(
        &self,
        name: &'static str,
        file: &str,
        program: &str,
        args: &[&str],
        port: u16,
    ) -> Result<Peer, String> {
        let log = self.dir.join(format!("{file}.out"));
        let mut process = Process::start(0, program, args, &log)?;
        if let Err(e) = process.wait_for(port, name) {
            return Err(format!("{e}: {}", fs::read_to_string(log).unwrap_or_default()));
        }
        Ok(Peer { name, port, scheme: if self.tls { "https" } else { "http" }, process })
    }
}

/// nginx that serves files; shares CPU 1 with wrk.
pub fn origin(dir: &Path) -> Result<Peer, String> {
    let failed = |e: std::io::Error| e.to_string();
    fs::write(dir.join("128"), vec![b'a'; 128]).map_err(failed)?;
    fs::write(dir.join("64k"), vec![b'b'; 65536]).map_err(failed)?;
    let port = free_port();
    let setup = Setup {
        dir,
        origin: 0,
        busbar: None,
        logs: false,
        tls: false,
        connections_max: CONNECTIONS_MAX,
    };
    let file = setup.write("origin.conf", ORIGIN, port, "")?;
    let path = dir.display().to_string();
    let log = dir.join("origin.log");
    let process = Process::start(1, "/usr/sbin/nginx", &["-p", &path, "-c", &file], &log)?;
    wait_for(port, "the origin")?;
    Ok(Peer { name: "origin", port, scheme: "http", process })
}

/// Each proxy, with these routes; `tag` tells their files from others'.
pub fn start_all(setup: &Setup, tag: &str, routes: &Texts) -> Result<Vec<Peer>, String> {
    let busbar = start_busbar(setup, tag, routes)?;
    let nginx = start_nginx(setup, tag, routes)?;
    Ok(vec![busbar, nginx, start_haproxy(setup, tag, routes)?])
}

/// Busbar alone, with these routes.
pub fn start_busbar(setup: &Setup, tag: &str, routes: &Texts) -> Result<Peer, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("busbar");
    let own = own.display().to_string();
    let busbar = setup.busbar.unwrap_or(&own);
    if !Path::new(busbar).exists() {
        return Err(format!("{busbar} is missing: cargo build --release -p busbar-engine"));
    }
    let (port, file) = (free_port(), format!("busbar.{tag}.toml"));
    let path = setup.write(&file, BUSBAR, port, &routes.busbar)?;
    setup.start("busbar", &file, busbar, &["run", &path], port)
}

pub fn start_nginx(setup: &Setup, tag: &str, routes: &Texts) -> Result<Peer, String> {
    let (port, file) = (free_port(), format!("nginx.{tag}.conf"));
    let text = NGINX.replace("@HTTP@\n", &routes.nginx_http);
    let path = setup.write(&file, &text, port, &routes.nginx)?;
    let dir = setup.dir.display().to_string();
    setup.start("nginx", &file, "/usr/sbin/nginx", &["-p", &dir, "-c", &path], port)
}

pub fn start_haproxy(setup: &Setup, tag: &str, routes: &Texts) -> Result<Peer, String> {
    let (port, file) = (free_port(), format!("haproxy.{tag}.cfg"));
    let path = setup.write(&file, HAPROXY, port, &routes.haproxy)?;
    setup.start("haproxy", &file, "/usr/sbin/haproxy", &["-db", "-f", &path], port)
}

/// The relays, which are this program again.
pub fn start_relays(setup: &Setup) -> Result<Vec<Peer>, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?.display().to_string();
    let origin = setup.origin.to_string();
    let start = |kind: Kind| {
        let port = free_port();
        let args = ["relay", kind.word(), "--port", &port.to_string(), "--origin", &origin];
        setup.start(kind.row(), &format!("relay-{}", kind.word()), &own, &args, port)
    };
    Kind::ALL.into_iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_kept_where_its_marks_say_so() {
        let text = "  a\n  @LOG@ b\n@OFF@ c\n@TLS@ d\n@TCP@ e\n";
        assert_eq!(lines_for(text, false, false), "  a\nc\ne\n");
        assert_eq!(lines_for(text, true, false), "  a\n  b\ne\n");
        assert_eq!(lines_for(text, false, true), "  a\nc\nd\n");
        for text in [BUSBAR, NGINX, HAPROXY] {
            assert!(!lines_for(text, false, false).contains("tls"), "{text}");
            assert!(lines_for(text, true, true).contains("@DIR@/tls"), "{text}");
        }
    }
}
