//! `busbar explain`: what a request would get, and why. Nothing is consumed.
//!
//! With a file (or `--set`) that is read and nobody is asked; else the running gateway is asked,
//! which knows the states of endpoints; when none is reached, the file that `busbar run` takes.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{Source, exit, fail, is_coloured, socket_of};
use crate::admin::client::{Failed, ask};
use crate::auth::{Now, Wall};
use crate::control::say;
use crate::explain::{self, Query, address, explain};
use crate::time::Mono;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The request's method
    method: String,
    /// http://host/path or /path
    #[arg(value_name = "URL")]
    target: String,
    #[command(flatten)]
    source: Source,
    /// A header field of the request (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = line)]
    headers: Vec<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The listener where it arrives; without it the URL's port says so
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Ask the gateway with this admin socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["file", "set"])]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A field line as it is given; what it holds is judged as a request's.
fn line(text: &str) -> Result<String, String> {
    match text.contains(':') {
        true => Ok(text.to_owned()),
        false => Err("write 'Name: value'".to_owned()),
    }
}

impl Explain {
    pub(super) fn run(self) -> u8 {
        let from = match self.from.as_deref().map(address).transpose() {
            Ok(from) => from,
            Err(why) => {
                fail(self.json, &format!("busbar: --from: {why}"));
                return exit::USAGE;
            }
        };
        let query = Query {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            from,
            listener: self.listener.clone(),
        };
        if self.source.file.is_some() || !self.source.set.is_empty() {
            return self.read(&query);
        }
        let path = match &self.socket {
            Some(path) => Ok(path.clone()),
            None => socket_of(&self.source.find()),
        };
        let path = match path {
            Ok(path) => path,
            Err(why) => return fail(self.json, &why),
        };
        match ask(&path, "POST", "/explain", query.to_json().to_string()) {
            Ok((200, answer)) => self.tell(&answer),
            Ok((_, answer)) => {
                let why = answer["error"].as_str().unwrap_or("the gateway can't explain");
                fail(self.json, &format!("busbar: {why}"))
            }
            Err(Failed::NotReached(why)) if self.socket.is_some() => {
                fail(self.json, &format!("busbar: no gateway is reached at {why}"));
                exit::NOT_REACHED
            }
            Err(Failed::Broken(why)) => {
                fail(self.json, &format!("busbar: the gateway's answer can't be read: {why}"))
            }
            Err(Failed::NotReached(why)) => {
                let name = self.source.find().name();
                say(&format!("no gateway is reached at {why}; this is what {name} says"));
                self.read(&query)
            }
        }
    }

    /// By the file that was named, or that `busbar run` takes.
    fn read(&self, query: &Query) -> u8 {
        let text = self.source.find();
        let name = text.name();
        let loaded = match text.load(&self.source.set) {
            Ok(loaded) => loaded,
            Err(why) => return fail(self.json, &why),
        };
        let Some(snapshot) = loaded.snapshot else {
            match self.json {
                true => out!("{}", loaded.diagnostics.render_json()),
                false => err!("{}", loaded.diagnostics.render(is_coloured())),
            }
            return exit::FAILED;
        };
        #[allow(clippy::disallowed_methods)] // the command line is a shell
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let wall = Wall(wall.map_or(0, |time| time.as_secs()));
        let now = Now { mono: Mono(0), wall }; // no limit has counted anything
        match explain(&snapshot, query, now) {
            Ok(mut explanation) => {
                explanation.source = explain::Source { name, generation: None };
                self.tell(&explanation.json())
            }
            Err(why) => fail(self.json, &format!("busbar: {why}")),
        }
    }

    fn tell(&self, answer: &Value) -> u8 {
        match self.json {
            true => outln!("{answer}"),
            false => out!("{}", answer["text"].as_str().unwrap_or_default()),
        }
        0
    }
}
