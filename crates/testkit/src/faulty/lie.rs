use pintle_wire::{ipam, network, volume};

use super::Call;

/// An answer that has the form of the truth.
pub(super) fn lie(call: Call) -> &'static str {
    match call {
        Call::Activate => r#"{"Implements":["VolumeDriver","NetworkDriver","IpamDriver"]}"#,
        Call::Volume(method) => match method {
            volume::Method::Mount | volume::Method::Path => r#"{"Mountpoint":"/nonexistent/pintle"}"#,
            volume::Method::Get => r#"{"Volume":{"Name":"another","Mountpoint":"/"}}"#,
            volume::Method::List => r#"{"Volumes":[{"Name":"another"}]}"#,
            volume::Method::Capabilities => r#"{"Capabilities":{"Scope":"global"}}"#,
            volume::Method::Create | volume::Method::Remove | volume::Method::Unmount => "{}",
        },
        Call::Network(method) => match method {
            network::Method::GetCapabilities => r#"{"Scope":"global","GwAllocChecker":true}"#,
            network::Method::GwAllocCheck => r#"{"SkipIPv4":true,"SkipIPv6":true}"#,
            network::Method::CreateEndpoint => {
                r#"{"Interface":{"Address":"192.0.2.66/24","MacAddress":"00:00:5e:00:53:66"}}"#
            }
            network::Method::Join => {
                r#"{"InterfaceName":{"SrcName":"nosuchlink0","DstPrefix":"eth"},"Gateway":"192.0.2.1"}"#
            }
            _ => "{}",
        },
        Call::Ipam(method) => match method {
            ipam::Method::RequestPool => r#"{"PoolID":"another","Pool":"192.0.2.0/24"}"#,
            ipam::Method::RequestAddress => r#"{"Address":"192.0.2.66/24"}"#,
            _ => "{}",
        },
        Call::Authorization(_) => r#"{"Allow":true}"#,
        Call::Log(pintle_wire::log::Method::Capabilities) => r#"{"Cap":{"ReadLogs":true}}"#,
        Call::Log(_) => r#"{"Err":""}"#,
    }
}
