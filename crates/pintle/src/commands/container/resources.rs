//! Limits, devices and GPUs, for `run`, `create` and `update`.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::options::ContainerOptions;
use crate::render::units;

/// The part of `HostConfig` that is about resources.
pub fn request(options: &ContainerOptions) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    set("Memory", bytes(options.memory.as_deref())?);
    set("MemoryReservation", bytes(options.memory_reservation.as_deref())?);
    set("MemorySwap", swap(options.memory_swap.as_deref())?);
    set("MemorySwappiness", options.memory_swappiness.map(Value::from));
    set("OomKillDisable", options.oom_kill_disable.then_some(Value::Bool(true)));
    set("NanoCpus", options.cpus.as_deref().map(nano_cpus).transpose()?.map(Value::from));
    set("CpuShares", options.cpu_shares.map(Value::from));
    set("CpuPeriod", options.cpu_period.map(Value::from));
    set("CpuQuota", options.cpu_quota.map(Value::from));
    set("CpusetCpus", options.cpuset_cpus.clone().map(Value::from));
    set("CpusetMems", options.cpuset_mems.clone().map(Value::from));
    set("BlkioWeight", options.blkio_weight.map(Value::from));
    set("PidsLimit", options.pids_limit.map(Value::from));
    set("CgroupParent", options.cgroup_parent.clone().map(Value::from));
    let limits = options.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
    set("Ulimits", (!limits.is_empty()).then(|| limits.into()));
    let mut devices = Vec::new();
    let mut requests: Vec<Value> = options.gpus.as_deref().map(gpus).transpose()?.into_iter().collect();
    for text in &options.device {
        // `vendor/class=name` is a CDI device, not a path.
        if !text.starts_with('/') && text.contains('=') {
            requests.push(json!({"Driver": "cdi", "Count": 0, "DeviceIDs": [text], "Capabilities": null, "Options": {}}));
        } else {
            devices.push(device(text)?);
        }
    }
    set("Devices", (!devices.is_empty()).then(|| devices.into()));
    set("DeviceRequests", (!requests.is_empty()).then(|| requests.into()));
    let rules = &options.device_cgroup_rule;
    set("DeviceCgroupRules", (!rules.is_empty()).then(|| rules.as_slice().into()));
    Ok(out)
}

/// A size.
pub fn bytes(text: Option<&str>) -> Result<Option<Value>> {
    text.map(|t| units::parse_memory(t).map(Value::from).map_err(|e| anyhow!(e))).transpose()
}

/// A size, or -1 for no limit.
pub fn swap(text: Option<&str>) -> Result<Option<Value>> {
    if text == Some("-1") { Ok(Some(Value::from(-1))) } else { bytes(text) }
}

/// `1.5` CPUs in billionths; nine decimals at most.
pub fn nano_cpus(text: &str) -> Result<i64> {
    let bad = || anyhow!("failed to parse {text} as a rational number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 {
        bail!("value is too precise: {text}");
    }
    if (whole.is_empty() && fraction.is_empty()) || !text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(bad());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(fraction)).ok_or_else(bad)
}

/// `nofile=1024:2048`.
pub fn ulimit(text: &str) -> Result<Value> {
    let bad = || anyhow!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !NAMES.contains(&name) {
        bail!("invalid ulimit type: {name}");
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft: i64 = soft.parse().map_err(|_| bad())?;
    let hard: i64 = hard.parse().map_err(|_| bad())?;
    if hard != -1 && (soft == -1 || soft > hard) {
        bail!("ulimit soft limit must be less than or equal to hard limit: soft is {soft}, hard is {hard}");
    }
    Ok(json!({"Name": name, "Hard": hard, "Soft": soft}))
}

/// `/dev/x[:/dev/y[:rwm]]`.
fn device(text: &str) -> Result<Value> {
    let is_mode = |m: &str| !m.is_empty() && m.len() <= 3 && m.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        _ => bail!("invalid device specification: {text}"),
    };
    Ok(json!({"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": mode}))
}

/// `all`, a number, or `device=0\,1,capabilities=…`.
fn gpus(text: &str) -> Result<Value> {
    let mut request =
        json!({"Driver": "", "Count": 0, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}});
    let count = |text: &str| match text {
        "all" => Ok(-1),
        other => other
            .parse::<i64>()
            .map_err(|_| anyhow!("invalid count ({other}): value must be either \"all\" or an integer")),
    };
    let mut named = false;
    for field in super::mounts::csv(text)? {
        match field.split_once('=') {
            None => {
                request["Count"] = count(&field)?.into();
                named = true;
            }
            Some(("count", value)) => {
                request["Count"] = count(value)?.into();
                named = true;
            }
            Some(("driver", value)) => request["Driver"] = value.into(),
            Some(("device", value)) => {
                request["DeviceIDs"] = value.split(',').collect::<Vec<_>>().into();
                named = true;
            }
            Some(("capabilities", value)) => {
                let mut all: Vec<&str> = value.split(',').collect();
                if !all.contains(&"gpu") {
                    all.push("gpu");
                }
                request["Capabilities"] = json!([all]);
            }
            Some(("options", value)) => {
                for pair in value.split(',') {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    request["Options"][key] = value.into();
                }
            }
            Some((key, _)) => bail!("unexpected key '{key}' in '{field}'"),
        }
    }
    if !named {
        request["Count"] = 1.into();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus() {
        assert_eq!(nano_cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(nano_cpus(".25").unwrap(), 250_000_000);
        for text in ["", ".", "-1", "1.2.3", "x", "1.1234567891", "99999999999999"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_and_devices() {
        assert_eq!(ulimit("core=-1").unwrap(), json!({"Name": "core", "Hard": -1, "Soft": -1}));
        assert!(ulimit("nofile=5:4").is_err() && ulimit("nosuch=1").is_err() && ulimit("nofile").is_err());
        assert_eq!(device("/dev/a:r").unwrap()["CgroupPermissions"], "r");
        assert_eq!(device("/dev/a:/dev/b:rw").unwrap()["PathInContainer"], "/dev/b");
        assert!(device("/dev/a:/dev/b:x").is_err());
        assert_eq!(gpus("all").unwrap()["Count"], -1);
        assert_eq!(gpus("\"device=0,1\"").unwrap()["DeviceIDs"], json!(["0", "1"]));
        assert_eq!(gpus("capabilities=utility").unwrap()["Capabilities"], json!([["utility", "gpu"]]));
    }
}
