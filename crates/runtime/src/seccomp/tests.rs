//! The compiled program against a reference that reads the profile itself.

use proptest::prelude::*;

use super::assemble::{AND, JA, JEQ, JGE, JGT, LD_ABS, RET, action_word};
use super::*;

/// What the kernel shows to a filter.
#[derive(Debug, Clone)]
struct Call {
    nr: u32,
    arch: u32,
    args: [u64; 6],
}

/// Runs classic BPF.
fn run(program: &Program, call: &Call) -> u32 {
    let word = |offset: u32| -> u32 {
        match offset {
            0 => call.nr,
            4 => call.arch,
            _ => {
                let index = ((offset - 16) / 8) as usize;
                if (offset - 16).is_multiple_of(8) {
                    call.args[index] as u32
                } else {
                    (call.args[index] >> 32) as u32
                }
            }
        }
    };
    let (mut pc, mut a) = (0usize, 0u32);
    loop {
        let i = program.instructions[pc];
        pc += 1;
        let hop = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            LD_ABS => a = word(i.k),
            AND => a &= i.k,
            JA => pc += i.k as usize,
            JEQ => pc += hop(a == i.k),
            JGT => pc += hop(a > i.k),
            JGE => pc += hop(a >= i.k),
            RET => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the profile says, read literally.
fn judge(profile: &Profile, call: &Call) -> u32 {
    let x86 = call.arch == Arch::X86_64.audit();
    let x32 = x86 && call.nr >= 0x4000_0000;
    let arch = profile.arches.iter().copied().find(|a| {
        a.audit() == call.arch && (*a == Arch::X32) == (x32 && profile.arches.contains(&Arch::X32))
    });
    let Some(arch) = arch else { return action_word(Action::KillProcess) };
    if x32 && arch != Arch::X32 {
        return action_word(if call.nr == u32::MAX { profile.default } else { Action::KillProcess });
    }
    let named = |rule: &&Rule| rule.names.iter().any(|n| arch.number(n) == Some(call.nr));
    let holds = |c: &Condition| {
        let mask = if arch.wide() { u64::MAX } else { 0xffff_ffff };
        let (arg, value, masked) = (call.args[usize::from(c.index)] & mask, c.value & mask, c.masked & mask);
        match c.compare {
            Compare::Ne => arg != value,
            Compare::Lt => arg < value,
            Compare::Le => arg <= value,
            Compare::Eq => arg == value,
            Compare::Ge => arg >= value,
            Compare::Gt => arg > value,
            Compare::MaskedEq => arg & value == masked,
        }
    };
    let rules: Vec<&Rule> = profile.rules.iter().filter(named).collect();
    let action = rules
        .iter()
        .filter(|r| !r.conditions.is_empty())
        .find(|r| r.conditions.iter().all(holds))
        .or_else(|| rules.iter().find(|r| r.conditions.is_empty()))
        .map_or(profile.default, |r| r.action);
    action_word(action)
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Log),
        Just(Action::Trap),
        Just(Action::KillThread),
        Just(Action::KillProcess),
        (1u16..200).prop_map(Action::Errno),
        (1u16..9).prop_map(Action::Trace),
    ]
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, any::<u64>(), (0u64..4).prop_map(|v| v << 32), Just(u64::MAX), Just(0xffff_ffff)]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let compare = prop_oneof![
        Just(Compare::Ne),
        Just(Compare::Lt),
        Just(Compare::Le),
        Just(Compare::Eq),
        Just(Compare::Ge),
        Just(Compare::Gt),
        Just(Compare::MaskedEq)
    ];
    (0u8..6, compare, any_value(), any_value()).prop_map(|(index, compare, value, masked)| Condition {
        index,
        compare,
        value,
        masked,
    })
}

const NAMES: [&str; 14] = [
    "read",
    "write",
    "open",
    "clone",
    "execve",
    "socket",
    "ioctl",
    "personality",
    "ptrace",
    "unshare",
    "clone3",
    "io_uring_setup",
    "preadv2",
    "socketcall",
];

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        proptest::collection::vec(0..NAMES.len(), 1..5),
        any_action(),
        proptest::collection::vec(any_condition(), 0..4),
    )
        .prop_map(|(names, action, conditions)| Rule {
            names: names.into_iter().map(|i| NAMES[i].to_owned()).collect(),
            action,
            conditions,
        })
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let arches = prop_oneof![
        Just(vec![Arch::X86_64, Arch::X86, Arch::X32]),
        Just(vec![Arch::X86_64]),
        Just(vec![Arch::Aarch64, Arch::Arm]),
        Just(vec![Arch::X86_64, Arch::X86])
    ];
    (any_action(), arches, proptest::collection::vec(any_rule(), 0..40))
        .prop_map(|(default, arches, rules)| Profile { default, arches, rules, flags: 0 })
}

