//! Removing links without waiting for what the kernel does afterwards.

use std::{os::unix::net::UnixDatagram, sync::mpsc, thread, time::Duration};

use nix::sched::{CloneFlags, setns};
use rustix::{io::Errno, net::netdevice::name_to_index};

use super::LinkName;
use crate::{Error, ErrorKind, Handle, Namespace};

/// Between two looks whether the link is gone.
const PAUSE: Duration = Duration::from_micros(200);

/// What the thread that asks the kernel tells, in this order.
enum Said {
    /// The link is there; a socket of its namespace, to see it go.
    There(UnixDatagram),
    Done(Result<bool, Error>),
}

impl Namespace {
    /// Removes a link, and returns when it is gone. Says whether there was one.
    ///
    /// Nobody finds the link by then, its name is free, and whoever changes links, addresses or routes next does it after
    /// the removal. The kernel itself answers only when every processor has forgotten the link, tens of milliseconds
    /// later, and keeps a socket busy meanwhile: here that is a thread and a socket of their own.
    pub fn remove_link(&self, name: &LinkName) -> Result<bool, Error> {
        let problem = |text: &str| Error::of(ErrorKind::Other, "remove link", name, text);
        let (tell, told) = mpsc::channel();
        let (namespace, link) = (self.clone(), name.clone());
        thread::Builder::new()
            .name("unlink".to_owned())
            .spawn(move || {
                let done = ask(&namespace, &link, |socket| tell.send(Said::There(socket)).is_ok());
                // Nobody listens any more if the link was seen to go.
                let _ = tell.send(Said::Done(done));
            })
            .map_err(|error| Error::io("start", "a thread", error))?;
        let socket = match told.recv() {
            Ok(Said::There(socket)) => socket,
            Ok(Said::Done(done)) => return done,
            Err(mpsc::RecvError) => return Err(problem("the thread failed")),
        };
        loop {
            match told.recv_timeout(PAUSE) {
                Ok(Said::Done(done)) => return done,
                Ok(Said::There(_)) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if name_to_index(&socket, name.as_str()) == Err(Errno::NODEV) {
                        return Ok(true);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(problem("the thread failed")),
            }
        }
    }
}

/// On a thread that does nothing else afterwards.
fn ask(
    namespace: &Namespace,
    name: &LinkName,
    there: impl FnOnce(UnixDatagram) -> bool,
) -> Result<bool, Error> {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(|error| Error::io("enter", "a network namespace", error.into()))?;
    let socket = UnixDatagram::unbound().map_err(|error| Error::io("open", "a socket", error))?;
    match name_to_index(&socket, name.as_str()) {
        Err(Errno::NODEV) => return Ok(false),
        Err(error) => return Err(Error::io("find link", name, error.into())),
        Ok(_) => {}
    }
    let handle = Handle::open_here()?;
    there(socket);
    handle.remove_link(name)
}
