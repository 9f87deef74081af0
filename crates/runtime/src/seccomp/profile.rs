//! Profiles: Docker's JSON format, and its default.

use serde::Deserialize;
use serde_json::Value;

use super::arch::Arch;
use super::default::{ROWS, Then, When};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The thread dies.
    KillThread,
    /// The process dies.
    KillProcess,
    /// The thread gets SIGSYS.
    Trap,
    /// The call fails with this error number.
    Errno(u16),
    /// A tracer is asked; without one the call fails with ENOSYS.
    Trace(u16),
    /// Allowed, and logged.
    Log,
    /// Allowed.
    Allow,
}

/// How an argument is compared with the profile's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// argument != value
    Ne,
    /// argument < value
    Lt,
    /// argument <= value
    Le,
    /// argument == value
    Eq,
    /// argument >= value
    Ge,
    /// argument > value
    Gt,
    /// argument & value == second value
    MaskedEq,
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How.
    pub compare: Compare,
    /// With what (the mask, for [`Compare::MaskedEq`]).
    pub value: u64,
    /// The value under the mask.
    pub masked: u64,
}

/// One rule: these calls, if every condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The calls' names.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All must hold; empty = always.
    pub conditions: Vec<Condition>,
}

/// A profile with every "includes" and "excludes" already decided for one container on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to a call that no rule matches.
    pub default: Action,
    /// Which architectures' calls are judged; calls of any other kill the process.
    pub arches: Vec<Arch>,
    /// In the profile's order.
    pub rules: Vec<Rule>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: u32,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProfileError {
    /// Not the JSON that Docker documents.
    #[error("decoding seccomp profile failed: {0}")]
    Decode(String),
    /// Both `name` and `names` in one rule, or both `architectures` and `archMap`.
    #[error("{0}")]
    Contradiction(&'static str),
    /// An action, operator, flag or architecture that does not exist.
    #[error("unrecognized {what} in seccomp profile: {word}")]
    Unknown {
        /// What kind of word.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// Something real that pintle does not do.
    #[error("{0} is not supported in seccomp profiles")]
    Unsupported(&'static str),
    /// The kernel takes no longer filter.
    #[error("seccomp profile is too large: {0} instructions, the kernel takes 4096")]
    TooLarge(usize),
}

pub(super) const FLAG_LOG: u32 = 2;
pub(super) const FLAG_SPEC_ALLOW: u32 = 4;

/// The most rules and names that a profile may have; Docker's own has 30 and 450.
const MAX_ENTRIES: usize = 65_536;

impl Profile {
    /// Docker's default profile for a container with these capabilities (`CAP_…` names).
    #[must_use]
    pub fn docker_default(capabilities: &[String]) -> Self {
        let native = Arch::native();
        let has = |cap: &str| capabilities.iter().any(|c| c == cap);
        let rules = ROWS
            .iter()
            .filter(|row| match row.0 {
                When::Always => true,
                When::Cap(cap) => has(cap),
                When::NoCap(cap) => !has(cap),
                When::Arch(list) => native.is_some_and(|a| list.contains(&a.go_name())),
                When::Kernel(major, minor) => kernel() >= (major, minor),
            })
            .map(|row| {
                let condition = |compare, value| vec![Condition { index: 0, compare, value, masked: 0 }];
                let (action, conditions) = match row.1 {
                    Then::Allow => (Action::Allow, Vec::new()),
                    Then::AllowIf(compare, value) => (Action::Allow, condition(compare, value)),
                    Then::AllowIfClear(mask) => (Action::Allow, condition(Compare::MaskedEq, mask)),
                    Then::Errno(number) => (Action::Errno(number), Vec::new()),
                };
                Rule { names: row.2.split_whitespace().map(str::to_owned).collect(), action, conditions }
            })
            .collect();
        Self { default: Action::Errno(1), arches: native_arches(), rules, flags: FLAG_SPEC_ALLOW }
    }

    /// A profile in Docker's JSON format, for a container with these capabilities.
    ///
    /// # Errors
    /// When it is malformed or asks for what does not exist. Unknown call names are skipped, as in Docker.
    pub fn parse(json: &Value, capabilities: &[String]) -> Result<Self, ProfileError> {
        let raw: RawProfile =
            serde_json::from_value(json.clone()).map_err(|e| ProfileError::Decode(e.to_string()))?;
        raw.decide(capabilities)
    }
}

fn native_arches() -> Vec<Arch> {
    let native = Arch::native();
    native.into_iter().chain(native.into_iter().flat_map(|a| a.companions().iter().copied())).collect()
}

fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    version(&release).unwrap_or((0, 0))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next().unwrap_or("0").parse().ok()?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProfile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<RawArch>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<RawRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArch {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<RawCondition>>,
    #[serde(default)]
    includes: Option<RawFilter>,
    #[serde(default)]
    excludes: Option<RawFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCondition {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl RawProfile {
    fn decide(self, capabilities: &[String]) -> Result<Profile, ProfileError> {
        if self.listener_path.is_some_and(|p| !p.is_empty()) {
            return Err(ProfileError::Unsupported("listenerPath"));
        }
        let arches = arches(self.architectures.as_deref(), self.arch_map.as_deref())?;
        let flags = match self.flags.as_deref() {
            None | Some([]) => FLAG_SPEC_ALLOW,
            Some(list) => list.iter().try_fold(0, |flags, word| match word.as_str() {
                "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | FLAG_LOG),
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | FLAG_SPEC_ALLOW),
                // Every thread gets the filter anyway: there is only one when it is loaded.
                "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
                other => Err(unknown("flag", other)),
            })?,
        };
        let syscalls = self.syscalls.unwrap_or_default();
        let entries: usize = syscalls.iter().map(|r| 1 + r.names.as_ref().map_or(1, Vec::len)).sum();
        if entries > MAX_ENTRIES {
            return Err(ProfileError::TooLarge(entries));
        }
        let mut rules = Vec::new();
        for raw in syscalls {
            let names = match (raw.name.filter(|n| !n.is_empty()), raw.names.unwrap_or_default()) {
                (Some(_), names) if !names.is_empty() => {
                    return Err(ProfileError::Contradiction(
                        "use either 'name' or 'names' in a seccomp profile's rule, not both",
                    ));
                }
                (Some(name), _) => vec![name],
                (None, names) => names,
            };
            if !applies(raw.includes.as_ref(), raw.excludes.as_ref(), capabilities)? {
                continue;
            }
            let action = action(&raw.action, raw.errno_ret)?;
            let conditions =
                raw.args.unwrap_or_default().into_iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            // Several comparisons of one argument are alternatives, of different ones a conjunction: as runc has it.
            let mut seen = [false; 6];
            let repeated =
                conditions.iter().any(|c| std::mem::replace(&mut seen[usize::from(c.index)], true));
            if repeated {
                rules.extend(conditions.into_iter().map(|condition| Rule {
                    names: names.clone(),
                    action,
                    conditions: vec![condition],
                }));
            } else {
                rules.push(Rule { names, action, conditions });
            }
        }
        Ok(Profile { default: action(&self.default_action, self.default_errno_ret)?, arches, rules, flags })
    }
}

fn unknown(what: &'static str, word: &str) -> ProfileError {
    ProfileError::Unknown { what, word: word.chars().take(64).collect() }
}

fn arches(list: Option<&[String]>, map: Option<&[RawArch]>) -> Result<Vec<Arch>, ProfileError> {
    let list = list.unwrap_or_default();
    let map = map.unwrap_or_default();
    if !list.is_empty() && !map.is_empty() {
        return Err(ProfileError::Contradiction(
            "both 'architectures' and 'archMap' are specified in the seccomp profile",
        ));
    }
    // An architecture without a table here cannot run on this machine either, so its calls die with the default.
    let mut arches: Vec<Arch> = Arch::native().into_iter().collect();
    let mut names: Vec<&str> = list.iter().map(String::as_str).collect();
    if let Some(native) = Arch::native()
        && let Some(entry) = map.iter().find(|m| Arch::from_scmp(&m.architecture) == Some(native))
    {
        names.extend(entry.sub_architectures.iter().flatten().map(String::as_str));
    }
    for name in names {
        if !name.starts_with("SCMP_ARCH_") {
            return Err(unknown("architecture", name));
        }
        if let Some(arch) = Arch::from_scmp(name)
            && !arches.contains(&arch)
        {
            arches.push(arch);
        }
    }
    Ok(arches)
}

fn applies(
    includes: Option<&RawFilter>,
    excludes: Option<&RawFilter>,
    capabilities: &[String],
) -> Result<bool, ProfileError> {
    let has = |cap: &String| capabilities.contains(cap);
    let here = |arch: &String| Arch::native().is_some_and(|native| native.go_name() == arch);
    let recent =
        |text: &str| version(text).map(|wanted| kernel() >= wanted).ok_or_else(|| unknown("minKernel", text));
    if let Some(filter) = includes {
        let arches = filter.arches.as_deref().unwrap_or_default();
        if !filter.caps.iter().flatten().all(has) || (!arches.is_empty() && !arches.iter().any(here)) {
            return Ok(false);
        }
        if let Some(text) = filter.min_kernel.as_deref().filter(|t| !t.is_empty())
            && !recent(text)?
        {
            return Ok(false);
        }
    }
    if let Some(filter) = excludes {
        if filter.caps.iter().flatten().any(has) || filter.arches.iter().flatten().any(here) {
            return Ok(false);
        }
        if let Some(text) = filter.min_kernel.as_deref().filter(|t| !t.is_empty())
            && recent(text)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn action(word: &str, errno: Option<u16>) -> Result<Action, ProfileError> {
    Ok(match word {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(1)),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_NOTIFY" => return Err(ProfileError::Unsupported("SCMP_ACT_NOTIFY")),
        other => return Err(unknown("action", other)),
    })
}

fn condition(raw: RawCondition) -> Result<Condition, ProfileError> {
    let compare = match raw.op.as_str() {
        "SCMP_CMP_NE" => Compare::Ne,
        "SCMP_CMP_LT" => Compare::Lt,
        "SCMP_CMP_LE" => Compare::Le,
        "SCMP_CMP_EQ" => Compare::Eq,
        "SCMP_CMP_GE" => Compare::Ge,
        "SCMP_CMP_GT" => Compare::Gt,
        "SCMP_CMP_MASKED_EQ" => Compare::MaskedEq,
        other => return Err(unknown("operator", other)),
    };
    if raw.index > 5 {
        return Err(unknown("argument index", &raw.index.to_string()));
    }
    Ok(Condition { index: raw.index, compare, value: raw.value, masked: raw.value_two })
}
