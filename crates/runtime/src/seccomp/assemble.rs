//! Classic BPF, as seccomp has it: loads of `seccomp_data` words, compare-and-jump, return.

use super::profile::{Action, Compare, Condition};

/// One `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

pub(super) const LD_ABS: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const RET: u16 = 0x06;

/// Offsets into `seccomp_data`.
pub(super) const NR: u32 = 0;
pub(super) const ARCH: u32 = 4;
const ARGS: u32 = 16;

pub(super) fn load(offset: u32) -> Instruction {
    Instruction { code: LD_ABS, jt: 0, jf: 0, k: offset }
}

pub(super) fn ret(action: Action) -> Instruction {
    Instruction { code: RET, jt: 0, jf: 0, k: action_word(action) }
}

pub(super) fn action_word(action: Action) -> u32 {
    match action {
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno(number) => 0x0005_0000 | u32::from(number),
        Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

/// `if nr >= k { right } else { left }`, with a long jump where a byte does not reach.
pub(super) fn branch(k: u32, left: &[Instruction], right: &[Instruction], out: &mut Vec<Instruction>) {
    match u8::try_from(left.len()) {
        Ok(skip) => out.push(Instruction { code: JGE, jt: skip, jf: 0, k }),
        Err(_) => {
            out.push(Instruction { code: JGE, jt: 0, jf: 1, k });
            out.push(Instruction { code: JA, jt: 0, jf: 0, k: len32(left) });
        }
    }
    out.extend_from_slice(left);
    out.extend_from_slice(right);
}

/// `if the loaded word == k { then } else { what follows }`, whatever the length of `then`.
pub(super) fn when_equal(k: u32, then: &[Instruction], out: &mut Vec<Instruction>) {
    match u8::try_from(then.len()) {
        Ok(skip) => out.push(Instruction { code: JEQ, jt: 0, jf: skip, k }),
        Err(_) => {
            out.push(Instruction { code: JEQ, jt: 1, jf: 0, k });
            out.push(Instruction { code: JA, jt: 0, jf: 0, k: len32(then) });
        }
    }
    out.extend_from_slice(then);
}

fn len32(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

/// `if every condition holds { return action }`, else what follows.
pub(super) fn guarded(conditions: &[Condition], wide: bool, action: Action, out: &mut Vec<Instruction>) {
    let mut checks: Vec<(Instruction, Target, Target)> = Vec::new();
    for condition in conditions {
        check(condition, wide, &mut checks);
    }
    let fail = checks.len() + 1;
    let mut code = Vec::with_capacity(fail);
    for (at, (instruction, yes, no)) in checks.iter().enumerate() {
        let hop = |target: Target| -> u8 {
            let to = match target {
                Target::Next => at + 1,
                Target::Skip(n) => at + 1 + n,
                Target::Fail => fail,
            };
            // Six comparisons are 30 instructions at most.
            u8::try_from(to - at - 1).unwrap_or(u8::MAX)
        };
        let mut instruction = *instruction;
        if !matches!(instruction.code, LD_ABS | AND) {
            (instruction.jt, instruction.jf) = (hop(*yes), hop(*no));
        }
        code.push(instruction);
    }
    code.push(ret(action));
    out.extend(code);
}

#[derive(Clone, Copy)]
enum Target {
    Next,
    /// The comparison is decided: this many instructions of it are not needed.
    Skip(usize),
    Fail,
}

fn check(condition: &Condition, wide: bool, out: &mut Vec<(Instruction, Target, Target)>) {
    use Target::{Fail, Next, Skip};
    let low = ARGS + 8 * u32::from(condition.index);
    let high = low + 4;
    let (value_high, value_low) = split(condition.value);
    let (masked_high, masked_low) = split(condition.masked);
    let mut plain = |instruction| out.push((instruction, Next, Next));
    let jump = |code, k| Instruction { code, jt: 0, jf: 0, k };
    if !wide {
        plain(load(low));
        match condition.compare {
            Compare::Eq => out.push((jump(JEQ, value_low), Next, Fail)),
            Compare::Ne => out.push((jump(JEQ, value_low), Fail, Next)),
            Compare::Gt => out.push((jump(JGT, value_low), Next, Fail)),
            Compare::Ge => out.push((jump(JGE, value_low), Next, Fail)),
            Compare::Lt => out.push((jump(JGE, value_low), Fail, Next)),
            Compare::Le => out.push((jump(JGT, value_low), Fail, Next)),
            Compare::MaskedEq => {
                plain(jump(AND, value_low));
                out.push((jump(JEQ, masked_low), Next, Fail));
            }
        }
        return;
    }
    plain(load(high));
    match condition.compare {
        Compare::Eq => {
            out.push((jump(JEQ, value_high), Next, Fail));
            out.push((load(low), Next, Next));
            out.push((jump(JEQ, value_low), Next, Fail));
        }
        Compare::Ne => {
            out.push((jump(JEQ, value_high), Next, Skip(2)));
            out.push((load(low), Next, Next));
            out.push((jump(JEQ, value_low), Fail, Next));
        }
        Compare::Gt | Compare::Ge => {
            let code = if condition.compare == Compare::Gt { JGT } else { JGE };
            out.push((jump(JGT, value_high), Skip(3), Next));
            out.push((jump(JEQ, value_high), Next, Fail));
            out.push((load(low), Next, Next));
            out.push((jump(code, value_low), Next, Fail));
        }
        Compare::Lt | Compare::Le => {
            let code = if condition.compare == Compare::Lt { JGE } else { JGT };
            out.push((jump(JGT, value_high), Fail, Next));
            out.push((jump(JEQ, value_high), Next, Skip(2)));
            out.push((load(low), Next, Next));
            out.push((jump(code, value_low), Fail, Next));
        }
        Compare::MaskedEq => {
            out.push((jump(AND, value_high), Next, Next));
            out.push((jump(JEQ, masked_high), Next, Fail));
            out.push((load(low), Next, Next));
            out.push((jump(AND, value_low), Next, Next));
            out.push((jump(JEQ, masked_low), Next, Fail));
        }
    }
}

fn split(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, (value & 0xffff_ffff) as u32)
}
