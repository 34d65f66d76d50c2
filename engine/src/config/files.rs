//! Where a configuration's files are, and which of them were read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::diagnostic::At;
use super::source::Env;

/// On disk; or in memory, for tests and fuzzing.
#[derive(Debug, Default)]
pub enum Files {
    #[default]
    Disk,
    /// By path, as it is built from the configuration's folder and what a file says.
    Memory(BTreeMap<PathBuf, MemoryFile>),
}

#[derive(Debug, Clone)]
pub struct MemoryFile {
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// One file's bytes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

impl Files {
    /// A regular file of at most `bytes_max` bytes.
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Content, String> {
        let content = match self {
            Files::Disk => read_disk(path, bytes_max).map_err(|error| error.to_string())?,
            Files::Memory(files) => {
                let file = files.get(&plain(path)).ok_or("it is not there")?;
                Content { bytes: file.bytes.clone(), mode: file.mode }
            }
        };
        match content.bytes.len() as u64 > bytes_max {
            true => Err(format!("it is larger than {}", super::units::size_text(bytes_max))),
            false => Ok(content),
        }
    }

    /// Names in a folder, sorted, each with whether it is a folder; none when there is no such
    /// folder. Names that are not UTF-8 are left out.
    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<(String, bool)>> {
        let mut names = Vec::new();
        match self {
            Files::Disk => {
                let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                let entries = match std::fs::read_dir(here) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(names),
                    entries => entries?,
                };
                for entry in entries {
                    let entry = entry?;
                    if let Ok(name) = entry.file_name().into_string() {
                        names.push((name, entry.path().is_dir()));
                    }
                }
            }
            Files::Memory(files) => {
                let folder = plain(folder);
                for path in files.keys() {
                    let Ok(below) = path.strip_prefix(&folder) else { continue };
                    let mut parts = below.components().map(|c| c.as_os_str().to_string_lossy());
                    if let Some(first) = parts.next() {
                        names.push((first.into_owned(), parts.next().is_some()));
                    }
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// One path for all ways to write it, links followed.
    pub(super) fn identity(&self, path: &Path) -> PathBuf {
        match self {
            Files::Disk => std::fs::canonicalize(path).unwrap_or_else(|_| plain(path)),
            Files::Memory(_) => plain(path),
        }
    }
}

fn read_disk(path: &Path, bytes_max: u64) -> io::Result<Content> {
    // Opening a pipe or a device could wait for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(Content { bytes, mode })
}

/// Without `.` and `name/..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Where a source comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// What it names is relative to this; `None`: it can't name any.
    pub(super) folder: Option<PathBuf>,
    /// It stands in a file, and is no flag or built-in text.
    pub(super) is_file: bool,
}

/// What one load may ask the outside for: files and variables. It remembers what it asked.
pub(super) struct Outside<'a> {
    pub(super) files: &'a Files,
    pub(super) env: Env<'a>,
    origins: RefCell<Vec<Origin>>,
    read: RefCell<Vec<PathBuf>>,
    listed: RefCell<Vec<PathBuf>>,
    lists: RefCell<Vec<PathBuf>>,
}

impl<'a> Outside<'a> {
    pub(super) fn new(files: &'a Files, env: Env<'a>) -> Outside<'a> {
        let (origins, read, listed, lists) = Default::default();
        Outside { files, env, origins, read, listed, lists }
    }

    /// Of the source with the next number.
    pub(super) fn add_origin(&self, origin: Origin) {
        self.origins.borrow_mut().push(origin);
    }

    pub(super) fn origin(&self, source: u32) -> Origin {
        self.origins.borrow().get(source as usize).cloned().unwrap_or_default()
    }

    /// A file, or the note for the message.
    pub(super) fn read(&self, path: PathBuf, bytes_max: u64) -> Result<Content, String> {
        let content = self.files.read(&path, bytes_max);
        self.read.borrow_mut().push(path);
        content
    }

    /// A file that is named at `at`.
    pub(super) fn read_named(&self, path: &str, at: At, max: u64) -> Result<Content, String> {
        match self.origin(at.source).folder {
            Some(folder) => self.read(folder.join(path), max),
            None => Err("only a configuration in a file can name others".to_owned()),
        }
    }

    /// The same of a list (of callers, keys, addresses): it counts as soon as it changes.
    pub(super) fn read_list(&self, path: &str, at: At, max: u64) -> Result<Content, String> {
        if let Some(folder) = self.origin(at.source).folder {
            self.lists.borrow_mut().push(folder.join(path));
        }
        self.read_named(path, at, max)
    }

    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<(String, bool)>> {
        self.listed.borrow_mut().push(folder.to_owned());
        self.files.names(folder)
    }

    /// Files read, folders looked through, and lists among the files, each once.
    pub(super) fn asked(self) -> (Vec<PathBuf>, Vec<PathBuf>, Vec<PathBuf>) {
        [self.read, self.listed, self.lists]
            .map(RefCell::into_inner)
            .map(|mut paths| {
                paths.sort();
                paths.dedup();
                paths
            })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        let rows = [
            ("./a", "a"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/a/./b/..", "/a"),
            ("", ""),
        ];
        for (path, expect) in rows {
            assert_eq!(plain(Path::new(path)), Path::new(expect), "{path}");
        }
    }
}
