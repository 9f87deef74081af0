//! The calls, both ways.

use std::{collections::BTreeMap, path::PathBuf};

use pintle_contract::{
    DriverError, ErrorKind, LogEntry,
    log::{LogCapabilities, LogInfo, LogQuery},
};
use serde_json::{Value, json};

use super::{decode, frame_length, time};
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

/// What an engine asks. Docker reads back what plugins can give back; pintle has the lines itself.
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
    /// Answered by frames, and their end.
    ReadLogs {
        info: Box<LogInfo>,
        query: LogQuery,
    },
}

impl Request {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Capabilities => Method::Capabilities,
            Self::StartLogging { .. } => Method::StartLogging,
            Self::StopLogging { .. } => Method::StopLogging,
            Self::ReadLogs { .. } => Method::ReadLogs,
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
            Self::ReadLogs { info, query } => {
                json!({ "Info": encode_info(info), "Config": encode_query(query) })
            }
        })
    }

    /// Reads a body.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        if matches!(method, Method::Capabilities) {
            return Ok(Self::Capabilities);
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
        let info = || -> Result<Box<LogInfo>, DecodeError> {
            let info = root.object("Info")?.map(|info| decode_info(&info)).transpose()?;
            Ok(Box::new(info.unwrap_or_default()))
        };
        Ok(match method {
            Method::Capabilities => Self::Capabilities,
            Method::StartLogging => Self::StartLogging { file: file()?, info: info()? },
            Method::StopLogging => Self::StopLogging { file: file()? },
            Method::ReadLogs => {
                // What Docker sends, and what its documentation says that it does.
                let query = match root.object("Config")? {
                    Some(query) => Some(query),
                    None => root.object("ReadConfig")?,
                };
                let query = query.map(|query| decode_query(&query)).transpose()?.unwrap_or_default();
                Self::ReadLogs { info: info()?, query }
            }
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

/// A time that is not set.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn encode_query(query: &LogQuery) -> Value {
    let time = |time: Option<i64>| time.map_or_else(|| NEVER.to_owned(), time::format);
    json!({
        "Since": time(query.since),
        "Until": time(query.until),
        "Tail": query.tail.and_then(|lines| i64::try_from(lines).ok()).unwrap_or(-1),
        "Follow": query.follow,
    })
}

fn decode_query(query: &Object<'_>) -> Result<LogQuery, DecodeError> {
    let time = |name: &str| -> Result<Option<i64>, DecodeError> {
        let text = query.string(name)?;
        if text.is_empty() {
            return Ok(None);
        }
        let time = time::parse(&text).ok_or_else(|| query.error(name, format!("{text:.64?} is no time")))?;
        // Lines have times that 64 bits hold: what is farther away excludes none of them, as a time that is not set.
        Ok(i64::try_from(time).ok())
    };
    let tail = match query.get("Tail") {
        None | Some(Value::Null) => None,
        Some(Value::Number(lines)) => lines.as_u64(),
        Some(_) => return Err(query.error("Tail", "a number is wanted")),
    };
    Ok(LogQuery { since: time("Since")?, until: time("Until")?, tail, follow: query.bool("Follow")? })
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

/// Reads the reply to `ReadLogs`.
pub fn decode_lines(status: u16, body: &[u8]) -> Result<Vec<LogEntry>, DriverError> {
    let method = Method::ReadLogs.name();
    if status != 200 {
        return DIALECT.accept(method, status, body).map(|_| Vec::new());
    }
    let damaged = |why: &dyn std::fmt::Display| DriverError::internal(format!("{method}: {why}"));
    let (mut entries, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let length = frame_length(rest).map_err(|error| damaged(&error))?;
        let message = length.and_then(|length| rest.get(4..4 + length));
        let message = message.ok_or_else(|| damaged(&"the last frame is not whole"))?;
        entries.push(decode(message).map_err(|error| damaged(&error))?.0);
        rest = rest.get(4 + message.len()..).unwrap_or_default();
    }
    Ok(entries)
}

/// Reads the reply to `Capabilities`: `{"Cap": {"ReadLogs": true}}`.
pub fn decode_capabilities(status: u16, body: &[u8]) -> Result<LogCapabilities, DriverError> {
    let method = Method::Capabilities.name();
    let value = DIALECT.accept(method, status, body)?;
    let read = || Object::root(&value)?.object("Cap")?.map_or(Ok(false), |cap| cap.bool("ReadLogs"));
    read().map(|read| LogCapabilities { read }).map_err(|error| unreadable(method, &error))
}
