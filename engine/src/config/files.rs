//! Where a configuration's files are, and which of them were read.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;

use super::diagnostic::At;
use super::source::Env;
use crate::tls::{Digest, digest};

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
    faulty: RefCell<Vec<String>>,
    roots: OnceCell<Roots>,
}

/// The authorities that this system knows, with their digest; or why there are none.
type Roots = Result<(Arc<RootCertStore>, Digest), String>;

impl<'a> Outside<'a> {
    pub(super) fn new(files: &'a Files, env: Env<'a>) -> Outside<'a> {
        let (origins, read, listed, lists) = Default::default();
        let (faulty, roots) = Default::default();
        Outside { files, env, origins, read, listed, lists, faulty, roots }
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

    /// Names in a folder that is a list of files, as `names`: it counts as soon as it changes.
    pub(super) fn names_of_list(&self, path: &str, at: At) -> Result<Vec<(String, bool)>, String> {
        let Some(folder) = self.origin(at.source).folder else {
            return Err("only a configuration in a file can name others".to_owned());
        };
        let folder = folder.join(path);
        let names = self.files.names(&folder).map_err(|error| error.to_string());
        self.lists.borrow_mut().push(folder);
        names
    }

    /// A file of a certificate or a key can't be used; as messages name it.
    pub(super) fn is_faulty(&self, path: &str) {
        self.faulty.borrow_mut().push(path.to_owned());
    }

    pub(super) fn faulty(&self) -> Vec<String> {
        let mut faulty = self.faulty.borrow().clone();
        faulty.sort();
        faulty.dedup();
        faulty
    }

    /// Seconds since 1970: a certificate's end is compared with the clock when it is read.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    }

    /// Authorities of the system, read once for a configuration. In memory there are none.
    pub(super) fn system_roots(&self) -> Roots {
        let read = || match self.files {
            Files::Memory(_) => Ok((Arc::new(RootCertStore::empty()), [0; 32])),
            Files::Disk => system_roots(),
        };
        self.roots.get_or_init(read).clone()
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

fn system_roots() -> Roots {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry some that nobody can use.
    roots.add_parsable_certificates(found.certs.iter().cloned());
    if roots.is_empty() {
        let why = found.errors.first().map(|error| error.to_string());
        return Err(why.unwrap_or_else(|| "its store is empty".to_owned()));
    }
    let digest = digest(found.certs.iter().map(|cert| cert.as_ref()));
    Ok((Arc::new(roots), digest))
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
