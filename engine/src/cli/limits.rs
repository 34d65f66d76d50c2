//! `busbar limits`: what rate limits have counted of somebody, in the running gateway.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Source, exit, fail, socket_of};
use crate::admin::client::{Failed, ask};

#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Whom to look at: client=ADDRESS, consumer=NAME, route=NAME, header:NAME=VALUE,
    /// claim:NAME=VALUE
    #[arg(required = true, value_name = "PART=VALUE")]
    parts: Vec<String>,
    /// Forget what was counted
    #[arg(long)]
    reset: bool,
    /// The configuration that the gateway runs, for where its admin socket is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Limits {
    pub(super) fn run(self) -> u8 {
        let mut parts = serde_json::Map::new();
        for part in &self.parts {
            let Some((name, value)) = part.split_once('=') else {
                let why = format!("busbar: {part}: write client=203.0.113.7, consumer=acme, …");
                fail(self.json, &why);
                return exit::USAGE;
            };
            if parts.insert(name.to_owned(), json!(value)).is_some() {
                fail(self.json, &format!("busbar: {name} is there twice; one at a time"));
                return exit::USAGE;
            }
        }
        let source = Source { file: self.config, set: Vec::new() };
        let path = match self.socket {
            Some(path) => Ok(path),
            None => socket_of(&source.find()),
        };
        let path = match path {
            Ok(path) => path,
            Err(why) => return fail(self.json, &why),
        };
        let body = json!({ "parts": parts, "reset": self.reset }).to_string();
        let (status, answer) = match ask(&path, "POST", "/limits", body) {
            Ok(answered) => answered,
            Err(Failed::NotReached(e) | Failed::Broken(e)) => {
                fail(self.json, &format!("busbar: no gateway answers at {e}"));
                return exit::NOT_REACHED;
            }
        };
        if status != 200 {
            let why = answer["error"].as_str().unwrap_or("the gateway can't say");
            return fail(self.json, &format!("busbar: {why}"));
        }
        match self.json {
            true => outln!("{answer}"),
            false => answer["limits"].as_array().into_iter().flatten().for_each(line),
        }
        0
    }
}

fn line(limit: &Value) {
    let text = |key: &str| limit[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| limit[key].as_u64().unwrap_or_default();
    let reset = if limit["reset"].as_bool() == Some(true) { "  (reset)" } else { "" };
    outln!(
        "{:<28} {:<24} {} of {} left, all again in {:.1} s{reset}",
        text("limit"),
        text("rate"),
        number("left"),
        number("burst"),
        limit["full_in_s"].as_f64().unwrap_or_default(),
    );
}
