use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{Error, ErrorKind, Handle};

/// The namespace of the calling thread.
const HERE: &str = "/proc/thread-self/ns/net";

/// The type of the file system of namespaces (`NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

/// A network namespace. It lives as long as this, a [`Handle`] of it, a path bound to it, or a process in it.
///
/// One that is opened while somebody in this process holds it is the same one, so that a handle, which costs a thread
/// to make, is made once.
#[derive(Debug, Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    identity: Identity,
    handle: OnceLock<Handle>,
}

/// The device and the number of a namespace's file. Nobody else has them as long as the file is open.
type Identity = (u64, u64);

/// Every namespace that is held in this process.
static HELD: Mutex<Option<HashMap<Identity, Weak<Inner>>>> = Mutex::new(None);

impl Drop for Inner {
    fn drop(&mut self) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut()
            && held.get(&self.identity).is_some_and(|inner| inner.strong_count() == 0)
        {
            held.remove(&self.identity);
        }
    }
}

impl Namespace {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        let namespace = Self::open(Path::new(HERE))?;
        if namespace.inner.handle.get().is_none() {
            let _ = namespace.inner.handle.set(Handle::open_here()?);
        }
        Ok(namespace)
    }

    /// The namespace that `path` opens: one bound there, or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let problem = |error| Error::io("open network namespace", path.display(), error);
        let file = File::open(path).map_err(problem)?;
        let system = rustix::fs::fstatfs(&file).map_err(|error| problem(error.into()))?;
        // Entering anything else would fail, but later and with less to say.
        if system.f_type != NSFS {
            return Err(Error::of(
                ErrorKind::Invalid,
                "open network namespace",
                path.display(),
                "it is not a namespace",
            ));
        }
        Self::of_file(file).map_err(problem)
    }

    /// The namespace of the process `pid`.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Makes a namespace without a path. Its loopback interface is up.
    pub fn create() -> Result<Self, Error> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| Error::io("make", "a network namespace", error.into()))?;
            let namespace = Self::current()?;
            namespace.handle()?.bring_up_loopback()?;
            Ok(namespace)
        })
    }

    /// Makes a namespace and binds it to `path`, a file that is made in an existing directory. What was bound there
    /// before is taken away: its caller knows that nobody uses it any more.
    pub fn create_at(path: &Path) -> Result<Self, Error> {
        Self::remove(path)?;
        let namespace = Self::create()?;
        namespace.bind(path)?;
        Ok(namespace)
    }

    /// Binds the namespace to `path`, so that it outlives this process.
    pub fn bind(&self, path: &Path) -> Result<(), Error> {
        let problem = |error| Error::io("bind a network namespace to", path.display(), error);
        let made = File::create_new(path).map(drop);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(problem(error));
        }
        let bound = self.run(|| mount_bind(HERE, path))?;
        bound.map_err(|error| {
            let _ = fs::remove_file(path);
            problem(error.into())
        })
    }

    /// Takes away what is bound to `path`, and the file. Nothing there is fine. The namespace ends when nothing else
    /// holds it; the links in it go with it.
    pub fn remove(path: &Path) -> Result<(), Error> {
        let problem = |error| Error::io("remove network namespace", path.display(), error);
        loop {
            match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(rustix::io::Errno::INVAL) => break,
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(error) => return Err(problem(error.into())),
            }
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(problem(error)),
            _ => Ok(()),
        }
    }

    /// Runs `act` in the namespace and waits for it: here and now if the caller is in it, else on a thread of its own.
    /// Programs that it starts are in the namespace, and sockets that it opens stay there.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if fs::metadata(HERE).is_ok_and(|here| (here.dev(), here.ino()) == self.inner.identity) {
            return Ok(act());
        }
        on_a_thread(|| {
            setns(&self.inner.file, CloneFlags::CLONE_NEWNET)
                .map_err(|error| Error::io("enter", "a network namespace", error.into()))?;
            Ok(act())
        })
    }

    /// A handle of the namespace. Every call gives the same one.
    pub fn handle(&self) -> Result<Handle, Error> {
        if let Some(handle) = self.inner.handle.get() {
            return Ok(handle.clone());
        }
        let handle = self.run(Handle::open_here)??;
        Ok(self.inner.handle.get_or_init(|| handle).clone())
    }

    /// Whether the two are the same namespace.
    pub fn is(&self, other: &Self) -> bool {
        self.inner.identity == other.inner.identity
    }

    fn of_file(file: File) -> io::Result<Self> {
        let data = file.metadata()?;
        let identity = (data.dev(), data.ino());
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        if let Some(inner) = held.get(&identity).and_then(Weak::upgrade) {
            return Ok(Self { inner });
        }
        let inner = Arc::new(Inner { file, identity, handle: OnceLock::new() });
        held.insert(identity, Arc::downgrade(&inner));
        Ok(Self { inner })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }
}

/// A thread that moved into a namespace must do nothing else afterwards, so it is one of its own.
fn on_a_thread<T: Send>(act: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, act);
        let running = spawned.map_err(|error| Error::io("start", "a thread", error))?;
        let failed = || Error::of(ErrorKind::Other, "work in", "a network namespace", "the thread failed");
        running.join().unwrap_or_else(|_| Err(failed()))
    })
}
