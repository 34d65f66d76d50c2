//! The door over a unix socket: mode 0600 in a directory of ours; peers with another uid than
//! ours or root's are hung up on.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tokio::net::{UnixListener, UnixStream};

use super::bounded::Bounded;
use super::{Asks, Door, app};

/// A bound socket. Its file goes with it.
#[derive(Debug)]
pub struct SocketDoor {
    listener: UnixListener,
    file: File,
}

/// The file of a socket, removed when dropped.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the socket is unless the configuration says so: in the unit's own directory, else in one
/// of this user's.
pub fn default_path() -> PathBuf {
    // systemd lists several directories with colons between them.
    let given = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    match given.split(':').next() {
        Some(dir) if !dir.is_empty() => Path::new(dir).join("busbar.sock"),
        _ => own_directory().join("busbar.sock"),
    }
}

fn own_directory() -> PathBuf {
    PathBuf::from(format!("/tmp/busbar-{}", uid()))
}

fn uid() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |me| me.uid())
}

/// Makes the default's directory, and refuses one that others could have made.
fn own(dir: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != uid() || found.mode() & 0o077 != 0 {
        let what = format!("{} belongs to somebody else or is open to others", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

impl SocketDoor {
    /// Binds the socket at `path`, in place of a dead one. Needs tokio's runtime.
    pub fn bind(path: &Path) -> io::Result<SocketDoor> {
        if path.parent() == Some(&own_directory()) {
            own(&own_directory())?;
        }
        // Bound beside its place and with its mode, then moved there: nobody finds it open.
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&beside);
        if fs::symlink_metadata(path).is_ok() && !is_dead(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listener = UnixListener::bind(&beside)?;
        let moved = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&beside, path));
        if let Err(e) = moved {
            let _ = fs::remove_file(&beside);
            return Err(e);
        }
        Ok(SocketDoor { listener, file: File(path.to_owned()) })
    }

    pub fn path(&self) -> &Path {
        &self.file.0
    }

    /// Serves until the returned task is aborted.
    pub fn serve(self, asks: Asks) -> tokio::task::JoinHandle<()> {
        let app = app(Door { asks, guard: None });
        tokio::spawn(async move { _ = axum::serve(Bounded::new(self), app).await })
    }
}

/// A socket whose process is gone refuses connections. (So does a plain file.)
fn is_dead(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return false;
    }
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

impl axum::serve::Listener for SocketDoor {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => return (stream, ()),
                Ok(_) => {}
                // Out of descriptors, most likely.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == uid() || peer.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("busbar.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let dead = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(dead);
        assert!(path.exists(), "a crash leaves its file");
        let door = SocketDoor::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = SocketDoor::bind(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(door);
        assert!(!path.exists());
        fs::write(&path, "a file of somebody's").unwrap();
        assert!(SocketDoor::bind(&path).is_err(), "only sockets are replaced");
        assert!(path.exists());
    }
}
