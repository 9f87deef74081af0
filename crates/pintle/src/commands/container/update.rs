//! `update`.

use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value};

use super::resources::{bytes, nano_cpus, swap};
use super::spec::restart_policy;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;
use crate::json::Fields;

/// Update configuration of one or more containers.
#[derive(Debug, Args)]
pub struct Update {
    /// Block IO weight, 10 to 1000
    #[arg(long = "blkio-weight", value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// CPU CFS period in microseconds
    #[arg(long = "cpu-period", value_name = "N")]
    pub cpu_period: Option<i64>,
    /// CPU CFS quota in microseconds
    #[arg(long = "cpu-quota", value_name = "N")]
    pub cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long = "cpu-shares", value_name = "N")]
    pub cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    pub cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long = "cpuset-cpus", value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long = "cpuset-mems", value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Memory soft limit
    #[arg(long = "memory-reservation", value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long = "memory-swap", value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long = "pids-limit", value_name = "N")]
    pub pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::containers))]
    pub containers: Vec<String>,
}

impl Update {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let body = Value::Object(self.request()?);
        let client = context.client().await?;
        each(&self.containers, async |name| {
            let answer = client.post(format!("/containers/{name}/update")).json(&body).value().await?;
            for warning in answer.texts("Warnings") {
                eprintln!("{warning}");
            }
            Ok(name.to_owned())
        })
        .await
    }

    fn request(&self) -> anyhow::Result<Map<String, Value>> {
        let mut out = Map::new();
        let fields = [
            ("BlkioWeight", self.blkio_weight.map(Value::from)),
            ("CpuPeriod", self.cpu_period.map(Value::from)),
            ("CpuQuota", self.cpu_quota.map(Value::from)),
            ("CpuShares", self.cpu_shares.map(Value::from)),
            ("NanoCpus", self.cpus.as_deref().map(nano_cpus).transpose()?.map(Value::from)),
            ("CpusetCpus", self.cpuset_cpus.clone().map(Value::from)),
            ("CpusetMems", self.cpuset_mems.clone().map(Value::from)),
            ("Memory", bytes(self.memory.as_deref())?),
            ("MemoryReservation", bytes(self.memory_reservation.as_deref())?),
            ("MemorySwap", swap(self.memory_swap.as_deref())?),
            ("PidsLimit", self.pids_limit.map(Value::from)),
            ("RestartPolicy", self.restart.as_deref().map(|r| restart_policy(Some(r))).transpose()?),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        }
        if out.is_empty() {
            bail!("you must provide one or more flags when using this command");
        }
        Ok(out)
    }
}
