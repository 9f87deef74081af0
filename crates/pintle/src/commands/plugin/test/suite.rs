//! Which suites there are, and which a plugin wants.

use pintle_testkit::client::PluginClient;
use pintle_wire::Interface;

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Volumes
    Volume,
    /// Networks
    Network,
    /// Addresses
    Ipam,
    /// Authorization
    Authz,
    /// Containers' lines
    Log,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 5] = [Self::Volume, Self::Network, Self::Ipam, Self::Authz, Self::Log];

    /// What it is about.
    pub fn interface(self) -> Interface {
        match self {
            Self::Volume => Interface::Volume,
            Self::Network => Interface::Network,
            Self::Ipam => Interface::Ipam,
            Self::Authz => Interface::Authorization,
            Self::Log => Interface::Log,
        }
    }

    /// The call that every plugin of the kind has.
    fn probe(self) -> &'static str {
        match self {
            Self::Volume => pintle_wire::volume::Method::List.path(),
            Self::Network => pintle_wire::network::Method::GetCapabilities.path(),
            Self::Ipam => pintle_wire::ipam::Method::GetDefaultAddressSpaces.path(),
            Self::Authz => pintle_wire::authorization::Method::Request.path(),
            Self::Log => pintle_wire::log::Method::Capabilities.path(),
        }
    }

    /// A call that fails and changes nothing: it asks for what is not there.
    fn unknown(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::Volume => (pintle_wire::volume::Method::Get.path(), br#"{"Name":"pintle-suite-unknown"}"#),
            Self::Network => (
                pintle_wire::network::Method::DeleteNetwork.path(),
                br#"{"NetworkID":"pintle-suite-unknown"}"#,
            ),
            Self::Ipam => {
                (pintle_wire::ipam::Method::ReleasePool.path(), br#"{"PoolID":"pintle-suite-unknown"}"#)
            }
            Self::Authz => (pintle_wire::authorization::Method::Request.path(), b"{}"),
            Self::Log => (
                pintle_wire::log::Method::StartLogging.path(),
                br#"{"File":"/pintle-suite-unknown","Info":{}}"#,
            ),
        }
    }

    /// Whether errors carry their kind, as pintle's SDK sends it.
    pub async fn kinds(self, client: &PluginClient) -> bool {
        let (path, body) = self.unknown();
        let answer = client.post(path, body.to_vec()).await;
        let body = answer.ok().and_then(|(_, body)| serde_json::from_slice::<serde_json::Value>(&body).ok());
        body.is_some_and(|body| body.get("Kind").is_some())
    }
}

/// Those that a managed plugin's configuration names.
pub fn declared(types: &[String]) -> Vec<Suite> {
    let serves = |suite: &Suite| {
        let prefix = format!("docker.{}/", suite.interface().capability());
        types.iter().any(|served| served.starts_with(&prefix))
    };
    Suite::ALL.into_iter().filter(serves).collect()
}

/// What a plugin says that it implements, or else what it answers to: a managed one need not say.
pub async fn implemented(client: &PluginClient) -> Vec<Suite> {
    if let Ok(activation) = client.activate().await {
        let says = |suite: &Suite| activation.implements.contains(&suite.interface());
        return Suite::ALL.into_iter().filter(says).collect();
    }
    let mut answered = Vec::new();
    for suite in Suite::ALL {
        let reply = client.post(suite.probe(), b"{}\n".to_vec()).await;
        if reply.is_ok_and(|(status, body)| !pintle_wire::is_missing(status, &body)) {
            answered.push(suite);
        }
    }
    answered
}
