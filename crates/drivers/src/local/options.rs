//! What `--opt` says, as Docker's local driver reads it.

use std::{collections::BTreeMap, net::IpAddr};

use pintle_contract::DriverError;
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde::{Deserialize, Serialize};

/// A volume's options, parsed and valid. The JSON is Docker's `opts.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    #[serde(rename = "MountType")]
    fstype: String,
    #[serde(rename = "MountOpts")]
    options: String,
    #[serde(rename = "MountDevice")]
    device: String,
    #[serde(rename = "Quota")]
    quota: Quota,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Quota {
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Project", skip_serializing_if = "Option::is_none")]
    project: Option<u32>,
}

/// The mount(2) call that a volume's options ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// The filesystem's type.
    pub fstype: String,
    /// The device, directory or server.
    pub source: String,
    /// What of the options are flags.
    pub flags: MountFlags,
    /// The rest of the options, for the filesystem.
    pub data: String,
    /// Changes of propagation, each a call of its own afterwards.
    pub propagation: Vec<MountPropagationFlags>,
}

impl Options {
    /// Checks and takes in what the user gave. The texts are Docker's.
    pub fn parse(given: &BTreeMap<String, String>) -> Result<Self, DriverError> {
        for key in given.keys() {
            if !matches!(key.as_str(), "type" | "o" | "device" | "size") {
                return Err(DriverError::invalid(format!("invalid option: \"{}\"", key.escape_default())));
            }
        }
        for (option, needs) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
            if given.contains_key(option) && !given.contains_key(needs) {
                return Err(DriverError::invalid(format!("missing required option: \"{needs}\"")));
            }
        }
        let text = |key| given.get(key).cloned().unwrap_or_default();
        let size = given.get("size").map_or(Ok(0), |size| bytes(size))?;
        let parsed = Self {
            fstype: text("type"),
            options: text("o"),
            device: text("device"),
            quota: Quota { size, project: None },
        };
        if [&parsed.fstype, &parsed.options, &parsed.device].iter().any(|text| text.contains('\0')) {
            return Err(DriverError::invalid("mount options must not contain NUL"));
        }
        if parsed.fstype == "cifs" && server(&parsed.device).contains(':') {
            return Err(DriverError::invalid("port not allowed in CIFS device URL, include 'port' in 'o='"));
        }
        Ok(parsed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they ask for the same volume.
    pub(super) fn same(&self, other: &Self) -> bool {
        let asked =
            |options: &Self| Self { quota: Quota { project: None, ..options.quota }, ..options.clone() };
        asked(self) == asked(other)
    }

    /// The bytes that the volume's directory may hold, 0 for no limit. A tmpfs limits itself.
    pub fn limit(&self) -> u64 {
        if self.fstype == "tmpfs" { 0 } else { self.quota.size }
    }

    pub(super) fn project(&self) -> Option<u32> {
        self.quota.project
    }

    pub(super) fn set_project(&mut self, project: u32) {
        self.quota.project = Some(project);
    }

    /// What to mount, `None` for a plain directory.
    pub fn plan(&self) -> Option<MountPlan> {
        if self.fstype.is_empty() || self.device.is_empty() {
            return None;
        }
        let mut flags = MountFlags::empty();
        let mut propagation = Vec::new();
        let mut data = Vec::new();
        for option in self.options.split(',').filter(|option| !option.is_empty()) {
            if let Some((flag, set)) = flag(option) {
                flags.set(flag, set);
            } else if let Some(change) = propagation_change(option) {
                propagation.push(change);
            } else {
                data.push(option.to_owned());
            }
        }
        if self.fstype == "tmpfs" && self.quota.size > 0 {
            data.push(format!("size={}", self.quota.size));
        }
        if self.fstype == "bind" {
            flags |= MountFlags::BIND;
        }
        Some(MountPlan {
            fstype: self.fstype.clone(),
            source: self.device.clone(),
            flags,
            data: data.join(","),
            propagation,
        })
    }
}

impl MountPlan {
    /// The data without what nobody should read in an error.
    pub(super) fn shown_data(&self) -> String {
        let shown = self.data.split(',').map(|option| match option.split_once('=') {
            Some((key @ ("password" | "pass" | "password2"), _)) => format!("{key}=********"),
            _ => option.to_owned(),
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

/// The flag that an option of mount(8) sets or clears.
fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "defaults" => (MountFlags::empty(), true),
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
        "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        "lazytime" => (MountFlags::LAZYTIME, true),
        "nolazytime" => (MountFlags::LAZYTIME, false),
        "nosymfollow" => (MountFlags::NOSYMFOLLOW, true),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND.union(MountFlags::REC), true),
        _ => return None,
    })
}

fn propagation_change(option: &str) -> Option<MountPropagationFlags> {
    let recursive = MountPropagationFlags::REC;
    Some(match option {
        "shared" => MountPropagationFlags::SHARED,
        "rshared" => MountPropagationFlags::SHARED | recursive,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "rslave" => MountPropagationFlags::DOWNSTREAM | recursive,
        "private" => MountPropagationFlags::PRIVATE,
        "rprivate" => MountPropagationFlags::PRIVATE | recursive,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        "runbindable" => MountPropagationFlags::UNBINDABLE | recursive,
        _ => return None,
    })
}

/// The name that stands where the kernel wants an address, if there is one.
pub(super) fn address(fstype: &str, data: &str) -> Option<String> {
    if !matches!(fstype, "nfs" | "nfs4" | "cifs" | "smb3") {
        return None;
    }
    let address = data.split(',').find_map(|option| option.strip_prefix("addr="))?;
    (!address.is_empty() && address.parse::<IpAddr>().is_err()).then(|| address.to_owned())
}

pub(super) fn replace_address(data: &str, name: &str, address: &str) -> String {
    let old = format!("addr={name}");
    let replaced = data
        .split(',')
        .map(|option| if option == old { format!("addr={address}") } else { option.to_owned() });
    replaced.collect::<Vec<_>>().join(",")
}

/// The server of `//server/share`.
fn server(device: &str) -> &str {
    let rest = device.split_once("//").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// A size as people write it: `100`, `10m`, `1.5GiB`, `2 tb`; powers of 1024.
fn bytes(text: &str) -> Result<u64, DriverError> {
    let invalid = || DriverError::invalid(format!("invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(invalid);
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let size = number * (1_u64 << shift) as f64;
    // Beyond this the conversion would be wrong, and no disk is that large.
    if size.is_finite() && size < 9e18 { Ok(size as u64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Options, DriverError> {
        Options::parse(&given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_refused_is_refused_in_dockers_words() {
        let text = |given: &[(&str, &str)]| parse(given).unwrap_err().message;
        assert_eq!(text(&[("foo", "bar")]), "invalid option: \"foo\"");
        assert_eq!(text(&[("type", "tmpfs")]), "missing required option: \"device\"");
        assert_eq!(text(&[("device", "/dev/sda1")]), "missing required option: \"type\"");
        assert_eq!(text(&[("o", "ro")]), "missing required option: \"device\"");
        assert_eq!(text(&[("size", "many")]), "invalid size: 'many'");
        assert_eq!(
            text(&[("type", "cifs"), ("device", "//host:445/share")]),
            "port not allowed in CIFS device URL, include 'port' in 'o='"
        );
    }

    #[test]
    fn options_are_split_into_flags_propagation_and_data() {
        let options =
            parse(&[("type", "none"), ("device", "/srv/a"), ("o", "bind,ro,nosuid,rslave,x=1,rw,uid=5")]);
        let plan = options.unwrap().plan().unwrap();
        assert_eq!(plan.flags, MountFlags::BIND | MountFlags::NOSUID);
        assert_eq!(plan.data, "x=1,uid=5");
        assert_eq!(plan.propagation, [MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC]);
        assert!(parse(&[]).unwrap().plan().is_none());
    }

    #[test]
    fn a_tmpfs_limits_itself() {
        let options =
            parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("size", "10m"), ("o", "uid=5")]).unwrap();
        assert_eq!(options.limit(), 0);
        assert_eq!(options.plan().unwrap().data, "uid=5,size=10485760");
        assert_eq!(parse(&[("size", "10m")]).unwrap().limit(), 10 << 20);
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, size) in [("100", 100), ("1k", 1024), ("1.5 GiB", 3 << 29), ("2TB", 2 << 40), ("0", 0)] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for text in ["", "-1", "1x", "1e400", "99999999999999999999p", "nan", "."] {
            bytes(text).unwrap_err();
        }
    }

    #[test]
    fn only_names_are_resolved_and_passwords_are_not_shown() {
        assert_eq!(address("nfs", "addr=server.example,rw").as_deref(), Some("server.example"));
        assert_eq!(address("nfs", "addr=10.0.0.1,rw"), None);
        assert_eq!(address("ext4", "addr=server"), None);
        assert_eq!(replace_address("vers=4,addr=a,x", "a", "1.2.3.4"), "vers=4,addr=1.2.3.4,x");
        let plan = parse(&[("type", "cifs"), ("device", "//h/s"), ("o", "username=a,password=b")]);
        assert_eq!(plan.unwrap().plan().unwrap().shown_data(), "username=a,password=********");
    }

    #[test]
    fn the_file_is_dockers() {
        let docker =
            r#"{"MountType":"tmpfs","MountOpts":"size=100m","MountDevice":"tmpfs","Quota":{"Size":0}}"#;
        let read: Options = serde_json::from_str(docker).unwrap();
        assert_eq!(read, parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m")]).unwrap());
        assert_eq!(serde_json::to_string(&read).unwrap(), docker);
    }
}
