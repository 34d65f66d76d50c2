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
        if self.stdout && self.files.len() > 1 {
            fail(self.json, "busbar: --stdout takes one file");
            return exit::USAGE;
        }
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
            let changed = || files.iter().filter(|file| file.is_changed);
            let mut written = Vec::new();
            for file in changed() {
                match Beside::write(&file.path, &file.text, written.len()) {
                    Ok(beside) => written.push(beside),
                    Err(e) => return self.cant_write(file, &e, "; nothing was changed"),
                }
            }
            for (beside, file) in written.into_iter().zip(changed()) {
                if let Err(e) = beside.replace() {
                    return self.cant_write(file, &e, "");
                }
            }
        }
        self.tell(&files)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, String> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        match (Source { file: None, set: Vec::new() }).find() {
            Text::File(path) => Ok(vec![path]),
            Text::Given(..) => Err("busbar: there is no busbar.toml here; name a file".to_owned()),
        }
    }

    fn cant_write(&self, file: &Formatted, e: &io::Error, then: &str) -> u8 {
        fail(self.json, &format!("busbar: can't write {}: {e}{then}", file.path.display()))
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

/// What a file will be, written beside it. It is put in its place in one step, so that nobody ever
/// reads half of it; dropped before, it is removed.
struct Beside {
    path: PathBuf,
    beside: PathBuf,
}

impl Beside {
    /// The file's mode and, where that is allowed, its owner stay; a link stays a link. The same
    /// file may be named twice: `number` tells them apart.
    fn write(path: &Path, text: &str, number: usize) -> io::Result<Beside> {
        let path = fs::canonicalize(path)?;
        let now = fs::metadata(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{}.{number}.new", std::process::id());
        let beside = path.with_file_name(name);
        // What it holds may be secret until it has its mode.
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
        let this = Beside { path, beside };
        file.write_all(text.as_bytes())?;
        // Only root can give files away, and then it must: the gateway reads them as somebody else.
        let _ = std::os::unix::fs::chown(&this.beside, Some(now.uid()), Some(now.gid()));
        file.set_permissions(now.permissions())?;
        file.sync_all()?;
        Ok(this)
    }

    fn replace(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After a rename there is none.
        let _ = fs::remove_file(&self.beside);
    }
}
