//! The processes of a container as `ps` shows them.

use std::{collections::HashMap, time::Duration};

use super::{
    Containers, Refusal, Top,
    service::{blocking, refused},
};
use crate::EngineError;

const PS: Duration = Duration::from_secs(10);

impl Containers {
    /// Its processes; `args` as for `ps`, empty for `-ef`, which needs no `ps` on this host.
    pub async fn top(&self, name: &str, args: &str) -> Result<Top, EngineError> {
        let cell = self.shared.find(name)?;
        let container = cell.container();
        let Some(task) = cell.task().filter(|_| container.life.run().is_some()) else {
            return Err(refused(&container, Refusal::NotRunning));
        };
        let pids = task.processes().await?;
        let top = if args.is_empty() || args == "-ef" {
            blocking(move || Ok(full_listing(&pids))).await?
        } else {
            ps(args, &pids).await?
        };
        self.shared.announce(&container, "top", &[]);
        Ok(top)
    }
}

async fn ps(args: &str, pids: &[u32]) -> Result<Top, EngineError> {
    let run = tokio::process::Command::new("ps")
        .args(args.split_whitespace())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let failed = |why: String| EngineError::internal(format!("error running ps: {why}"));
    let output = tokio::time::timeout(PS, run)
        .await
        .map_err(|_| failed("no answer".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let first = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(failed(first));
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)
}

/// Of what `ps` printed, the container's processes.
fn select(output: &str, pids: &[u32]) -> Result<Top, EngineError> {
    let mut lines = output.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let at = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| EngineError::internal("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words.get(at).and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid));
        if !ours || words.len() < titles.len() {
            continue;
        }
        // The last column holds the rest of the line.
        let (first, last) = words.split_at(titles.len().saturating_sub(1));
        let mut row: Vec<String> = first.iter().map(|word| (*word).to_owned()).collect();
        row.push(last.join(" "));
        processes.push(row);
    }
    Ok(Top { titles, processes })
}

/// What `ps -ef` would print.
fn full_listing(pids: &[u32]) -> Top {
    let names = users();
    let boot = boot_time();
    let now = chrono::Local::now();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let processes = pids.iter().filter_map(|pid| row(*pid, &names, boot, ticks, &now)).collect();
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    Top { titles, processes }
}

/// `None` for a process that ended meanwhile.
fn row(
    pid: u32,
    users: &HashMap<String, String>,
    boot: i64,
    ticks: u64,
    now: &chrono::DateTime<chrono::Local>,
) -> Option<Vec<String>> {
    use chrono::TimeZone;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // The name may hold anything, parentheses too.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
    let unsigned = |at: usize| u64::try_from(number(at)).unwrap_or(0);
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?;
    let user = users.get(uid).cloned().unwrap_or_else(|| uid.to_owned());
    let cpu = (unsigned(11) + unsigned(12)) / ticks;
    let started = boot + i64::try_from(unsigned(19) / ticks).unwrap_or(0);
    let elapsed = u64::try_from(now.timestamp() - started).unwrap_or(0);
    let share = (cpu * 100).checked_div(elapsed).unwrap_or(0).min(99);
    let start = chrono::Local.timestamp_opt(started, 0).single()?;
    let format = if start.date_naive() == now.date_naive() { "%H:%M" } else { "%b%d" };
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let command = words.join(" ").trim_end().to_owned();
    Some(vec![
        user,
        pid.to_string(),
        number(1).to_string(),
        share.to_string(),
        start.format(format).to_string(),
        terminal(number(4)),
        format!("{:02}:{:02}:{:02}", cpu / 3600, cpu / 60 % 60, cpu % 60),
        if command.is_empty() { format!("[{name}]") } else { command },
    ])
}

fn terminal(device: i64) -> String {
    let device = u64::try_from(device).unwrap_or(0);
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

fn users() -> HashMap<String, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.to_owned(), name.to_owned()))
        })
        .collect()
}

fn boot_time() -> i64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_listed() {
        let top = full_listing(&[std::process::id(), u32::MAX]);
        assert_eq!(top.processes.len(), 1);
        assert_eq!(top.processes[0].len(), top.titles.len());
        assert_eq!(top.processes[0][1], std::process::id().to_string());
        assert!(!top.processes[0][7].is_empty());
    }

    #[test]
    fn rows_of_others_are_left_out() {
        let output = "  PID TTY      CMD\n    7 ?        sh -c  x\n   77 ?        other\n";
        let top = select(output, &[7]).unwrap();
        assert_eq!(top.processes, [["7", "?", "sh -c x"]]);
        select("NAME\nx\n", &[7]).unwrap_err();
    }
}