fn any_call() -> impl Strategy<Value = Call> {
    let arches = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];
    let named = (0..arches.len(), 0..NAMES.len())
        .prop_map(move |(a, n)| (arches[a].audit(), arches[a].number(NAMES[n]).unwrap_or(9999)));
    let wild = (prop_oneof![Just(Arch::X86_64.audit()), Just(Arch::X86.audit()), any::<u32>()], any::<u32>());
    (prop_oneof![8 => named, 1 => wild], proptest::array::uniform6(any_value()))
        .prop_map(|((arch, nr), args)| Call { nr, arch, args })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_program_says_what_the_profile_says(
        profile in any_profile(),
        calls in proptest::collection::vec(any_call(), 64),
    ) {
        let program = compile(&profile).unwrap();
        for call in &calls {
            prop_assert_eq!(run(&program, call), judge(&profile, call), "{:?}", call);
        }
        prop_assert_eq!(Program::from_bytes(&program.to_bytes()), Some(program));
    }

    #[test]
    fn dockers_profile_too(calls in proptest::collection::vec((0usize..5, 0u32..600, proptest::array::uniform6(any_value())), 64)) {
        let profile = Profile::docker_default(&[]);
        let program = compile(&profile).unwrap();
        let arches = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];
        for (arch, nr, args) in calls {
            let bit = if arches[arch] == Arch::X32 { 0x4000_0000 } else { 0 };
            let call = Call { nr: nr | bit, arch: arches[arch].audit(), args };
            prop_assert_eq!(run(&program, &call), judge(&profile, &call), "{:?}", call);
        }
    }

    #[test]
    fn no_profile_panics(text in ".{0,200}", number in any::<i64>()) {
        let json = serde_json::json!({"defaultAction": text, "defaultErrnoRet": number, "syscalls": [{"names": [text], "action": text}]});
        let _ = Profile::parse(&json, &[]);
    }
}

fn answer(profile: &Profile, name: &str, args: [u64; 6]) -> u32 {
    let arch = Arch::native().unwrap();
    run(&compile(profile).unwrap(), &Call { nr: arch.number(name).unwrap(), arch: arch.audit(), args })
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

#[test]
fn the_default_profile_keeps_dockers_promises() {
    let plain = Profile::docker_default(&[]);
    assert_eq!(answer(&plain, "read", [0; 6]), ALLOW);
    assert_eq!(answer(&plain, "unshare", [0; 6]), EPERM);
    assert_eq!(answer(&plain, "mount", [0; 6]), EPERM);
    assert_eq!(answer(&plain, "clone", [17, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&plain, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM, "a user namespace");
    assert_eq!(answer(&plain, "clone3", [0; 6]), 0x0005_0026, "ENOSYS, so that libc falls back to clone");
    assert_eq!(answer(&plain, "personality", [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&plain, "personality", [0x40000, 0, 0, 0, 0, 0]), EPERM);
    let admin = Profile::docker_default(&["CAP_SYS_ADMIN".into()]);
    assert_eq!(answer(&admin, "unshare", [0; 6]), ALLOW);
    assert_eq!(answer(&admin, "mount", [0; 6]), ALLOW);
    assert_eq!(answer(&admin, "clone3", [0; 6]), ALLOW);
}

#[test]
fn a_foreign_architecture_dies() {
    let program = compile(&Profile::docker_default(&[])).unwrap();
    assert_eq!(run(&program, &Call { nr: 0, arch: 0x1234, args: [0; 6] }), 0x8000_0000);
}

#[test]
fn users_profiles_are_read_as_docker_reads_them() {
    let json = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"name": "chmod", "action": "SCMP_ACT_ERRNO", "args": []},
            {"names": ["socket", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]},
            {"names": ["chown"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_CHOWN"]}},
            {"names": ["read"], "action": "SCMP_ACT_KILL", "excludes": {"minKernel": "3.0"}}
        ]
    });
    let profile = Profile::parse(&json, &[]).unwrap();
    assert_eq!(answer(&profile, "chmod", [0; 6]), EPERM);
    assert_eq!(
        answer(&profile, "socket", [3, 0, 0, 0, 0, 0]),
        0x0005_0061,
        "repeated argument = either value"
    );
    assert_eq!(answer(&profile, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&profile, "chown", [0; 6]), ALLOW);
    assert_eq!(answer(&profile, "read", [0; 6]), ALLOW);
    assert_eq!(answer(&Profile::parse(&json, &["CAP_CHOWN".into()]).unwrap(), "chown", [0; 6]), EPERM);
}

#[test]
fn nonsense_is_refused() {
    let refuse = |json: serde_json::Value| Profile::parse(&json, &[]).unwrap_err().to_string();
    assert!(refuse(serde_json::json!({})).contains("defaultAction"));
    assert!(refuse(serde_json::json!({"defaultAction": "SCMP_ACT_MAYBE"})).contains("SCMP_ACT_MAYBE"));
    assert!(refuse(serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"})).contains("not supported"));
    assert!(
        refuse(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}))
        .contains("not both")
    );
    assert!(
        refuse(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["b"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}))
        .contains("index")
    );
}

#[test]
fn compiling_is_cheap() {
    let caps: Vec<String> = Vec::new();
    let _ = compile(&Profile::docker_default(&caps)).unwrap();
    let start = std::time::Instant::now();
    let rounds = 20;
    let mut size = 0;
    for _ in 0..rounds {
        size = compile(&Profile::docker_default(&caps)).unwrap().len();
    }
    let each = start.elapsed() / rounds;
    println!("docker's default profile: {size} instructions, {each:?} to compile");
    assert!(size < 1500, "{size} instructions");
}
