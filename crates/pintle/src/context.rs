//! What every command needs: the configuration, and the engine once it is asked for.

use std::path::PathBuf;

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::client::{Client, ClientError, Selection};
use crate::credentials::ConfigFile;

/// Shared by one command's steps.
pub struct Context {
    selection: Selection,
    config_dir: PathBuf,
    client: OnceCell<Client>,
}

impl Context {
    /// A context for `selection`; nothing is contacted yet.
    pub fn new(selection: Selection) -> Self {
        Self { config_dir: selection.config_dir.clone(), selection, client: OnceCell::new() }
    }

    /// The engine. It is contacted once.
    pub async fn client(&self) -> Result<&Client, ClientError> {
        self.client
            .get_or_try_init(|| async {
                let config = ConfigFile::load(&self.config_dir).ok();
                let mut selection = self.selection.clone();
                selection.current_context =
                    config.as_ref().and_then(|c| c.setting("currentContext")).map(str::to_owned);
                let headers = config.map(|c| c.headers()).unwrap_or_default();
                Client::connect(selection.resolve()?, headers).await
            })
            .await
    }

    /// Docker's config.json.
    pub fn config(&self) -> Result<ConfigFile> {
        ConfigFile::load(&self.config_dir)
    }
}
