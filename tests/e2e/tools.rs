//! The commands around a configuration: what they print, in text and in JSON, and how they end.

use std::path::Path;
use std::process::Command;

use harness::gateway::{Gateway, binary};
use serde_json::Value;

/// How a command ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("no JSON: {e}\n{}\n{}", self.out, self.err))
    }
}

/// Runs the binary in `dir`, where no gateway of anybody else is found.
pub fn run(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(binary());
    command.args(args).current_dir(dir).env_remove("BUSBAR_CONFIG").env("RUNTIME_DIRECTORY", dir);
    let out = command.output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Ran { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
}

/// A folder with a `busbar.toml`.
pub fn folder(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("busbar.toml"), text).unwrap();
    dir
}

const GOOD: &str = "[route.a]\npath = \"/a\"\nrespond = \"a\"\n";
const BAD: &str = "[route.a]\npath = \"/a\"\nrespond = \"a\"\ntime_out = \"1s\"\n";

#[test]
fn help_tells_what_a_code_means_and_which_are_near() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), &["help", "w203"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.starts_with("W203 "), "{}", ran.out);
    assert_eq!(run(dir.path(), &["help", "e104", "--json"]).json()["code"], "E104");
    let all = run(dir.path(), &["help"]);
    assert!(all.out.lines().count() > 40 && all.out.starts_with("E100 "), "{}", all.out);
    assert!(run(dir.path(), &["help", "--json"]).json().as_array().unwrap().len() > 40);
    let ran = run(dir.path(), &["help", "E1O4"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("E104 "), "{}", ran.err);
    let ran = run(dir.path(), &["help", "E1O4", "--json"]);
    assert_eq!((ran.code, &ran.json()["nearest"][0]["code"]), (Some(1), &"E104".into()));
    let ran = run(dir.path(), &["help", "explain"]);
    assert_eq!((ran.code, ran.out.contains("busbar explain")), (Some(0), true), "{}", ran.out);
}

#[test]
fn the_defaults_check_clean_and_the_schema_is_the_one_in_docs() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = run(dir.path(), &["config", "defaults"]);
    std::fs::write(dir.path().join("busbar.toml"), &defaults.out).unwrap();
    let ran = run(dir.path(), &["check", "--deny-warnings"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let ran = run(dir.path(), &["config", "defaults", "--json"]);
    let timeout = ran.json();
    let timeout = timeout.as_array().unwrap().iter().find(|k| k["key"] == "timeout").unwrap();
    assert_eq!((&timeout["table"], &timeout["default"]), (&"[all]".into(), &"\"30s\"".into()));
    let schema = run(dir.path(), &["config", "schema"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let committed = std::fs::read_to_string(root.join("docs/busbar.schema.json")).unwrap();
    assert_eq!(schema.out, committed);
    assert_eq!(schema.json(), run(dir.path(), &["config", "schema", "--json"]).json());
    assert_eq!(run(dir.path(), &["config"]).code, Some(2));
}

#[test]
fn check_says_the_same_with_both_of_its_flags_for_json() {
    let (good, bad) = (folder(GOOD), folder(BAD));
    for (dir, code) in [(&good, 0), (&bad, 1)] {
        let ran = run(dir.path(), &["check", "--json"]);
        assert_eq!(ran.code, Some(code));
        assert_eq!(ran.json()["errors"], code);
        assert_eq!(ran.out, run(dir.path(), &["check", "--format", "json"]).out);
    }
    let ran = run(good.path(), &["check", "none.toml", "--json"]);
    assert_eq!((ran.code, ran.json()["error"].is_string()), (Some(1), true));
}

#[test]
fn every_command_speaks_json() {
    let dir = folder(GOOD);
    let gateway = Gateway::start("epoll", GOOD);
    let socket = gateway.dir.path().join("busbar.sock");
    let socket = socket.to_str().unwrap();
    let rows: &[(&[&str], i32)] = &[
        (&["check"], 0),
        (&["explain", "GET", "/a", "busbar.toml"], 0),
        (&["explain", "GET", "/a", "--socket", socket], 0),
        (&["explain", "GET", "a", "--socket", socket], 1),
        (&["explain", "GET", "/a", "--socket", "none.sock"], 3),
        (&["fmt", "--check"], 0),
        (&["fmt", "--stdout"], 0),
        (&["fmt", "none.toml"], 1),
        (&["reload", "--socket", socket], 0),
        (&["reload", "--socket", "none.sock"], 3),
        (&["reload", "none.toml"], 1),
        (&["config", "defaults"], 0),
        (&["config", "schema"], 0),
        (&["help"], 0),
        (&["help", "E999"], 1),
    ];
    for (args, code) in rows {
        let ran = run(dir.path(), &[args, &["--json"][..]].concat());
        assert_eq!(ran.code, Some(*code), "{args:?}: {}{}", ran.out, ran.err);
        assert_ne!(ran.json(), Value::Null, "{args:?}");
    }
    gateway.stop();
}

/// A name that was mistyped must not reload what runs by another one.
#[test]
fn a_file_that_is_not_there_stands_for_no_gateway() {
    let gateway = Gateway::start("epoll", GOOD);
    let dir = gateway.dir.path().to_owned();
    // `run` makes this folder the default one, and the gateway's socket is in it.
    for args in [["reload", "typo.toml"], ["explain", "GET"]] {
        let mut command = Command::new(binary());
        command.args(args).current_dir(&dir).env("RUNTIME_DIRECTORY", &dir);
        if args[0] == "explain" {
            command.arg("/a").env("BUSBAR_CONFIG", "typo.toml");
        }
        let out = command.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert!(err.starts_with("busbar: can't read typo.toml: "), "{err}");
    }
    gateway.stop();
}

#[test]
fn a_file_without_an_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dir.path(), &["check", "/dev/zero"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("longer than 64 MiB"), "{}", ran.err);
}

/// On a terminal, which Python opens.
#[test]
fn messages_are_coloured_on_a_terminal_unless_no_color_says_no() {
    const TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";
    let dir = folder(BAD);
    let is_coloured = |no_color: Option<&str>| {
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL]).arg(binary()).args(["check", "busbar.toml"]);
        command.current_dir(dir.path()).stdin(std::process::Stdio::null());
        match no_color {
            Some(value) => command.env("NO_COLOR", value),
            None => command.env_remove("NO_COLOR"),
        };
        let out = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
        assert!(out.contains("E101"), "{out}");
        out.contains('\x1b')
    };
    assert!(is_coloured(None) && is_coloured(Some("")), "an empty value is none (no-color.org)");
    assert!(!is_coloured(Some("1")));
    assert!(!run(dir.path(), &["check"]).err.contains('\x1b'), "a pipe is no terminal");
}

