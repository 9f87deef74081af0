//! The `NetworkDriver` interface: requests and replies, both ways.
//!
//! What is pintle's own, and ignored by others: in replies `InSandbox` (beside an interface's names) and `PortMap`
//! (the ports as they were published), so that a driver loses nothing by moving behind a socket.

mod method;
mod reply;
mod request;

pub use method::Method;
pub use reply::Reply;
pub use request::Request;

use pintle_contract::network::{Interface, PortBinding};
use serde_json::{Value, json};

use crate::{
    failure::{Dialect, missing_or_internal},
    object::{DecodeError, Object},
    value::{from_json, to_json},
};

const DIALECT: Dialect = Dialect { keys: &["Err"], prefix: "remote: ", unnamed: missing_or_internal };

fn encode_interface(interface: &Interface) -> Value {
    fn text(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    json!({
        "Address": text(interface.address),
        "AddressIPv6": text(interface.address_v6),
        "MacAddress": text(interface.mac),
    })
}

fn decode_interface(root: &Object<'_>) -> Result<Interface, DecodeError> {
    let Some(object) = root.object("Interface")? else { return Ok(Interface::default()) };
    Ok(Interface {
        address: object.parsed("Address")?,
        address_v6: object.parsed("AddressIPv6")?,
        mac: object.parsed("MacAddress")?,
    })
}

fn encode_ports(ports: &[PortBinding]) -> Value {
    ports.iter().map(|port| to_json(&port.to_value())).collect()
}

fn decode_ports(root: &Object<'_>) -> Result<Vec<PortBinding>, DecodeError> {
    let Some(value) = root.get("PortMap") else { return Ok(Vec::new()) };
    let wrong = || root.error("PortMap", "expected a list of ports");
    let Value::Array(items) = value else { return Err(wrong()) };
    items.iter().map(|item| PortBinding::from_value(&from_json(item)).ok_or_else(wrong)).collect()
}
