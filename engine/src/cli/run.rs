//! `busbar run`: starts the gateway and waits for its end.

use clap::Args;

use super::{Source, Text, exit, print, read_text, show};
use crate::config::{self, OneLiner};
use crate::control::{self, Ended, Failed, Loader, Options, say, say_json, speak_json};

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
    /// With --to or --route: callers send this key as X-Api-Key; '${NAME}' takes it from the
    /// environment, so that `ps` does not show it
    #[arg(long, value_name = "KEY")]
    auth_key: Option<String>,
    /// With --to or --route: how much each client may, such as 10/s
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// With --to or --route: no line for each request
    #[arg(long, short)]
    quiet: bool,
    /// Print the file that these flags mean, and end
    #[arg(long, conflicts_with = "set")]
    print_config: bool,
    /// Reload when a file of the configuration changes
    #[arg(long)]
    watch: bool,
    /// Say what happens in lines of JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self) -> u8 {
        speak_json(self.json);
        let text = match self.text() {
            Ok(text) => text,
            Err(e) => {
                say(&e);
                return exit::USAGE;
            }
        };
        let first = match text.load(&self.source.set) {
            Ok(first) => first,
            Err(e) => {
                say(&e);
                return exit::FAILED;
            }
        };
        match self.json {
            true if !first.diagnostics.list().is_empty() => {
                say_json(&first.diagnostics.render_json());
            }
            true => {}
            false => show(&first.diagnostics),
        }
        if first.snapshot.is_none() {
            return exit::FAILED;
        }
        if self.print_config {
            return print_config(&text);
        }
        let (name, sets) = (text.name(), self.source.set);
        let load = Box::new(move || text.load_again(&sets));
        let options = Options { loader: Loader { name, load }, first, watch: self.watch };
        match control::run(options) {
            Ok(Ended::Drained) => 0,
            Ok(Ended::Cut | Ended::AtOnce) => exit::CUT,
            Err(Failed::Start(e)) => {
                say(&format!("busbar: {e}"));
                exit::FAILED
            }
        }
    }

    fn text(&self) -> Result<Text, String> {
        if self.to.is_none() && self.route.is_empty() {
            let others = [&self.host, &self.listen, &self.auth_key, &self.rate];
            if others.iter().any(|flag| flag.is_some()) || self.quiet {
                return Err(
                    "busbar: --host, --listen, --auth-key, --rate and --quiet need --to or --route; with a file \
                            say --set listener.NAME.address=\":9090\""
                        .to_owned(),
                );
            }
            return Ok(self.source.find());
        }
        if let Some(route) = self.route.iter().find(|r| !r.contains('=')) {
            return Err(format!("busbar: --route {route}: write PATTERN=URL"));
        }
        let flags = OneLiner {
            to: self.to.clone(),
            routes: self.route.clone(),
            host: self.host.clone(),
            listen: self.listen.clone(),
            auth_key: self.auth_key.clone(),
            rate: self.rate.clone(),
            log: (!self.quiet).then_some(if self.json { "json" } else { "short" }),
        };
        Ok(Text::Given(config::one_liner(&flags), "its command line"))
    }
}

fn print_config(text: &Text) -> u8 {
    match text {
        Text::Given(text, _) => print(text),
        Text::File(path) => match read_text(path) {
            Ok(text) => print(&text),
            Err(why) => {
                say(&why);
                return exit::FAILED;
            }
        },
    }
    0
}