/// All files and sets in one, each line with its place, no secret in it; it checks clean itself.
#[test]
fn the_whole_configuration_is_printed_with_its_places() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "busbar.toml",
        "include = \"conf.d/*.toml\"\n[admin]\ntoken = \"hunter2\"\n\
        [listener.web]\naddress = \"127.0.0.1:8080\"\n\
        [upstream.app]\nendpoints = [\"${HOST}:1\", # one\n \"h:2\"]\npool = { idle = 4 }\n",
    );
    write(
        "conf.d/a.toml",
        "[all]\ntimeout = '1s'\n[route.\"a.b\"]\nto = \"app\"\nauth = \"none\"\n\
        headers.request.set.X-Key = \"${KEY}\"\n",
    );
    let check = |args: &[&str], file: &str| {
        let out = Command::new(binary())
            .args(["check", file])
            .args(args)
            .current_dir(dir.path())
            .envs([("HOST", "127.0.0.1"), ("KEY", "s3cr3t")])
            .output()
            .unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let set =
        ["--print", "--set", "upstream.app.pool.idle_timeout=\"9s\"", "--set", "server.workers=2"];
    let (code, printed, err) = check(&set, "busbar.toml");
    assert_eq!(code, Some(0), "{err}");
    let expect = "[admin] # busbar.toml:2\ntoken = \"***\" # busbar.toml:3\n\n\
        [all] # conf.d/a.toml:1\ntimeout = '1s' # conf.d/a.toml:2\n\n\
        [listener.web] # busbar.toml:4\naddress = \"127.0.0.1:8080\" # busbar.toml:5\n\n\
        [route.\"a.b\"] # conf.d/a.toml:3\nauth = \"none\" # conf.d/a.toml:5\nto = \"app\" # conf.d/a.toml:4\n\n\
        [route.\"a.b\".headers.request.set] # conf.d/a.toml:6\nX-Key = \"${KEY}\" # conf.d/a.toml:6\n\n\
        [server] # --set #2\nworkers = 2 # --set #2\n\n\
        [upstream.app] # busbar.toml:6\n\
        endpoints = [\"${HOST}:1\", # one\n \"h:2\"] # busbar.toml:7\n\n\
        [upstream.app.pool] # busbar.toml:9\nidle = 4 # busbar.toml:9\nidle_timeout = \"9s\" # --set #1\n";
    assert_eq!(printed, expect);
    write("printed.toml", &printed);
    let (code, again, err) = check(&["--print"], "printed.toml");
    assert_eq!(code, Some(0), "{err}");
    let values = |text: &str| {
        text.lines().map(|l| l.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&printed), "it means the same");
    write("busbar.toml", "nonsense = 1\n");
    let (code, printed, err) = check(&["--print"], "busbar.toml");
    assert_eq!((code, printed.as_str()), (Some(1), ""), "{err}");
    let (code, shown, _) = check(&["--format", "github"], "busbar.toml");
    assert_eq!(code, Some(1));
    assert!(shown.starts_with("::error file=busbar.toml,line=1,endLine=1,col=1,"), "{shown}");
    let (code, shown, _) = check(&["--format", "sarif"], "busbar.toml");
    let log: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &log["runs"][0]["results"][0]["ruleId"]), (Some(1), &"E101".into()));
}

#[test]
fn arguments_that_make_no_sense_are_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["run", "--route", "/x"][..],
        &["run", "--host", "a"],
        &["run", "--quiet"],
        &["explain", "-H", "x", "GET", "/"],
        &["explain", "--from", "nobody", "GET", "/"],
        &["check", "--print", "--json"],
        &["check", "--format", "xml"],
    ] {
        let out = Command::new(binary()).args(args).current_dir(dir.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(!out.stderr.is_empty(), "{args:?}");
    }
}
