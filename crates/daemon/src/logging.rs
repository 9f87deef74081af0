//! The engine's own log, whose level a reload can change.

use tracing::Level;
use tracing_subscriber::{
    Registry, filter::LevelFilter, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Changes the level of a running log.
#[derive(Clone, Default)]
pub struct Log(Option<reload::Handle<LevelFilter, Registry>>);

impl Log {
    /// Starts logging to standard error. Where the process has a log already, that one is kept.
    pub fn start(level: Level) -> Self {
        let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let format = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .with_target(false);
        match tracing_subscriber::registry().with(filter).with(format).try_init() {
            Ok(()) => Self(Some(handle)),
            Err(_) => Self(None),
        }
    }

    pub(crate) fn set(&self, level: Level) {
        if let Some(handle) = &self.0 {
            // It fails only when the log is gone.
            let _ = handle.reload(LevelFilter::from_level(level));
        }
    }
}
