//! The device filter on v2.
//!
//! v1 has `devices.allow`; v2 has nothing but a BPF program attached to the group. The embedded runtime leaves it out
//! (its feature for it needs a C library), which would let every container with CAP_MKNOD open the host's disks. So the
//! rules are reduced the way v1's kernel code does it, written as a program, and attached before the container's process
//! runs.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::detect::Setup;
use super::group::Group;
use crate::error::RuntimeError;

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

const BLOCK: u32 = 1;
const CHAR: u32 = 2;

/// Which device: type, and numbers unless any will do.
type Key = (u32, Option<u32>, Option<u32>);

/// v1's state: a default, and exceptions from it.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    allow: bool,
    exceptions: BTreeMap<Key, u32>,
}

impl Rules {
    /// Applies OCI rules in order, as writing them to `devices.allow` and `devices.deny` would.
    fn reduce(rules: &[LinuxDeviceCgroup]) -> Self {
        let mut state = Self { allow: false, exceptions: BTreeMap::new() };
        for rule in rules {
            let access = rule.access().as_deref().map_or(ALL, |text| {
                text.chars().fold(0, |bits, c| {
                    bits | match c {
                        'm' => MKNOD,
                        'r' => READ,
                        'w' => WRITE,
                        _ => 0,
                    }
                })
            });
            let kinds: &[u32] = match rule.typ() {
                None | Some(LinuxDeviceType::A) => {
                    state = Self { allow: rule.allow(), exceptions: BTreeMap::new() };
                    continue;
                }
                Some(LinuxDeviceType::B) => &[BLOCK],
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[CHAR],
                Some(LinuxDeviceType::P) => &[],
            };
            let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
            for kind in kinds {
                let key = (*kind, number(rule.major()), number(rule.minor()));
                let bits = state.exceptions.entry(key).or_default();
                if rule.allow() == state.allow {
                    *bits &= !access;
                } else {
                    *bits |= access;
                }
            }
        }
        state.exceptions.retain(|_, bits| *bits != 0);
        state
    }

    #[cfg(test)]
    fn permits(&self, kind: u32, major: u32, minor: u32, access: u32) -> bool {
        let hit = self.exceptions.iter().any(|((k, a, b), bits)| {
            *k == kind
                && a.is_none_or(|a| a == major)
                && b.is_none_or(|b| b == minor)
                && if self.allow { access & bits != 0 } else { access & bits == access }
        });
        hit != self.allow
    }
}

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Insn {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    off: i16,
    imm: i32,
}

const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: u32) -> Insn {
    Insn { code, registers: dst | src << 4, off, imm: imm.cast_signed() }
}

const LOAD_WORD: u8 = 0x61;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const MOVE_32_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb7;
const JUMP_NE: u8 = 0x56;
const JUMP_NE_REGISTER: u8 = 0x5e;
const JUMP_EQ: u8 = 0x16;
const EXIT: u8 = 0x95;

/// Registers: 2 type, 3 access, 4 major, 5 minor, 1 scratch.
fn program(rules: &Rules) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(AND_32, 2, 0, 0, 0xffff),
        insn(LOAD_WORD, 3, 1, 0, 0),
        insn(SHIFT_RIGHT_32, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for ((kind, major, minor), access) in &rules.exceptions {
        let mut block = vec![insn(JUMP_NE, 2, 0, 0, *kind)];
        if rules.allow {
            // Denied when any of what is asked for is.
            block.push(insn(MOVE_32_REGISTER, 1, 3, 0, 0));
            block.push(insn(AND_32, 1, 0, 0, *access));
            block.push(insn(JUMP_EQ, 1, 0, 0, 0));
        } else if *access != ALL {
            // Allowed when all of what is asked for is.
            block.push(insn(MOVE_32_REGISTER, 1, 3, 0, 0));
            block.push(insn(AND_32, 1, 0, 0, *access));
            block.push(insn(JUMP_NE_REGISTER, 1, 3, 0, 0));
        }
        if let Some(major) = major {
            block.push(insn(JUMP_NE, 4, 0, 0, *major));
        }
        if let Some(minor) = minor {
            block.push(insn(JUMP_NE, 5, 0, 0, *minor));
        }
        block.push(insn(MOVE, 0, 0, 0, u32::from(!rules.allow)));
        block.push(insn(EXIT, 0, 0, 0, 0));
        let end = block.len();
        for (at, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, JUMP_NE | JUMP_NE_REGISTER | JUMP_EQ) {
                // A block is nine instructions at most.
                instruction.off = i16::try_from(end - at - 1).unwrap_or(0);
            }
        }
        code.extend(block);
    }
    code.push(insn(MOVE, 0, 0, 0, u32::from(rules.allow)));
    code.push(insn(EXIT, 0, 0, 0, 0));
    code
}

