use std::{fmt, fs, path::PathBuf, str::FromStr};

use crate::{Error, ErrorKind, LinkName, Namespace};

/// A kernel setting below `net/`, which every network namespace has its own of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sysctl {
    parts: Vec<String>,
}

impl Sysctl {
    /// A setting of one link: `net/ipv4/conf/eth0/route_localnet` is `of_link("ipv4", "conf", eth0, "route_localnet")`.
    pub fn of_link(family: &'static str, table: &'static str, link: &LinkName, name: &'static str) -> Self {
        let parts = ["net", family, table, link.as_str(), name];
        Self { parts: parts.iter().map(|part| (*part).to_owned()).collect() }
    }

    fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/proc/sys");
        path.extend(&self.parts);
        path
    }
}

impl FromStr for Sysctl {
    type Err = Error;

    /// As sysctl(8) reads it: parts between dots, or, if a slash comes first, between slashes; the other character
    /// then stands for itself, with dots and slashes swapped.
    fn from_str(text: &str) -> Result<Self, Error> {
        let slashes = text.find(['.', '/']).is_some_and(|at| text.as_bytes().get(at) == Some(&b'/'));
        let (between, other, meant) = if slashes { ('/', '.', '.') } else { ('.', '/', '.') };
        let parts: Vec<String> =
            text.split(between).map(|part| part.replace(other, &meant.to_string())).collect();
        let fine = |part: &String| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@=".contains(c))
        };
        if parts.len() < 2 || parts.first().is_none_or(|first| first != "net") || !parts.iter().all(fine) {
            return Err(Error::of(
                ErrorKind::Invalid,
                "read",
                format!("kernel setting {text:.128?}"),
                "only settings below net are here",
            ));
        }
        Ok(Self { parts })
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("/"))
    }
}

impl Namespace {
    /// Writes a kernel setting of this namespace.
    pub fn set_sysctl(&self, setting: &Sysctl, value: &str) -> Result<(), Error> {
        self.run(|| fs::write(setting.path(), value))?
            .map_err(|error| Error::io("set", format_args!("{setting} to {value:.64}"), error))
    }

    /// Writes several, in order, until one fails.
    pub fn set_sysctls(&self, settings: &[(Sysctl, String)]) -> Result<(), Error> {
        self.run(|| {
            settings.iter().try_for_each(|(setting, value)| {
                fs::write(setting.path(), value)
                    .map_err(|error| Error::io("set", format_args!("{setting} to {value:.64}"), error))
            })
        })?
    }

    /// Reads a kernel setting of this namespace, without the end of the line.
    pub fn sysctl(&self, setting: &Sysctl) -> Result<String, Error> {
        self.run(|| fs::read_to_string(setting.path()))?
            .map(|text| text.trim_end().to_owned())
            .map_err(|error| Error::io("read", setting, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_sysctl_reads_them() {
        let path = |text: &str| text.parse::<Sysctl>().unwrap().to_string();
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/conf/eth0.10/forwarding"), "net/ipv4/conf/eth0.10/forwarding");
        assert_eq!(path("net.ipv4.conf.eth0/10.forwarding"), "net/ipv4/conf/eth0.10/forwarding");
        for bad in [
            "",
            "net",
            "kernel.shmmax",
            "net..x",
            "net/../kernel/x",
            "net/./x",
            "net.a b",
            "net.\0",
            "net/x/",
        ] {
            assert!(bad.parse::<Sysctl>().is_err(), "{bad:?}");
        }
    }
}
