//! Looking into containers, and copying in and out of them.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use pintle_contract::MountId;
use pintle_image::{Change, archive};
use pintle_runtime::spec::resolve_user;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::UnmountFlags,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{
    Archive, Container, Containers, CopyIn, MountKind, MountPoint, PathStat,
    cell::Cell,
    service::{Shared, blocking},
};
use crate::{EngineError, volumes::Passing};

/// What a look into a container that does not run waits for one volume.
const MOUNT: std::time::Duration = std::time::Duration::from_secs(10);
/// What a pipe between a blocking writer and an async reader holds.
const PIPE: usize = 256 << 10;

impl Containers {
    /// Its root file system, without what is mounted in it, as a tar stream.
    pub async fn export(&self, name: &str) -> Result<Archive, EngineError> {
        let cell = self.shared.find(name)?;
        let view = View::open(&self.shared, &cell, false).await?;
        let root = self.shared.dir(&cell.id).join("merged");
        self.shared.announce(&cell.container(), "export", &[]);
        let archive = self.stream(view, move |_, out| archive::pack(&root, out, archive::Kind::Plain));
        Ok(archive)
    }

    /// What is at a path.
    pub async fn stat_path(&self, name: &str, path: &str) -> Result<PathStat, EngineError> {
        let cell = self.shared.find(name)?;
        let view = View::open(&self.shared, &cell, true).await?;
        let (view, stat) = view.stat(path).await?;
        view.close().await;
        Ok(stat_of(stat.map_err(|error| missing(name, path, error))?))
    }

    /// A path as a tar stream.
    pub async fn copy_out(&self, name: &str, path: &str) -> Result<(PathStat, Archive), EngineError> {
        let cell = self.shared.find(name)?;
        let view = View::open(&self.shared, &cell, true).await?;
        let (view, stat) = match view.stat(path).await? {
            (view, Ok(stat)) => (view, stat),
            (view, Err(error)) => {
                view.close().await;
                return Err(missing(name, path, error));
            }
        };
        let wanted = path.to_owned();
        self.shared.announce(&cell.container(), "archive-path", &[]);
        let archive = self.stream(view, move |root, out| archive::copy_out(root, &wanted, out).map(drop));
        Ok((stat_of(stat), archive))
    }

    /// Unpacks a tar stream (plain or compressed) into a directory.
    pub async fn copy_in(
        &self,
        name: &str,
        path: &str,
        mut tar: impl AsyncRead + Send + Unpin + 'static,
        options: CopyIn,
    ) -> Result<(), EngineError> {
        let cell = self.shared.find(name)?;
        let container = cell.container();
        let view = View::open(&self.shared, &cell, true).await?;
        refuse_read_only(&container, path)?;
        let (reader, mut writer) = tokio::io::duplex(PIPE);
        let wanted = path.to_owned();
        let user = container.spec.user.clone();
        let unpack = tokio::task::spawn_blocking(move || {
            let reader = Blocking { inner: reader, handle: tokio::runtime::Handle::current() };
            let owner = if options.copy_uid_gid {
                resolve_user(&view.root, &user, &[]).ok().map(|user| (user.uid, user.gid))
            } else {
                None
            };
            let no_overwrite_dir_non_dir = options.no_overwrite_dir_non_dir;
            let options = archive::CopyOptions { no_overwrite_dir_non_dir, owner };
            let result = archive::copy_in(&view.root, &wanted, reader, options);
            (view, result)
        });
        let feed = async move {
            let fed = tokio::io::copy(&mut tar, &mut writer).await;
            let _ = writer.shutdown().await;
            // What follows the end of the archive is the client's to finish, not ours to refuse.
            let _ = tokio::io::copy(&mut tar, &mut tokio::io::sink()).await;
            fed
        };
        let (unpacked, _) = tokio::join!(unpack, feed);
        let (view, result) = unpacked.map_err(|error| EngineError::internal(error.to_string()))?;
        view.close().await;
        result.map_err(|error| missing(name, path, error))?;
        self.shared.announce(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// What it changed in its root file system.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>, EngineError> {
        let cell = self.shared.find(name)?;
        Ok(self.shared.images.changes(&cell.id, &self.shared.dir(&cell.id)).await?)
    }

    /// Runs a blocking writer of a tar whose bytes the caller reads; the view lives as long as it does.
    fn stream(
        &self,
        view: View,
        write: impl FnOnce(&Path, &mut dyn Write) -> Result<(), pintle_image::ImageError> + Send + 'static,
    ) -> Archive {
        let (reader, writer) = tokio::io::duplex(PIPE);
        let handle = tokio::runtime::Handle::current();
        let work = tokio::task::spawn_blocking(move || {
            let mut out =
                io::BufWriter::with_capacity(64 << 10, Blocking { inner: writer, handle: handle.clone() });
            let result = write(&view.root, &mut out);
            let flushed = out.flush();
            // Before the client sees the end: whoever asks the driver then finds nothing of it.
            handle.block_on(view.close());
            result.map_err(io::Error::other).and(flushed)
        });
        Archive { tar: Box::pin(Checked { reader, work: Some(work) }) }
    }
}

/// The read side of a tar stream. A failed writer is a failed read, not an end that looks complete.
struct Checked<R> {
    reader: R,
    work: Option<tokio::task::JoinHandle<io::Result<()>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Checked<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        use std::task::Poll;
        let before = buf.filled().len();
        match std::pin::Pin::new(&mut self.reader).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                let Some(work) = &mut self.work else { return Poll::Ready(Ok(())) };
                match std::pin::Pin::new(work).poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(done) => {
                        self.work = None;
                        Poll::Ready(done.unwrap_or_else(|error| Err(io::Error::other(error))))
                    }
                }
            }
            other => other,
        }
    }
}

