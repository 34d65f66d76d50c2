//! Changes of the configuration's files, told once they have settled.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// An editor writes, renames and sets modes; Kubernetes swaps a symlink. All of that is one
/// change, and it is over when nothing happened for this long.
const SETTLED: Duration = Duration::from_millis(200);
/// A busy folder does not hold a change back for longer.
const SETTLED_MAX: Duration = Duration::from_secs(2);

/// Links that one path may lead through, as the kernel has it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Watches the directories of files: a file's own watch would be lost with its first rename.
pub struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    watched: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Of the contents, as they last were: a directory has other files, too.
    digest: u64,
    /// Something happened; settled by then unless more happens.
    settled_at: Option<Instant>,
    /// Looked at by then, whatever happens.
    by: Instant,
}

impl Watch {
    pub fn new(files: &[PathBuf]) -> Result<Watch, String> {
        let (tell, events) = mpsc::channel(1);
        // Opening a file changes nothing, and looking at the files is that: it would wake itself,
        // and whoever reads them often would keep a change from settling.
        let is_opened = |event: &notify::Result<Event>| {
            let kind = event.as_ref().map(|event| event.kind);
            matches!(kind, Ok(EventKind::Access(AccessKind::Open(_))))
        };
        let hear = move |event| {
            if !is_opened(&event) {
                _ = tell.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(hear)
            .map_err(|e| format!("files can't be watched: {e}"))?;
        let (watched, files_none, digest) = (Vec::new(), Vec::new(), 0);
        let mut watch = Watch {
            watcher,
            events,
            watched,
            files: files_none,
            digest,
            settled_at: None,
            by: Instant::now(),
        };
        watch.follow(files);
        Ok(watch)
    }

    /// These files from now on, as they are now.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let mut directories: Vec<PathBuf> = files.iter().flat_map(|f| directories(f)).collect();
        directories.sort();
        directories.dedup();
        for gone in self.watched.iter().filter(|d| !directories.contains(d)) {
            let _ = self.watcher.unwatch(gone);
        }
        for fresh in directories.iter().filter(|d| !self.watched.contains(d)) {
            // One that is not there can't change; the next load says that it is missing.
            let _ = self.watcher.watch(fresh, RecursiveMode::NonRecursive);
            // Nothing was heard of it between the reading of its files and now.
            self.settled_at = Some(Instant::now() + SETTLED);
            self.by = Instant::now() + SETTLED_MAX;
        }
        self.watched = directories;
        if self.files != files {
            self.files = files.to_vec();
            self.digest = digest(&self.files);
        }
    }

    /// The contents as they are about to be read; a change behind that is one more.
    pub fn mark(&mut self) {
        self.digest = digest(&self.files);
    }

    /// Waits until the contents have changed and settled. Dropped, it loses nothing.
    pub async fn changed(&mut self) {
        loop {
            match self.settled_at {
                None => match self.events.recv().await {
                    Some(()) => {
                        self.by = Instant::now() + SETTLED_MAX;
                        self.settled_at = Some(Instant::now() + SETTLED);
                    }
                    None => return std::future::pending().await,
                },
                Some(at) => {
                    let is_more = tokio::time::timeout_at(at, self.events.recv()).await.is_ok();
                    let now = Instant::now();
                    if is_more && now < self.by {
                        self.settled_at = Some((now + SETTLED).min(self.by));
                        continue;
                    }
                    self.settled_at = None;
                    let digest = digest(&self.files);
                    if digest != self.digest {
                        self.digest = digest;
                        return;
                    }
                }
            }
        }
    }
}

/// Where a change of `path` shows: the directory that it is or is in, and those of all links on the
/// way to it, each of which may be swapped. None is named in two ways, since the kernel knows them
/// by their inodes: the end of one watch would be the end of the other.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    links(&path, LINKS_MAX, &mut found);
    let target = std::fs::canonicalize(&path).unwrap_or(path);
    match target.parent() {
        Some(parent) if !target.is_dir() => found.push(parent.to_owned()),
        _ => found.push(target),
    }
    found.iter().map(|dir| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())).collect()
}

/// The directories of the links that an absolute path leads through.
fn links(path: &Path, most: usize, found: &mut Vec<PathBuf>) {
    let mut so_far = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        so_far.push(part);
        let (Ok(target), Some(parent)) = (std::fs::read_link(&so_far), so_far.parent()) else {
            continue;
        };
        found.push(parent.to_owned());
        if most > 0 {
            links(&parent.join(target).join(parts.as_path()), most - 1, found);
        }
        return;
    }
}

/// Of files their contents, of directories the names, sizes and times of the files in them.
fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        if !file.is_dir() {
            std::fs::read(file).ok().hash(&mut hasher);
            continue;
        }
        let entries = std::fs::read_dir(file).into_iter().flatten().flatten();
        let mut inside: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        inside.sort();
        for path in inside {
            let found = std::fs::metadata(&path).ok().filter(|found| found.is_file());
            let found = found.map(|found| (found.len(), found.modified().ok()));
            (path, found).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Editors rename over the file, Kubernetes swaps a link of the directory.
    /// A folder of certificates that is a link itself, or lies below one.
    #[test]
    fn folders_are_heard_through_swapped_links_and_new_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["v1", "v2", "v3"] {
            std::fs::create_dir_all(at(version).join("tls")).unwrap();
            std::fs::write(at(version).join("tls/a.pem"), version).unwrap();
        }
        let point = |to: &str| {
            std::os::unix::fs::symlink(to, at("next")).unwrap();
            std::fs::rename(at("next"), at("now")).unwrap();
        };
        point("v1");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let files = [at("now/tls"), at("now/tls/a.pem")];
            let mut watch = Watch::new(&files).unwrap();
            let soon = Duration::from_secs(20);
            let heard =
                async |watch: &mut Watch| tokio::time::timeout(soon, watch.changed()).await.is_ok();
            for version in ["v2", "v3"] {
                point(version);
                assert!(heard(&mut watch).await, "a swapped link above, to {version}");
                watch.follow(&files);
                std::fs::write(at(version).join("tls/b.pem"), "b").unwrap();
                assert!(heard(&mut watch).await, "a new file in {version}");
                watch.follow(&files);
            }
        });
    }

    #[test]
    fn renames_and_swapped_links_are_heard_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("v1", "a"), ("v2", "b")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("busbar.toml"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("data")).unwrap();
        std::os::unix::fs::symlink("data/busbar.toml", at("busbar.toml")).unwrap();
        std::fs::write(at("plain.toml"), "x").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut watch = Watch::new(&[at("busbar.toml"), at("plain.toml")]).unwrap();
            let soon = Duration::from_secs(20);
            let heard =
                async |watch: &mut Watch| tokio::time::timeout(soon, watch.changed()).await.is_ok();
            std::os::unix::fs::symlink("v2", at("next")).unwrap();
            std::fs::rename(at("next"), at("data")).unwrap();
            assert!(heard(&mut watch).await, "a swapped link");
            std::fs::write(at("plain.toml~"), "y").unwrap();
            std::fs::rename(at("plain.toml~"), at("plain.toml")).unwrap();
            assert!(heard(&mut watch).await, "a rename");
            std::fs::write(at("other.txt"), "z").unwrap();
            std::fs::write(at("plain.toml"), "y").unwrap();
            let quiet = tokio::time::timeout(SETTLED * 3, watch.changed()).await;
            assert!(quiet.is_err(), "the same text, and another file");
            assert!(watch.settled_at.is_none(), "its own look at them wakes nobody");
        });
    }
}
