//! System call numbers by name, for each architecture that a filter can tell apart.

use std::collections::HashMap;
use std::sync::OnceLock;

/// An architecture, as the kernel's `seccomp_data.arch` (and, for x32, the number's bit 30) tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

/// Marks an x32 call in the number that the kernel shows.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Calls whose x32 number is not the x86-64 one.
const X32_OWN: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

impl Arch {
    /// The architecture that this binary runs on.
    ///
    /// `None` on a machine that pintle has no system call numbers for.
    #[must_use]
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "x86" => Some(Self::X86),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    /// Other architectures whose programs the kernel of this one runs too, as Docker's `archMap` lists them.
    #[must_use]
    pub fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm => &[],
        }
    }

    /// `SCMP_ARCH_…`.
    #[must_use]
    pub fn from_scmp(name: &str) -> Option<Self> {
        match name.strip_prefix("SCMP_ARCH_")? {
            "X86_64" => Some(Self::X86_64),
            "X86" => Some(Self::X86),
            "X32" => Some(Self::X32),
            "AARCH64" => Some(Self::Aarch64),
            "ARM" => Some(Self::Arm),
            _ => None,
        }
    }

    /// Go's name, as profiles use it in `arches`.
    #[must_use]
    pub fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The kernel's `AUDIT_ARCH_…`.
    pub(super) fn audit(self) -> u32 {
        const LITTLE: u32 = 0x4000_0000;
        const SIXTY_FOUR: u32 = 0x8000_0000;
        match self {
            Self::X86_64 | Self::X32 => 62 | SIXTY_FOUR | LITTLE,
            Self::X86 => 3 | LITTLE,
            Self::Aarch64 => 183 | SIXTY_FOUR | LITTLE,
            Self::Arm => 40 | LITTLE,
        }
    }

    /// Whether arguments are 64 bits wide.
    pub(super) fn wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::X32 | Self::Aarch64)
    }

    /// The number of a call, as the kernel shows it to a filter; `None` when this architecture has no such call.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        if self == Self::X32 {
            if let Some((_, number)) = X32_OWN.iter().find(|(own, _)| *own == name) {
                return Some(number | X32_BIT);
            }
            return Self::X86_64.number(name).map(|number| number | X32_BIT);
        }
        self.table().get(name).copied()
    }

    fn table(self) -> &'static HashMap<&'static str, u32> {
        static X86_64: OnceLock<HashMap<&str, u32>> = OnceLock::new();
        static X86: OnceLock<HashMap<&str, u32>> = OnceLock::new();
        static AARCH64: OnceLock<HashMap<&str, u32>> = OnceLock::new();
        static ARM: OnceLock<HashMap<&str, u32>> = OnceLock::new();
        macro_rules! table {
            ($once:ident, $module:ident) => {
                $once.get_or_init(|| {
                    syscalls::$module::Sysno::iter()
                        .map(|call| (call.name(), u32::try_from(call.id()).unwrap_or(u32::MAX)))
                        .collect()
                })
            };
        }
        match self {
            Self::X86_64 | Self::X32 => table!(X86_64, x86_64),
            Self::X86 => table!(X86, x86),
            Self::Aarch64 => table!(AARCH64, aarch64),
            Self::Arm => table!(ARM, arm),
        }
    }
}
