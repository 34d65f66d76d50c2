//! The file that flags mean.

use std::fmt::Write;

/// `busbar run --to URL --route PATTERN=URL --host NAME --listen ADDRESS --auth-key KEY --rate RATE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OneLiner {
    pub to: Option<String>,
    /// Each `PATTERN=URL`.
    pub routes: Vec<String>,
    pub host: Option<String>,
    pub listen: Option<String>,
    /// The key that callers send as `X-Api-Key`.
    pub auth_key: Option<String>,
    /// How much each client may.
    pub rate: Option<String>,
    /// How a line for each request is written on the standard output, if at all.
    pub log: Option<&'static str>,
}

/// The text of that file. What the flags hold stands in quotes, so that it can be a wrong value
/// but never a key; `${NAME}` keeps its meaning.
pub fn one_liner(flags: &OneLiner) -> String {
    let mut text = String::new();
    if let Some(listen) = &flags.listen {
        let _ = writeln!(text, "[listener.main]\naddress = {}\n", quoted(listen));
    }
    if let Some(key) = &flags.auth_key {
        let key = quoted(key);
        let _ = writeln!(text, "[auth.key]\nmethod = \"api_key\"\n");
        let _ = writeln!(text, "[consumer.main]\napi_keys = [{key}]\n");
    }
    if flags.auth_key.is_some() || flags.rate.is_some() {
        text.push_str("[all]\n");
        if flags.auth_key.is_some() {
            text.push_str("auth = \"key\"\n");
        }
        if let Some(rate) = &flags.rate {
            let _ = writeln!(text, "rate_limit = {}", quoted(rate));
        }
        text.push('\n');
    }
    let mut route = |name: &str, path: Option<&str>, to: Option<&str>| {
        let _ = writeln!(text, "[route.{name}]");
        if let Some(host) = &flags.host {
            let _ = writeln!(text, "host = {}", quoted(host));
        }
        if let Some(path) = path {
            let _ = writeln!(text, "path = {}", quoted(path));
        }
        if let Some(to) = to {
            let is_whole = to.contains("://") || to.starts_with("${") || to.starts_with("unix:");
            let scheme = if is_whole { "" } else { "http://" };
            let _ = writeln!(text, "to = {}", quoted(&format!("{scheme}{to}")));
        }
        text.push('\n');
    };
    if let Some(to) = &flags.to {
        route("main", None, Some(to));
    }
    for (i, flag) in flags.routes.iter().enumerate() {
        // A pattern may hold `=`, an address may not.
        let (path, to) = match flag.rsplit_once('=') {
            Some((path, to)) => (path, Some(to)),
            None => (flag.as_str(), None),
        };
        route(&format!("route-{}", i + 1), Some(path), to);
    }
    if let Some(format) = flags.log {
        let _ = writeln!(text, "[log.access]\nformat = {}", quoted(format));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
