//! From a profile to a program.

use std::collections::BTreeMap;

use super::arch::{Arch, X32_BIT};
pub(crate) use super::assemble::Instruction;
use super::assemble::{ARCH, JGE, NR, branch, guarded, load, ret, when_equal};
use super::profile::{Action, Condition, Profile, ProfileError};

/// The kernel's `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) flags: u32,
}

/// An answer that needs every condition to hold.
type Guarded = (Vec<Condition>, Action);

/// What is to be done for one call number: conditional answers in order, then the answer when none holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    guarded: Vec<Guarded>,
    otherwise: Action,
}

/// Compiles a profile.
///
/// For one call, rules with conditions are asked in the profile's order, then the first rule without conditions
/// answers, then the profile's default. A call of an architecture that the profile does not list kills the process.
/// Call numbers are found by binary search over ranges with equal answers.
///
/// # Errors
/// `TooLarge` when the kernel would refuse the result.
pub fn compile(profile: &Profile) -> Result<Program, ProfileError> {
    let mut out = vec![load(ARCH)];
    let has_x32 = profile.arches.contains(&Arch::X32);
    for arch in profile.arches.iter().filter(|a| **a != Arch::X32) {
        let mut block = vec![load(NR)];
        let plain = table(profile, *arch);
        if *arch == Arch::X86_64 {
            // x32 shares the architecture word; its numbers have bit 30 set. Number -1 is a call that a tracer
            // cancelled, and gets the answer of any unknown number.
            let mut left = Vec::new();
            search(&plain, &mut left);
            let mut right = Vec::new();
            if has_x32 {
                search(&table(profile, Arch::X32), &mut right);
            } else {
                right.push(Instruction { code: JGE, jt: 0, jf: 1, k: u32::MAX });
                right.push(ret(profile.default));
                right.push(ret(Action::KillProcess));
            }
            branch(X32_BIT, &left, &right, &mut block);
        } else {
            search(&plain, &mut block);
        }
        when_equal(arch.audit(), &block, &mut out);
    }
    out.push(ret(Action::KillProcess));
    if out.len() > MAX_INSTRUCTIONS {
        return Err(ProfileError::TooLarge(out.len()));
    }
    Ok(Program { instructions: out, flags: profile.flags })
}

/// Ranges of call numbers with equal verdicts, ascending; the first starts at 0.
fn table(profile: &Profile, arch: Arch) -> Vec<(u32, Verdict, bool)> {
    let mut verdicts: BTreeMap<u32, (Vec<Guarded>, Option<Action>)> = BTreeMap::new();
    for rule in &profile.rules {
        for name in &rule.names {
            let Some(number) = arch.number(name) else { continue };
            let entry = verdicts.entry(number).or_default();
            if rule.conditions.is_empty() {
                entry.1.get_or_insert(rule.action);
            } else {
                entry.0.push((rule.conditions.clone(), rule.action));
            }
        }
    }
    let default = Verdict { guarded: Vec::new(), otherwise: profile.default };
    let mut ranges: Vec<(u32, Verdict, bool)> = vec![(0, default.clone(), arch.wide())];
    let push = |ranges: &mut Vec<(u32, Verdict, bool)>, start: u32, verdict: Verdict| match ranges.last_mut()
    {
        Some(last) if last.0 == start => last.1 = verdict,
        Some(last) if last.1 == verdict => {}
        _ => ranges.push((start, verdict, arch.wide())),
    };
    for (number, (guarded, plain)) in verdicts {
        let verdict = Verdict { guarded, otherwise: plain.unwrap_or(profile.default) };
        push(&mut ranges, number, verdict);
        if let Some(next) = number.checked_add(1) {
            push(&mut ranges, next, default.clone());
        }
    }
    merge(ranges)
}

/// Joins neighbours with equal verdicts (a range overwritten at its start may equal the one before).
fn merge(ranges: Vec<(u32, Verdict, bool)>) -> Vec<(u32, Verdict, bool)> {
    let mut merged: Vec<(u32, Verdict, bool)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if merged.last().is_none_or(|last| last.1 != range.1) {
            merged.push(range);
        }
    }
    merged
}

fn search(ranges: &[(u32, Verdict, bool)], out: &mut Vec<Instruction>) {
    match ranges {
        [] => {}
        [(_, verdict, wide)] => {
            for (conditions, action) in &verdict.guarded {
                guarded(conditions, *wide, *action, out);
            }
            out.push(ret(verdict.otherwise));
        }
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let (mut left_code, mut right_code) = (Vec::new(), Vec::new());
            search(left, &mut left_code);
            search(right, &mut right_code);
            let at = right.first().map_or(0, |range| range.0);
            branch(at, &left_code, &right_code, out);
        }
    }
}

impl Program {
    /// The program as bytes: flags, then 8 bytes for each instruction, in this machine's byte order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.flags.to_ne_bytes().to_vec();
        for i in &self.instructions {
            bytes.extend(i.code.to_ne_bytes());
            bytes.extend([i.jt, i.jf]);
            bytes.extend(i.k.to_ne_bytes());
        }
        bytes
    }

    /// The inverse of [`Program::to_bytes`]; `None` for bytes of the wrong length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (chunks, []) = rest.as_chunks::<8>() else { return None };
        if chunks.is_empty() || chunks.len() > MAX_INSTRUCTIONS {
            return None;
        }
        let instructions = chunks
            .iter()
            .map(|&[a, b, jt, jf, k0, k1, k2, k3]| Instruction {
                code: u16::from_ne_bytes([a, b]),
                jt,
                jf,
                k: u32::from_ne_bytes([k0, k1, k2, k3]),
            })
            .collect();
        Some(Self { instructions, flags: u32::from_ne_bytes(*flags) })
    }

    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether it has none, which never comes out of [`compile`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}
