//! Streams to log plugins that are begun with their container, so that options that mean nothing fail its start, as they
//! do in Docker. A plugin that says nothing holds the container up for a moment only; the delivery goes on asking.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future;
use pintle_contract::{ErrorKind as DriverErrorKind, LogStream};

use super::{Filters, delivery::info};
use crate::{
    EngineError,
    containers::{Container, LogConfig, cell::Cell, log_options, service::Shared},
};

/// How long a container waits for its log plugins.
const BUDGET: Duration = Duration::from_secs(2);
/// What a plugin may take to end a stream that nothing will go through.
const END: Duration = Duration::from_secs(5);

/// What was begun, by the destination's name.
#[derive(Default)]
pub(in crate::containers) struct Opened(BTreeMap<String, Box<dyn LogStream>>);

impl Opened {
    pub(super) fn take(&mut self, destination: &str) -> Option<Box<dyn LogStream>> {
        self.0.remove(destination)
    }

    /// Ends streams that are not needed after all; nobody waits for it.
    pub fn abandon(self, shared: &Shared) {
        for mut stream in self.0.into_values() {
            // The pipe's end tells the plugin, too, if this does not.
            shared.spawn(async move { tokio::time::timeout(END, stream.stop()).await.is_ok() });
        }
    }
}

impl Shared {
    /// Begins a stream to each log plugin that is to have the container's lines and has none of its streams. An error is
    /// a plugin's refusal; of one that cannot be reached nothing is known.
    pub async fn open_streams(&self, cell: &Cell) -> Result<Opened, EngineError> {
        let container = cell.container();
        let wanted = log_options::destinations(&container.spec).into_iter().filter(|(name, config)| {
            let is_delivered_to = self.delivering().contains_key(&(cell.id.clone(), name.clone()));
            !is_delivered_to && !self.config.log_drivers.is_builtin(&config.driver)
        });
        let begun = future::join_all(wanted.map(|(name, config)| {
            let container = Arc::clone(&container);
            async move { (name, self.open_stream(&container, &config).await) }
        }))
        .await;
        let (mut opened, mut refused) = (Opened::default(), None);
        for (name, result) in begun {
            match result {
                Ok(Some(stream)) => drop(opened.0.insert(name, stream)),
                Ok(None) => {}
                Err(error) => refused = Some(error),
            }
        }
        let Some(error) = refused else { return Ok(opened) };
        opened.abandon(self);
        Err(error)
    }

    async fn open_stream(
        &self,
        container: &Container,
        config: &LogConfig,
    ) -> Result<Option<Box<dyn LogStream>>, EngineError> {
        let (_, options) = Filters::take(&config.options)?;
        let begin = async {
            let driver = self.config.log_drivers.find(&config.driver).await.ok()?;
            Some(driver.start(info(container, options)).await)
        };
        match tokio::time::timeout(BUDGET, begin).await {
            Ok(Some(Ok(stream))) => Ok(Some(stream)),
            Ok(Some(Err(error)))
                if !matches!(error.kind, DriverErrorKind::Unavailable | DriverErrorKind::Timeout) =>
            {
                // Docker's words.
                Err(EngineError::internal(format!(
                    "failed to create task for container: failed to initialize logging driver: error creating \
                     logger: {error}"
                )))
            }
            Ok(None | Some(Err(_))) | Err(_) => Ok(None),
        }
    }
}