impl Group {
    /// On v2, attaches a filter with these rules and the devices that every container may use; elsewhere the embedded
    /// runtime has written them.
    ///
    /// # Errors
    /// When the kernel refuses: the container must not run then.
    pub(crate) fn filter_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<(), RuntimeError> {
        let Some(dir) = self.dir("").filter(|_| self.setup() == Setup::Unified) else { return Ok(()) };
        let mut all = rules.to_vec();
        all.extend(crate::spec::default_device_rules().into_iter().filter(LinuxDeviceCgroup::allow));
        attach(&dir, &Rules::reduce(&all)).map_err(|e| RuntimeError::io("attaching the device filter", e))
    }
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

fn attach(dir: &Path, rules: &Rules) -> io::Result<()> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let code = program(rules);
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    // SAFETY: `load` is the head of `union bpf_attr` for this command and its size is given; the pointers in it are to
    // live memory that the kernel only reads.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>()) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let group = File::open(dir)?;
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: as above; no pointers.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcontainer::oci_spec::runtime::LinuxDeviceCgroupBuilder;
    use proptest::prelude::*;

    fn rule(
        allow: bool,
        kind: LinuxDeviceType,
        major: Option<i64>,
        minor: Option<i64>,
        access: &str,
    ) -> LinuxDeviceCgroup {
        let mut rule =
            LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access).build().unwrap();
        rule.set_major(major).set_minor(minor);
        rule
    }

    /// Runs the program on a request.
    fn run(code: &[Insn], kind: u32, major: u32, minor: u32, access: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0_u32; 11];
        let mut pc = 0_usize;
        loop {
            let i = code[pc];
            pc += 1;
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let imm = i.imm.cast_unsigned();
            let jump = |taken: bool| if taken { usize::try_from(i.off).unwrap() } else { 0 };
            match i.code {
                LOAD_WORD => r[dst] = context[usize::try_from(i.off).unwrap() / 4],
                AND_32 => r[dst] &= imm,
                SHIFT_RIGHT_32 => r[dst] >>= imm,
                MOVE_32_REGISTER => r[dst] = r[src],
                MOVE => r[dst] = imm,
                JUMP_NE => pc += jump(r[dst] != imm),
                JUMP_NE_REGISTER => pc += jump(r[dst] != r[src]),
                JUMP_EQ => pc += jump(r[dst] == imm),
                EXIT => return r[0] != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn dockers_rules_allow_the_usual_and_nothing_else() {
        let rules = Rules::reduce(&crate::spec::default_device_rules());
        let code = program(&rules);
        assert!(run(&code, CHAR, 1, 3, READ | WRITE), "null");
        assert!(run(&code, CHAR, 136, 9, READ | WRITE), "a terminal");
        assert!(run(&code, BLOCK, 254, 0, MKNOD), "a node may be made");
        assert!(!run(&code, BLOCK, 254, 0, READ), "but not read");
        assert!(!run(&code, CHAR, 1, 11, READ), "kmsg");
    }

    #[test]
    fn privileged_allows_all() {
        let code = program(&Rules::reduce(&[rule(true, LinuxDeviceType::A, None, None, "rwm")]));
        assert!(run(&code, BLOCK, 254, 0, ALL));
    }

    #[test]
    fn later_rules_win() {
        let rules = Rules::reduce(&[
            rule(true, LinuxDeviceType::A, None, None, "rwm"),
            rule(false, LinuxDeviceType::B, Some(8), None, "w"),
            rule(false, LinuxDeviceType::C, Some(1), Some(3), "rwm"),
            rule(true, LinuxDeviceType::C, Some(1), Some(3), "rw"),
        ]);
        let code = program(&rules);
        assert!(run(&code, BLOCK, 8, 1, READ) && !run(&code, BLOCK, 8, 1, READ | WRITE));
        assert!(run(&code, CHAR, 1, 3, READ) && !run(&code, CHAR, 1, 3, MKNOD));
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(
            rules in proptest::collection::vec((any::<bool>(), 0u8..8, proptest::option::of(0i64..3), proptest::option::of(0i64..3), 1u32..8), 0..20),
            requests in proptest::collection::vec((1u32..3, 0u32..3, 0u32..3, 1u32..8), 32),
        ) {
            let rules: Vec<_> = rules.into_iter().map(|(allow, kind, major, minor, access)| {
                let kind = match kind { 0 => LinuxDeviceType::A, 1..4 => LinuxDeviceType::B, _ => LinuxDeviceType::C };
                let text: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].iter().filter(|(b, _)| access & b != 0).map(|(_, c)| *c).collect();
                rule(allow, kind, major, minor, &text)
            }).collect();
            let rules = Rules::reduce(&rules);
            let code = program(&rules);
            for (kind, major, minor, access) in requests {
                prop_assert_eq!(run(&code, kind, major, minor, access), rules.permits(kind, major, minor, access));
            }
        }
    }

    /// The kernel's own verifier and hook, wherever there is a v2 hierarchy to attach to.
    #[test]
    fn the_kernel_takes_and_enforces_it() {
        let Some(root) = super::super::Hierarchies::detect().v2.clone() else {
            panic!("this machine has no v2 hierarchy to try the device filter on")
        };
        let dir = root.join(format!("pintle-devices-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let attached = attach(&dir, &Rules::reduce(&crate::spec::default_device_rules()));
        let output = std::process::Command::new("/bin/busybox")
            .args(["sh", "-c"])
            .arg(format!(
                "echo $$ > {}/cgroup.procs && echo in && echo x > /dev/null && echo null && (busybox head -c 1 /dev/kmsg >/dev/null 2>&1 || echo refused)",
                dir.display()
            ))
            .output()
            .unwrap();
        for _ in 0..100 {
            if std::fs::remove_dir(&dir).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        attached.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in\nnull\nrefused\n");
    }
}
