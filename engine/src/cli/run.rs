//! `busbar run`: starts the gateway and waits for its end.

use clap::Args;

use super::{Source, Text, exit, is_terminal, load};
use crate::config::{self, OneLiner};
use crate::control::{self, Ended, Failed, say};

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
    /// Proxy everything to this URL, without a file
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    to: Option<String>,
    /// Proxy what matches PATTERN to URL, without a file (repeatable)
    #[arg(long, value_name = "PATTERN=URL", conflicts_with = "file")]
    route: Vec<String>,
    /// With --to or --route: only for this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// With --to or --route: listen here instead of :8080
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Print the file that --to, --route, --host and --listen mean, and end
    #[arg(long)]
    print_config: bool,
}

impl Run {
    pub(super) fn run(self) -> u8 {
        let text = match self.text() {
            Ok(text) => text,
            Err(e) => {
                say(&e);
                return exit::FAILED;
            }
        };
        if self.print_config {
            print!("{}", text.text);
            return 0;
        }
        let name = text.name.clone();
        let loaded = load(text, &self.source.set);
        if loaded.diagnostics.errors() + loaded.diagnostics.warnings() > 0 {
            eprint!("{}", loaded.diagnostics.render(is_terminal()));
        }
        let Some(snapshot) = loaded.snapshot else { return exit::FAILED };
        say(&format!("busbar {} runs {name}", env!("CARGO_PKG_VERSION")));
        match control::run(snapshot) {
            Ok(Ended::Drained) => 0,
            Ok(Ended::Cut) => exit::CUT,
            Ok(Ended::AtOnce) => exit::AT_ONCE,
            Err(Failed::Start(e)) => {
                say(&format!("busbar: {e}"));
                exit::FAILED
            }
        }
    }

    fn text(&self) -> Result<Text, String> {
        if self.to.is_none() && self.route.is_empty() {
            if self.host.is_some() || self.listen.is_some() {
                return Err("busbar: --host and --listen need --to or --route; with a file say \
                            --set listener.NAME.address=\":9090\""
                    .to_owned());
            }
            return self.source.read();
        }
        if let Some(route) = self.route.iter().find(|r| !r.contains('=')) {
            return Err(format!("busbar: --route {route}: write PATTERN=URL"));
        }
        let flags = OneLiner {
            to: self.to.clone(),
            routes: self.route.clone(),
            host: self.host.clone(),
            listen: self.listen.clone(),
        };
        let text = config::one_liner(&flags);
        Ok(Text { text, name: "its command line".to_owned(), base_dir: None })
    }
}
