use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pintle_contract::DriverError;
use pintle_wire::{encode_error, ipam, network};

/// What a driver was asked, of either contract.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Of the network contract.
    Network(network::Request),
    /// Of the IPAM contract.
    Ipam(ipam::Request),
}

impl Request {
    /// The call's name on the wire: `NetworkDriver.Join`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Network(request) => request.method().name(),
            Self::Ipam(request) => request.method().name(),
        }
    }

    /// As it travels; an empty object if it has no body.
    fn body(&self) -> Vec<u8> {
        let body = match self {
            Self::Network(request) => request.encode(),
            Self::Ipam(request) => request.encode(),
        };
        body.unwrap_or_else(|| b"{}".to_vec())
    }
}

/// One call and its answer, as it travels.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: String,
}

/// Calls in the order in which they were answered. Clones are the same journal.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: Mutex<Vec<Call>>,
    file: Option<File>,
}

impl Journal {
    /// One that is also appended to a file, a line for each call, before the caller hears the answer: name, request and
    /// answer, with tabs between them.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { inner: Arc::new(Inner { calls: Mutex::default(), file: Some(file) }) })
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// The same, and begins anew.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a call down once it has its result.
    pub(super) async fn note<T>(
        &self,
        request: Request,
        asked: impl Future<Output = Result<T, DriverError>>,
        encode: impl FnOnce(&T) -> Vec<u8>,
    ) -> Result<T, DriverError> {
        let result = asked.await;
        let answer = match &result {
            Ok(reply) => encode(reply),
            Err(error) => encode_error(error),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let call = Call { request, answer: text(&answer) };
        let mut calls = self.lock();
        if let Some(mut file) = self.inner.file.as_ref() {
            let line = format!("{}\t{}\t{}\n", call.request.name(), text(&call.request.body()), call.answer);
            file.write_all(line.as_bytes())?;
        }
        calls.push(call);
        drop(calls);
        result
    }
}
