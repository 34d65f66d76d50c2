//! The proxies, configured as an expert would for speed; their files stand in `bench/peers/`.

use std::fs;
use std::path::Path;

use crate::process::{Process, free_port, wait_for};

pub struct Peer {
    pub name: &'static str,
    pub port: u16,
    pub process: Process,
}

const ORIGIN: &str = include_str!("../peers/origin.conf");
const NGINX: &str = include_str!("../peers/nginx.conf");
const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const BUSBAR: &str = include_str!("../peers/busbar.toml");

/// What a line begins with that is only for the proxies with an access log, or only for the others.
const WITH_LOG: &str = "@LOG@ ";
const WITHOUT_LOG: &str = "@OFF@ ";

fn lines_for(text: &str, logs: bool) -> String {
    let (kept, dropped) = if logs { (WITH_LOG, WITHOUT_LOG) } else { (WITHOUT_LOG, WITH_LOG) };
    let lines = text.lines().filter(|line| !line.contains(dropped));
    lines.map(|line| line.replacen(kept, "", 1) + "\n").collect()
}

/// Writes a configuration with its places filled in.
fn write(dir: &Path, name: &str, text: &str, port: u16, origin: u16) -> Result<String, String> {
    let path = dir.join(name);
    let text = text
        .replace("@PORT@", &port.to_string())
        .replace("@ORIGIN@", &origin.to_string())
        .replace("@DIR@", &dir.display().to_string());
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path.display().to_string())
}

/// nginx that serves files; shares CPU 1 with wrk.
pub fn origin(dir: &Path) -> Result<Peer, String> {
    let failed = |e: std::io::Error| e.to_string();
    fs::write(dir.join("128"), vec![b'a'; 128]).map_err(failed)?;
    fs::write(dir.join("64k"), vec![b'b'; 65536]).map_err(failed)?;
    let port = free_port();
    let file = write(dir, "origin.conf", ORIGIN, port, 0)?;
    let path = dir.display().to_string();
    let log = dir.join("origin.log");
    let process = Process::start(1, "/usr/sbin/nginx", &["-p", &path, "-c", &file], &log)?;
    wait_for(port, "the origin")?;
    Ok(Peer { name: "origin", port, process })
}

/// Each proxy; `logs`: with a JSON line in a file for each request.
pub fn start_all(
    dir: &Path,
    origin: u16,
    busbar: Option<&str>,
    logs: bool,
) -> Result<Vec<Peer>, String> {
    let path = dir.display().to_string();
    let own = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("busbar");
    let own = own.display().to_string();
    let busbar = busbar.unwrap_or(&own);
    if !Path::new(busbar).exists() {
        return Err(format!("{busbar} is missing: cargo build --release -p busbar-engine"));
    }
    let mut peers = Vec::new();
    let mut start = |name, text, program: &str, args: &[&str]| -> Result<(), String> {
        let port = free_port();
        let file = format!("{name}.{}", if logs { "log.conf" } else { "conf" });
        let log = dir.join(format!("{file}.out"));
        let file = write(dir, &file, &lines_for(text, logs), port, origin)?;
        let process = Process::start(0, program, &[args, &[&file]].concat(), &log)?;
        wait_for(port, name)?;
        peers.push(Peer { name, port, process });
        Ok(())
    };
    start("busbar", BUSBAR, busbar, &["run"])?;
    start("nginx", NGINX, "/usr/sbin/nginx", &["-p", &path, "-c"])?;
    start("haproxy", HAPROXY, "/usr/sbin/haproxy", &["-db", "-f"])?;
    Ok(peers)
}
