//! The calls, both ways.

use std::{collections::BTreeMap, path::PathBuf};

use pintle_contract::{
    DriverError, ErrorKind,
    log::{LogCapabilities, LogInfo},
};
use serde_json::{Value, json};

use crate::{
    failure::{Dialect, unreadable},
    object::{DecodeError, Object, message},
    value::line,
};

const DIALECT: Dialect = Dialect { keys: &["Err"], prefix: "", unnamed: |_, _| ErrorKind::Internal };

/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the wire's")]
pub enum Method {
    Capabilities,
    StartLogging,
    StopLogging,
    ReadLogs,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Capabilities, Self::StartLogging, Self::StopLogging, Self::ReadLogs];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::Capabilities => "/LogDriver.Capabilities",
            Self::StartLogging => "/LogDriver.StartLogging",
            Self::StopLogging => "/LogDriver.StopLogging",
            Self::ReadLogs => "/LogDriver.ReadLogs",
        }
    }

    /// The method that is posted there.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }
}

/// What an engine asks. Reading back is not asked of plugins: the engine has the lines itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "one variant for each method")]
pub enum Request {
    Capabilities,
    /// The pipe, as the plugin sees it, and whose output comes through it.
    StartLogging {
        file: PathBuf,
        info: Box<LogInfo>,
    },
    StopLogging {
        file: PathBuf,
    },
}

impl Request {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Capabilities => Method::Capabilities,
            Self::StartLogging { .. } => Method::StartLogging,
            Self::StopLogging { .. } => Method::StopLogging,
        }
    }

    /// The body, as Docker sends it.
    pub fn encode(&self) -> Vec<u8> {
        line(&match self {
            Self::Capabilities => json!({}),
            Self::StartLogging { file, info } => {
                json!({ "File": file.to_string_lossy(), "Info": encode_info(info) })
            }
            Self::StopLogging { file } => json!({ "File": file.to_string_lossy() }),
        })
    }

    /// Reads a body; `None` for a method that this side does not have.
    pub fn decode(method: Method, body: &[u8]) -> Result<Option<Self>, DecodeError> {
        if matches!(method, Method::Capabilities) {
            return Ok(Some(Self::Capabilities));
        }
        let value = message(body)?;
        let root = Object::root(&value)?;
        let file = || -> Result<PathBuf, DecodeError> {
            let file = root.string("File")?;
            if file.is_empty() {
                Err(root.error("File", "the pipe's path is missing"))
            } else {
                Ok(file.into())
            }
        };
        Ok(match method {
            Method::StartLogging => {
                let info = root.object("Info")?.map(|info| decode_info(&info)).transpose()?;
                Some(Self::StartLogging { file: file()?, info: Box::new(info.unwrap_or_default()) })
            }
            Method::StopLogging => Some(Self::StopLogging { file: file()? }),
            Method::Capabilities | Method::ReadLogs => None,
        })
    }
}

fn encode_info(info: &LogInfo) -> Value {
    let pairs = |map: &BTreeMap<String, String>| if map.is_empty() { json!({}) } else { json!(map) };
    json!({
        "Config": pairs(&info.options),
        "ContainerID": info.id,
        "ContainerName": info.name,
        "ContainerEntrypoint": info.entrypoint,
        "ContainerArgs": info.args,
        "ContainerImageID": info.image_id,
        "ContainerImageName": info.image_name,
        "ContainerCreated": info.created,
        "ContainerEnv": info.env,
        "ContainerLabels": pairs(&info.labels),
        "LogPath": "",
        "DaemonName": "docker",
    })
}

fn decode_info(info: &Object<'_>) -> Result<LogInfo, DecodeError> {
    Ok(LogInfo {
        options: info.string_map("Config")?,
        id: info.string("ContainerID")?,
        name: info.string("ContainerName")?,
        entrypoint: info.string("ContainerEntrypoint")?,
        args: info.strings("ContainerArgs")?,
        image_id: info.string("ContainerImageID")?,
        image_name: info.string("ContainerImageName")?,
        created: info.string("ContainerCreated")?,
        env: info.strings("ContainerEnv")?,
        labels: info.string_map("ContainerLabels")?,
    })
}

/// Reads the reply to a call that answers nothing but whether it failed. An empty body with status 200 is success.
pub fn accept(method: Method, status: u16, body: &[u8]) -> Result<(), DriverError> {
    if status == 200 && body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    DIALECT.accept(method.name(), status, body).map(drop)
}

/// Reads the reply to `Capabilities`: `{"Cap": {"ReadLogs": true}}`.
pub fn decode_capabilities(status: u16, body: &[u8]) -> Result<LogCapabilities, DriverError> {
    let method = Method::Capabilities.name();
    let value = DIALECT.accept(method, status, body)?;
    let read = || Object::root(&value)?.object("Cap")?.map_or(Ok(false), |cap| cap.bool("ReadLogs"));
    read().map(|read| LogCapabilities { read }).map_err(|error| unreadable(method, &error))
}
