/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the names are the wire's and the contract's; `NetworkDriver` documents them"
)]
pub enum Method {
    GetCapabilities,
    GwAllocCheck,
    AllocateNetwork,
    FreeNetwork,
    CreateNetwork,
    DeleteNetwork,
    CreateEndpoint,
    DeleteEndpoint,
    EndpointOperInfo,
    Join,
    Leave,
    ProgramExternalConnectivity,
    RevokeExternalConnectivity,
    DiscoverNew,
    DiscoverDelete,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 15] = [
        Self::GetCapabilities,
        Self::GwAllocCheck,
        Self::AllocateNetwork,
        Self::FreeNetwork,
        Self::CreateNetwork,
        Self::DeleteNetwork,
        Self::CreateEndpoint,
        Self::DeleteEndpoint,
        Self::EndpointOperInfo,
        Self::Join,
        Self::Leave,
        Self::ProgramExternalConnectivity,
        Self::RevokeExternalConnectivity,
        Self::DiscoverNew,
        Self::DiscoverDelete,
    ];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::GetCapabilities => "/NetworkDriver.GetCapabilities",
            Self::GwAllocCheck => "/NetworkDriver.GwAllocCheck",
            Self::AllocateNetwork => "/NetworkDriver.AllocateNetwork",
            Self::FreeNetwork => "/NetworkDriver.FreeNetwork",
            Self::CreateNetwork => "/NetworkDriver.CreateNetwork",
            Self::DeleteNetwork => "/NetworkDriver.DeleteNetwork",
            Self::CreateEndpoint => "/NetworkDriver.CreateEndpoint",
            Self::DeleteEndpoint => "/NetworkDriver.DeleteEndpoint",
            Self::EndpointOperInfo => "/NetworkDriver.EndpointOperInfo",
            Self::Join => "/NetworkDriver.Join",
            Self::Leave => "/NetworkDriver.Leave",
            Self::ProgramExternalConnectivity => "/NetworkDriver.ProgramExternalConnectivity",
            Self::RevokeExternalConnectivity => "/NetworkDriver.RevokeExternalConnectivity",
            Self::DiscoverNew => "/NetworkDriver.DiscoverNew",
            Self::DiscoverDelete => "/NetworkDriver.DiscoverDelete",
        }
    }

    /// The method that is posted there.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts: `NetworkDriver.CreateNetwork`.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }

    /// Whether a plugin may do without it. What it does not have it does not do.
    pub fn is_optional(self) -> bool {
        match self {
            Self::GwAllocCheck
            | Self::AllocateNetwork
            | Self::FreeNetwork
            | Self::EndpointOperInfo
            | Self::ProgramExternalConnectivity
            | Self::RevokeExternalConnectivity
            | Self::DiscoverNew
            | Self::DiscoverDelete => true,
            Self::GetCapabilities
            | Self::CreateNetwork
            | Self::DeleteNetwork
            | Self::CreateEndpoint
            | Self::DeleteEndpoint
            | Self::Join
            | Self::Leave => false,
        }
    }
}
