//! `busbar key`: makes keys for consumers, and the form in which files hold them.

use std::io::{BufRead, IsTerminal};

use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};

use super::{exit, fail};
use crate::auth::keys::{KEY_BYTES_MAX, digest_of};

/// Random bytes of a key: nobody guesses one of 2^256.
const RANDOM_BYTES: usize = 32;

#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key for a consumer; print it, and the line for the configuration
    New {
        /// The consumer's name
        name: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the hashed form of a key that is given on standard input
    Hash {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(super) fn run(self) -> u8 {
        match self.what {
            What::New { name, json } => new(&name, json),
            What::Hash { json } => hash(json),
        }
    }
}

fn new(name: &str, is_json: bool) -> u8 {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(is_word) {
        let why = "busbar: a consumer's name is letters, digits, `-`, `_` and `.`";
        return fail(is_json, why);
    }
    let mut random = [0; RANDOM_BYTES];
    if SystemRandom::new().fill(&mut random).is_err() {
        return fail(is_json, "busbar: this machine gives no random bytes");
    }
    let key = format!("bb_{}", hex(&random));
    let hashed = hashed(key.as_bytes());
    match is_json {
        true => {
            outln!("{}", serde_json::json!({ "consumer": name, "key": key, "api_key": hashed }))
        }
        false => {
            outln!("{key}");
            errln!("# for {name}, once: it is stored nowhere. In the configuration:");
            errln!("[consumer.{name}]\napi_keys = [\"{hashed}\"]");
        }
    }
    0
}

fn hash(is_json: bool) -> u8 {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        errln!("the key, and a line break:");
    }
    let mut line = Vec::new();
    if let Err(e) = stdin.lock().read_until(b'\n', &mut line) {
        return fail(is_json, &format!("busbar: the key can't be read: {e}"));
    }
    let key = line.strip_suffix(b"\n").unwrap_or(&line);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let why = format!("busbar: a key has 1 to {KEY_BYTES_MAX} bytes, on one line");
        fail(is_json, &why);
        return exit::FAILED;
    }
    match is_json {
        true => outln!("{}", serde_json::json!({ "api_key": hashed(key) })),
        false => outln!("{}", hashed(key)),
    }
    0
}

fn hashed(key: &[u8]) -> String {
    format!("sha256:{}", hex(&digest_of(key)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
