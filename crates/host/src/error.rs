use pintle_contract::DriverError;
use pintle_image::ImageError;

/// What went wrong, in the only terms that callers may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such plugin.
    NotFound,
    /// The request is malformed or ambiguous.
    InvalidArgument,
    /// The plugin is in a state that forbids it: in use, enabled, disabled, there already.
    Conflict,
    /// A rule forbids it.
    Forbidden,
    /// The registry wants other credentials.
    Unauthorized,
    /// The plugin or the registry cannot be reached now.
    Unavailable,
    /// The plugin does not do that.
    NotImplemented,
    /// Anything else.
    Internal,
}

/// Why the host could not do it. The texts are Docker's where clients or scripts look for Docker's.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing of that name.
    #[error("plugin \"{0}\" not found")]
    NotFound(String),
    /// Several plugins' ids begin so.
    #[error("multiple plugins found for \"{0}\"")]
    Ambiguous(String),
    /// The request means nothing.
    #[error("{0}")]
    Invalid(String),
    /// There is one of that name.
    #[error("plugin {0} already exists")]
    Exists(String),
    /// It is enabled already.
    #[error("plugin already enabled: plugin {0} is enabled")]
    AlreadyEnabled(String),
    /// It is disabled already.
    #[error("plugin is already disabled: plugin {0} found but disabled")]
    AlreadyDisabled(String),
    /// It is disabled, so it cannot be called.
    #[error("plugin {0} found but disabled")]
    Disabled(String),
    /// It must be disabled first.
    #[error("plugin {0} is enabled")]
    Enabled(String),
    /// It must be disabled first.
    #[error("plugin must be disabled before upgrading: plugin {0} is enabled")]
    EnabledUpgrade(String),
    /// Somebody uses it.
    #[error("plugin {name} is in use by {}", holders.join(", "))]
    InUse {
        /// The plugin.
        name: String,
        /// Who uses it, in words.
        holders: Vec<String>,
    },
    /// It does not do what it was asked to do.
    #[error("{0}")]
    WrongInterface(String),
    /// The accepted privileges are not the plugin's.
    #[error("{0}")]
    Privileges(String),
    /// A `set` argument that does not fit the plugin.
    #[error("{0}")]
    Setting(String),
    /// The package is not one that may be installed.
    #[error("{0}")]
    Package(String),
    /// There is no such network for it to be in.
    #[error("{0}")]
    NoNetwork(String),
    /// Its networks are made by plugins that need it themselves.
    #[error("{0}")]
    Cycle(String),
    /// A rule of this host forbids it.
    #[error("{0}")]
    Forbidden(String),
    /// It did not start.
    #[error("{0}")]
    Start(String),
    /// It is wanted but not running, or does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The content store or the registry failed.
    #[error("{message}")]
    Image {
        /// What kind of failure.
        kind: ErrorKind,
        /// What people read.
        message: String,
    },
    /// A driver call failed.
    #[error("{0}")]
    Driver(#[from] DriverError),
    /// The disk, the kernel or the store failed.
    #[error("{0}")]
    Internal(String),
}

impl HostError {
    /// What callers may branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoNetwork(_) => ErrorKind::NotFound,
            Self::Ambiguous(_) | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Exists(_)
            | Self::AlreadyEnabled(_)
            | Self::AlreadyDisabled(_)
            | Self::Disabled(_)
            | Self::Enabled(_)
            | Self::EnabledUpgrade(_)
            | Self::Cycle(_)
            | Self::InUse { .. } => ErrorKind::Conflict,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Image { kind, .. } => *kind,
            Self::Driver(error) => driver_kind(error.kind),
            // Docker answers 500 for all of these, and a client that wants the reason reads the text.
            Self::WrongInterface(_)
            | Self::Privileges(_)
            | Self::Setting(_)
            | Self::Package(_)
            | Self::Start(_)
            | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Internal(format!("{what}: {error}"))
    }
}

fn driver_kind(kind: pintle_contract::ErrorKind) -> ErrorKind {
    use pintle_contract::ErrorKind as Driver;
    match kind {
        Driver::NotFound => ErrorKind::NotFound,
        Driver::Conflict | Driver::InUse => ErrorKind::Conflict,
        Driver::InvalidArgument => ErrorKind::InvalidArgument,
        Driver::Unsupported => ErrorKind::NotImplemented,
        Driver::PermissionDenied => ErrorKind::Forbidden,
        Driver::Unavailable | Driver::Timeout => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

impl From<ImageError> for HostError {
    fn from(error: ImageError) -> Self {
        use pintle_image::ErrorKind as Image;
        let kind = match error.kind() {
            Image::NotFound => ErrorKind::NotFound,
            Image::Conflict => ErrorKind::Conflict,
            Image::InvalidArgument => ErrorKind::InvalidArgument,
            Image::Unauthorized => ErrorKind::Unauthorized,
            Image::Forbidden => ErrorKind::Forbidden,
            Image::Unavailable => ErrorKind::Unavailable,
            Image::Unsupported => ErrorKind::NotImplemented,
            _ => ErrorKind::Internal,
        };
        Self::Image { kind, message: error.to_string() }
    }
}

impl From<pintle_store::StoreError> for HostError {
    fn from(error: pintle_store::StoreError) -> Self {
        Self::Internal(error.to_string())
    }
}
