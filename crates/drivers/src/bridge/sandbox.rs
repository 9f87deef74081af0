//! Bringing an endpoint into a sandbox, and out.

use pintle_contract::{
    DriverError,
    network::{EndpointId, InterfaceName, Join, Joined, port_map},
};
use pintle_netlink::{Error, ErrorKind, Handle, LinkKind, LinkName, Namespace, NewLink, PortOptions};

use crate::interface::free_name;

use super::{Inner, options::Settings};

impl Inner {
    /// Makes the pair of links, one end directly in the sandbox: to make it here and move it costs the kernel
    /// milliseconds.
    pub(super) fn join(&self, request: &Join) -> Result<Joined, DriverError> {
        let (settings, link, mac) = {
            let mut networks = self.networks();
            if let Some(endpoint) = networks.endpoint_mut(&request.id) {
                endpoint.ending = false;
            }
            let (network, endpoint) = networks.endpoint(&request.id)?;
            (network.settings.clone(), endpoint.link.clone(), endpoint.mac)
        };
        self.look_after_rules()?;
        let sandbox = Namespace::open(&request.sandbox_key)?;
        let handle = self.config.host.handle()?;
        let name = if request.name.is_empty() {
            free_name(&sandbox, &settings.prefix)?
        } else {
            request.name.parse()?
        };

        let mut outer = NewLink::new(link.clone(), LinkKind::Peer).master(settings.bridge.clone()).up();
        let mut inner = NewLink::new(name.clone(), LinkKind::Peer).mac(mac);
        (outer.with.mtu, inner.with.mtu) = (settings.mtu, settings.mtu);
        let name = match handle.add_veth(&outer, &inner, &sandbox) {
            Ok(()) => name,
            // Told again, or what was left of a sandbox that is gone; or the name is taken in there.
            Err(error) if error.kind() == ErrorKind::Exists => match peer(&handle, &link, &sandbox)? {
                Some(there) => there,
                None => {
                    self.config.host.remove_link(&link)?;
                    handle.add_veth(&outer, &inner, &sandbox).map_err(|error| taken(error, &link, &name))?;
                    name
                }
            },
            Err(error) => return Err(error.into()),
        };
        if !settings.icc {
            let isolated = PortOptions { isolated: Some(true), ..PortOptions::default() };
            if let Err(error) = handle.change_port(&link, isolated) {
                let _ = self.config.host.remove_link(&link);
                return Err(error.into());
            }
        }
        self.open_routed(&request.id, &port_map(&request.options))?;
        Ok(joined(&settings, &name))
    }

    pub(super) fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.close_routed(id)?;
        let link = match self.networks().endpoint(id) {
            Ok((_, endpoint)) => endpoint.link.clone(),
            Err(_) => return Ok(()),
        };
        // With one end of a pair goes the other.
        self.config.host.remove_link(&link)?;
        Ok(())
    }
}

impl Inner {
    /// To remove a link the kernel waits until no packet is on its way through it. Where the sandbox ends anyway, that
    /// can go on while the next container starts, even with the same addresses: the port is mute.
    pub(super) fn leave_ending(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.close_routed(id)?;
        let link = match self.networks().endpoint(id) {
            Ok((_, endpoint)) => endpoint.link.clone(),
            Err(_) => return Ok(()),
        };
        // One that is not up, or gone with its sandbox already, cannot be silenced.
        if self.config.host.handle()?.silence_port(&link).is_err() {
            return self.leave(id);
        }
        if let Some(endpoint) = self.networks().endpoint_mut(id) {
            endpoint.ending = true;
        }
        Ok(())
    }
}

/// That an interface's name is taken reads as it does where interfaces are moved and renamed.
fn taken(error: Error, link: &LinkName, name: &LinkName) -> DriverError {
    if error.kind() == ErrorKind::Exists {
        let text = format!("error renaming interface \"{link}\" to \"{name}\": file exists");
        return DriverError::new(pintle_contract::ErrorKind::Conflict, text);
    }
    error.into()
}

fn joined(settings: &Settings, name: &LinkName) -> Joined {
    Joined {
        interface: Some(InterfaceName {
            source: name.to_string(),
            prefix: settings.prefix.clone(),
            name: name.to_string(),
            in_sandbox: true,
        }),
        gateway: settings.gateway_v4(),
        gateway_v6: settings.gateway_v6(),
        ..Joined::default()
    }
}

/// The name, in the sandbox, of the other end of `link`, if that is in the sandbox.
fn peer(handle: &Handle, link: &LinkName, sandbox: &Namespace) -> Result<Option<LinkName>, DriverError> {
    let Some(link) = handle.link(link)? else { return Ok(None) };
    let ends = sandbox.handle()?.links()?;
    // Numbers are unique within a namespace only; so each end has to name the other.
    let end = ends
        .into_iter()
        .find(|end| end.kind == "veth" && link.parent == Some(end.index) && end.parent == Some(link.index));
    Ok(end.map(|end| end.name.parse()).transpose()?)
}
