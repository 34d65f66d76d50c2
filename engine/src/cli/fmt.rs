//! `busbar fmt`: files in their canonical form, all of them or none.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Source, Text, exit, fail, is_coloured, read_text};
use crate::config::Diagnostics;
use crate::config::fmt::canonical;

#[derive(Debug, Args)]
pub(super) struct Fmt {
    /// Files; without one that which `busbar run` takes
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing; exit code 1 when a file is not in its canonical form
    #[arg(long)]
    check: bool,
    /// Print the canonical form of one file and write nothing
    #[arg(long, conflicts_with = "check")]
    stdout: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A file and what it becomes.
struct Formatted {
    path: PathBuf,
    text: String,
    is_changed: bool,
}

impl Fmt {
    pub(super) fn run(self) -> u8 {
        let paths = match self.paths() {
            Ok(paths) => paths,
            Err(why) => return fail(self.json, &why),
        };
        let mut files = Vec::new();
        let mut refused = Vec::new();
        for path in paths {
            let text = match read_text(&path) {
                Ok(text) => text,
                Err(why) => return fail(self.json, &format!("{why}; nothing was changed")),
            };
            match canonical(&path.display().to_string(), &text) {
                Ok(next) => {
                    files.push(Formatted { is_changed: next != text, text: next, path });
                }
                Err(found) => refused.push(found),
            }
        }
        if !refused.is_empty() {
            return self.refuse(&refused);
        }
        if self.stdout {
            return self.print(&files);
        }
        if !self.check {
            for file in files.iter().filter(|file| file.is_changed) {
                if let Err(e) = replace(&file.path, &file.text) {
                    let why = format!("busbar: can't write {}: {e}", file.path.display());
                    return fail(self.json, &why);
                }
            }
        }
        self.tell(&files)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, String> {
        if self.stdout && self.files.len() > 1 {
            return Err("busbar: --stdout takes one file".to_owned());
        }
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        match (Source { file: None, set: Vec::new() }).find() {
            Text::File(path) => Ok(vec![path]),
            Text::Given(..) => Err("busbar: there is no busbar.toml here; name a file".to_owned()),
        }
    }

    fn refuse(&self, refused: &[Box<Diagnostics>]) -> u8 {
        if self.json {
            let found: Vec<Value> = refused.iter().map(|f| json_of(&f.render_json())).collect();
            outln!("{}", json!({ "error": "this is not TOML", "refused": found }));
        } else {
            refused.iter().for_each(|found| err!("{}", found.render(is_coloured())));
        }
        exit::FAILED
    }

    fn print(&self, files: &[Formatted]) -> u8 {
        for file in files {
            match self.json {
                true => outln!("{}", json!({ "file": file.path, "text": file.text })),
                false => out!("{}", file.text),
            }
        }
        0
    }

    /// Says which files differ, or have been written.
    fn tell(&self, files: &[Formatted]) -> u8 {
        let changed = files.iter().filter(|file| file.is_changed).count();
        if self.json {
            let one = |f: &Formatted| json!({ "file": f.path, "changed": f.is_changed });
            let list: Vec<Value> = files.iter().map(one).collect();
            outln!("{}", json!({ "files": list, "changed": changed, "written": !self.check }));
        } else {
            for file in files.iter().filter(|file| file.is_changed) {
                let path = file.path.display();
                match self.check {
                    true => {
                        errln!("{path} is not in its canonical form; `busbar fmt` writes it")
                    }
                    false => outln!("{path} is written in its canonical form"),
                }
            }
        }
        if self.check && changed > 0 { exit::FAILED } else { 0 }
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Puts `text` in the place of a file in one step, so that nobody ever reads half of it. Its mode
/// and, where that is allowed, its owner stay; a link stays a link.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let now = fs::metadata(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&beside, text, &now).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_new(beside: &Path, text: &str, like: &fs::Metadata) -> io::Result<()> {
    // What it holds may be secret until it has its mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(text.as_bytes())?;
    // Only root can give files away, and then it must: the gateway reads them as somebody else.
    let _ = std::os::unix::fs::chown(beside, Some(like.uid()), Some(like.gid()));
    file.set_permissions(like.permissions())?;
    file.sync_all()
}