/// An async pipe as a blocking one, for a thread that may block.
struct Blocking<T> {
    inner: T,
    handle: tokio::runtime::Handle,
}

impl<T: AsyncRead + Unpin> Read for Blocking<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.handle.block_on(self.inner.read(buf))
    }
}

impl<T: tokio::io::AsyncWrite + Unpin> Write for Blocking<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.handle.block_on(self.inner.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.handle.block_on(self.inner.flush())
    }
}

fn stat_of(stat: archive::PathStat) -> PathStat {
    PathStat {
        name: stat.name,
        size: stat.size,
        mode: stat.mode,
        mtime: stat.mtime.into(),
        link_target: stat.link_target,
    }
}

fn missing(container: &str, path: &str, error: pintle_image::ImageError) -> EngineError {
    if error.kind() == pintle_image::ErrorKind::NotFound {
        EngineError::not_found(format!("Could not find the file {path} in container {container}"))
    } else {
        EngineError::from(error)
    }
}

fn refuse_read_only(container: &Container, path: &str) -> Result<(), EngineError> {
    let path = super::mounts::clean(&format!("/{path}"));
    let inside = |mount: &&MountPoint| {
        path == mount.destination
            || path.strip_prefix(&mount.destination).is_some_and(|rest| rest.starts_with('/'))
    };
    let mount = container.mounts.iter().filter(inside).max_by_key(|mount| mount.destination.len());
    match mount {
        Some(mount) if !mount.rw => Err(EngineError::invalid("mounted volume is marked read-only")),
        None if container.spec.read_only => Err(EngineError::invalid("container rootfs is marked read-only")),
        _ => Ok(()),
    }
}

/// A container's files at a path of this host. Of one that does not run, the root and what would be mounted
/// are mounted for as long as somebody looks. Of one that runs they are there already; volumes of plugins are mounted
/// once more all the same, as in Docker, so that a plugin knows of everybody who reads them.
struct View {
    root: PathBuf,
    close: Option<Close>,
    passing: Vec<Passing>,
}

struct Close {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    volumes: Vec<MountPoint>,
    bound: Vec<PathBuf>,
}

impl View {
    async fn open(shared: &Arc<Shared>, cell: &Arc<Cell>, with_mounts: bool) -> Result<Self, EngineError> {
        let turn = cell.turn.lock().await;
        let snapshot = cell.snapshot();
        if snapshot.gone {
            return Err(EngineError::not_found(format!("No such container: {}", cell.id)));
        }
        if let Some(run) = snapshot.container.life.run() {
            // Nobody who stops it waits for a driver that hangs.
            drop(turn);
            let root = PathBuf::from(format!("/proc/{}/root", run.pid));
            let passing = if with_mounts { pass(shared, &snapshot.container).await } else { Vec::new() };
            return Ok(Self { root, close: None, passing });
        }
        let mut views = cell.views.lock().await;
        let root = shared.images.mount_rootfs(&cell.id, &shared.dir(&cell.id)).await?;
        *views += 1;
        drop(views);
        // Undoes what was done so far if something below fails.
        let mut view = Self {
            root: root.clone(),
            close: Some(Close {
                shared: Arc::clone(shared),
                cell: Arc::clone(cell),
                volumes: Vec::new(),
                bound: Vec::new(),
            }),
            passing: Vec::new(),
        };
        if with_mounts {
            let mut mounts: Vec<&MountPoint> = snapshot.container.mounts.iter().collect();
            mounts.sort_by_key(|mount| mount.destination.matches('/').count());
            for mount in mounts {
                view.add(shared, &snapshot.container, mount).await?;
            }
        }
        Ok(view)
    }

