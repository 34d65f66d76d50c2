//! `busbar reload`: tells the running gateway; prints its answer or its diagnostics.

use std::path::PathBuf;

use clap::Args;

use super::{Source, exit, fail, socket_of};
use crate::admin::client::{Failed, ask};
use crate::control::say;

#[derive(Debug, Args)]
pub(super) struct Reload {
    /// The configuration that the gateway runs, for where its admin socket is; without one
    /// $BUSBAR_CONFIG or ./busbar.toml
    file: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    socket: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(super) fn run(self) -> u8 {
        let source = Source { file: self.file, set: Vec::new() };
        let path = match self.socket {
            Some(path) => Ok(path),
            None => socket_of(&source.find()),
        };
        let path = match path {
            Ok(path) => path,
            Err(why) => return fail(self.json, &why),
        };
        let (status, answer) = match ask(&path, "POST", "/reload", String::new()) {
            Ok(answered) => answered,
            Err(Failed::NotReached(e)) => {
                let why =
                    format!("busbar: no gateway is reached at {e}; name its socket with --socket");
                fail(self.json, &why);
                return exit::NOT_REACHED;
            }
            Err(Failed::Broken(e)) => {
                fail(self.json, &format!("busbar: the gateway's answer can't be read: {e}"));
                return exit::NOT_REACHED;
            }
        };
        let is_done = status == 200;
        let text = |key: &str| answer[key].as_str().map(str::trim_end).map(str::to_owned);
        if self.json {
            outln!("{answer}");
        } else if is_done {
            for warning in answer["warnings"].as_array().into_iter().flatten() {
                say(warning.as_str().unwrap_or_default());
            }
            outln!("{}", text("text").unwrap_or_default());
        } else {
            let why = text("report").or(text("error")).unwrap_or_else(|| answer.to_string());
            say(&why);
        }
        if is_done { 0 } else { exit::FAILED }
    }
}
