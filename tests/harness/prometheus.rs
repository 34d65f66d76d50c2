//! A real Prometheus, and its promtool.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::client::get;
use crate::{eventually, free_port};

/// Scrapes from its start to its drop, into a directory of its own.
pub struct Prometheus {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes each job's `/metrics` at its address, twice a second.
    pub fn scrape(jobs: &[(&str, &str)]) -> Prometheus {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = String::from(
            "global: { scrape_interval: 500ms, scrape_timeout: 500ms }\nscrape_configs:\n",
        );
        for (job, address) in jobs {
            config += &format!(
                "- {{ job_name: {job}, static_configs: [ {{ targets: [ '{address}' ] }} ] }}\n"
            );
        }
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("prometheus.yml"), config).expect("the directory is ours");
        let log = std::fs::File::create(at("log")).expect("the directory is ours");
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=1h", "--log.level=warn"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed (tests/run does it)");
        let prometheus = Prometheus { child, port, dir };
        eventually("Prometheus listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        eventually("Prometheus is ready", || get(&prometheus.address(), "/-/ready").status == 200);
        prometheus
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn api(&self, what: &str) -> Value {
        let answer = get(&self.address(), &format!("/api/v1/{what}"));
        let json: Value = serde_json::from_slice(&answer.body).expect("the API speaks JSON");
        assert_eq!(json["status"], "success", "{what}: {json}");
        json["data"].clone()
    }

    /// The value of a query that has one; `None` while there is nothing.
    pub fn query(&self, query: &str) -> Option<f64> {
        let data = self.api(&format!("query?query={}", encoded(query)));
        let results = data["result"].as_array().expect("a vector");
        assert!(results.len() <= 1, "{query} has many values: {data}");
        results.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query gives this, and says what it gave in the end.
    pub fn becomes(&self, query: &str, expect: f64) {
        let mut last = None;
        let begin = std::time::Instant::now();
        while last != Some(expect) {
            assert!(begin.elapsed() < crate::PATIENCE, "{query} is {last:?}, not {expect}");
            crate::pause();
            last = self.query(query);
        }
    }

    /// What it learned of a metric besides values: `type` and `unit`.
    pub fn metadata(&self, job: &str, metric: &str) -> (String, String) {
        let target = encoded(&format!("{{job=\"{job}\"}}"));
        let data = self.api(&format!("targets/metadata?match_target={target}&metric={metric}"));
        let text = |name: &str| data[0][name].as_str().unwrap_or_default().to_owned();
        (text("type"), text("unit"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("Prometheus said:\n{log}");
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// What `promtool check metrics` has to say about a text; nothing when all is well.
pub fn lint(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (tests/run does it)");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("it reads all before it speaks");
    drop(stdin);
    let out = child.wait_with_output().expect("our child");
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    if out.status.success() { said } else { format!("{}: {said}", out.status) }
}