    async fn add(
        &mut self,
        shared: &Shared,
        container: &Container,
        mount: &MountPoint,
    ) -> Result<(), EngineError> {
        let Some(close) = &mut self.close else { return Ok(()) };
        let mut part = None;
        let source = match mount.kind {
            // There is no memory when nothing runs.
            MountKind::Tmpfs => return Ok(()),
            MountKind::Image => {
                let image = shared.mount_image(container, mount).await?;
                let (source, bound) = shared.part(image, mount).await?;
                part = bound;
                source.path
            }
            MountKind::Bind => {
                let (source, pinned) = shared.bind_source(mount).await?;
                part = pinned;
                source
            }
            MountKind::Volume => {
                let name = mount.name.as_deref().unwrap_or_default();
                let id = MountId(mount.mount_id.clone());
                // The container's turn is ours meanwhile: others do not wait long for a driver that hangs.
                let mounting = shared.volumes.mount(name, &container.id, &id);
                let volume = tokio::time::timeout(MOUNT, mounting).await.unwrap_or_else(|_| {
                    Err(EngineError::new(
                        crate::ErrorKind::Unavailable,
                        format!("volume {name}: its driver did not answer within {} s", MOUNT.as_secs()),
                    ))
                })?;
                close.volumes.push(mount.clone());
                if mount.subpath.is_empty() {
                    volume
                } else {
                    let bound = shared.volumes.subpath(&volume, &mount.subpath).await?;
                    let path = bound.path().to_owned();
                    part = Some(bound);
                    path
                }
            }
        };
        let (root, destination) = (self.root.clone(), mount.destination.clone());
        let at = blocking(move || {
            if source.is_dir() {
                make_dir(&root, &destination)?;
            }
            let Some(at) = resolve(&root, &destination) else { return Ok(None) };
            rustix::mount::mount_bind_recursive(&source, &at).map_err(io::Error::from)?;
            Ok(Some(at))
        })
        .await?;
        drop(part);
        close.bound.extend(at);
        Ok(())
    }
}

/// Mounts the volumes of a running container's plugins in passing. What a driver does not mount again is there for the
/// container, and so for us.
async fn pass(shared: &Shared, container: &Container) -> Vec<Passing> {
    let foreign =
        |mount: &&MountPoint| mount.kind == MountKind::Volume && mount.driver != crate::volumes::DEFAULT;
    let mounts = container.mounts.iter().filter(foreign).map(|mount| async {
        let name = mount.name.as_deref().unwrap_or_default();
        match tokio::time::timeout(MOUNT, shared.volumes.pass(name, &container.id)).await {
            Ok(Ok(passing)) => return Some(passing),
            Ok(Err(error)) => tracing::warn!(volume = name, %error, "looked into without a mount of its own"),
            Err(_elapsed) => tracing::warn!(volume = name, "its driver does not answer; looked into without"),
        }
        None
    });
    futures_util::future::join_all(mounts).await.into_iter().flatten().collect()
}

impl View {
    /// What is at a path.
    async fn stat(
        self,
        path: &str,
    ) -> Result<(Self, Result<archive::PathStat, pintle_image::ImageError>), EngineError> {
        let path = path.to_owned();
        blocking(move || {
            let stat = archive::stat(&self.root, &path);
            Ok((self, stat))
        })
        .await
    }

    /// Ends the look, and waits until drivers know it.
    async fn close(mut self) {
        let passing = std::mem::take(&mut self.passing);
        drop(self);
        futures_util::future::join_all(passing.into_iter().map(Passing::end)).await;
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let Some(close) = self.close.take() else { return };
        let shared = Arc::clone(&close.shared);
        shared.spawn(close.close());
    }
}

impl Close {
    async fn close(self) {
        let Self { shared, cell, volumes, bound } = self;
        let _turn = cell.turn.lock().await;
        let unbound = blocking(move || {
            for path in bound.iter().rev() {
                if let Err(error) =
                    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                {
                    tracing::warn!(path = %path.display(), %error, "could not be unmounted");
                }
            }
            Ok(())
        });
        let _ = unbound.await;
        shared.unmount_volumes(&cell.id, &volumes).await;
        let mut views = cell.views.lock().await;
        *views = views.saturating_sub(1);
        let snapshot = cell.snapshot();
        if *views == 0 && !snapshot.gone && !snapshot.container.life.may_hold() {
            shared.unmount_images(&snapshot.container).await;
            if let Err(error) = shared.images.unmount_rootfs(&cell.id, &shared.dir(&cell.id)).await {
                tracing::warn!(container = %cell.id, %error, "its root file system could not be unmounted");
            }
        }
    }
}

/// The real path on this host of a path inside `root`, links followed as inside.
fn resolve(root: &Path, path: &str) -> Option<PathBuf> {
    let base =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let inside = path.trim_start_matches('/');
    let inside = if inside.is_empty() { "." } else { inside };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found =
        rustix::fs::openat2(&base, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let real =
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found))).ok()?;
    real.starts_with(root).then_some(real)
}

/// The same, if it is a directory.
pub(super) fn resolve_dir(root: &Path, path: &str) -> Option<PathBuf> {
    resolve(root, path).filter(|real| real.is_dir())
}

/// Makes a directory and its parents inside `root`; links cannot lead out.
pub(super) fn make_dir(root: &Path, path: &str) -> Result<(), EngineError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: &dyn std::fmt::Display| {
        EngineError::internal(format!("cannot make directory {path}: {error}"))
    };
    if resolve_dir(root, path).is_some() {
        return Ok(());
    }
    let inside = pathrs::Root::open(root).map_err(|error| failed(&error))?;
    inside
        .mkdir_all(path, &std::fs::Permissions::from_mode(0o755))
        .map(drop)
        .map_err(|error| EngineError::invalid(format!("cannot make directory {path}: {error}")))
}
