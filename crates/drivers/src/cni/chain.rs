//! The plugins of a network, called one after the other.

use pintle_contract::{DriverError, ErrorKind};
use pintle_wire::cni::{
    Attachment, CacheRecord, Command, Invocation, NetworkConfig, PluginConfig, Request, Success, Version,
    code,
};
use serde_json::{Map, Value};

use super::program::{Cause, Failure, Programs};

/// A network's plugins, and the version that is spoken with them.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) programs: &'a Programs,
    pub(super) config: &'a NetworkConfig,
    pub(super) version: Version,
}

impl Chain<'_> {
    /// Attaches: each plugin is told what the one before it made. Answers with what the last one made of it all.
    pub(super) async fn add(&self, record: &CacheRecord) -> Result<Value, DriverError> {
        let mut made: Option<Value> = None;
        for plugin in &self.config.plugins {
            let wrong = |what: &str| -> DriverError {
                Failure::new(
                    &plugin.plugin,
                    Command::Add,
                    DriverError::internal(format!("its answer: {what}")),
                )
                .into()
            };
            let answer = self.attachment(Command::Add, plugin, record, made.as_ref()).await?;
            let answer = answer.ok_or_else(|| wrong("nothing"))?;
            let success =
                Success::decode(&answer, self.version).map_err(|error| wrong(&error.to_string()))?;
            made = Some(success.encode(self.version).map_err(|error| wrong(&error.message))?);
        }
        made.ok_or_else(|| {
            DriverError::invalid(format!("CNI configuration {}: no plugins", self.config.name))
        })
    }

    /// Detaches, in the opposite order. May be repeated, and without a result.
    pub(super) async fn del(&self, record: &CacheRecord) -> Result<(), DriverError> {
        let made = self.made(record).filter(|_| self.version.has_check());
        for plugin in self.config.plugins.iter().rev() {
            match self.attachment(Command::Del, plugin, record, made.as_ref()).await {
                // It knows nothing of it, and there is nothing to be cleaned up.
                Err(Failure { cause: Cause::Said(error), .. }) if error.code == code::CONTAINER => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Asks whether the attachment is as ADD made it. Where nobody may or can be asked, it is.
    pub(super) async fn check(&self, record: &CacheRecord) -> Result<(), DriverError> {
        let Some(made) = self.made(record).filter(|_| self.version.has_check() && !self.config.disable_check)
        else {
            return Ok(());
        };
        for plugin in &self.config.plugins {
            self.attachment(Command::Check, plugin, record, Some(&made)).await?;
        }
        Ok(())
    }

    /// Asks whether anything can be attached at all. Where nobody can be asked, it can.
    pub(super) async fn status(&self) -> Result<(), DriverError> {
        if !self.version.has_status_and_gc() {
            return Ok(());
        }
        for plugin in &self.config.plugins {
            if let Err(failure) = self.network(Command::Status, plugin, None).await {
                let error = DriverError::from(failure);
                let kind = if error.kind == ErrorKind::Timeout {
                    ErrorKind::Timeout
                } else {
                    ErrorKind::Unavailable
                };
                return Err(DriverError::new(kind, error.message));
            }
        }
        Ok(())
    }

    /// Tells every plugin which attachments there are; what they keep for others they may let go.
    pub(super) async fn gc(&self, valid: &[Attachment]) -> Result<(), DriverError> {
        if !self.version.has_status_and_gc() || self.config.disable_gc {
            return Ok(());
        }
        let mut first = Ok(());
        for plugin in &self.config.plugins {
            if let Err(failure) = self.network(Command::Gc, plugin, Some(valid)).await {
                first = first.and(Err(failure.into()));
            }
        }
        first
    }

    fn made(&self, record: &CacheRecord) -> Option<Value> {
        let made = Success::decode(record.result.as_ref()?, self.version).ok()?;
        made.encode(self.version).ok()
    }

    async fn attachment(
        &self,
        command: Command,
        plugin: &PluginConfig,
        record: &CacheRecord,
        previous: Option<&Value>,
    ) -> Result<Option<Value>, Failure> {
        let mut invocation = record.invocation(command, self.programs.folders.clone());
        if command == Command::Del && invocation.namespace.as_ref().is_some_and(|path| !path.exists()) {
            invocation.namespace = None;
        }
        let request = Request { previous, ..self.request(&record.capabilities) };
        self.programs.run(&plugin.plugin, &invocation, &plugin.request(&request)).await
    }

    async fn network(
        &self,
        command: Command,
        plugin: &PluginConfig,
        valid: Option<&[Attachment]>,
    ) -> Result<(), Failure> {
        let invocation = Invocation {
            command,
            container: String::new(),
            namespace: None,
            interface: String::new(),
            args: Vec::new(),
            path: self.programs.folders.clone(),
        };
        let nothing = Map::new();
        let request = Request { valid, ..self.request(&nothing) };
        self.programs.run(&plugin.plugin, &invocation, &plugin.request(&request)).await.map(drop)
    }

    fn request<'r>(&'r self, capabilities: &'r Map<String, Value>) -> Request<'r> {
        Request {
            network: &self.config.name,
            version: self.version,
            capabilities,
            previous: None,
            valid: None,
        }
    }
}
