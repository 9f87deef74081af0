//! Docker's default profile as facts: which calls are allowed, and when.
//!
//! The names and conditions are those of the profile that Docker publishes (moby/profiles, `seccomp/default.json`,
//! 2026-06); the table's form is ours. Everything not named fails with EPERM. Rows for machines that pintle has no
//! system call numbers for (ppc64, s390x, riscv64) are left out.

use super::profile::Compare;

/// When a row counts.
#[derive(Clone, Copy)]
pub(super) enum When {
    Always,
    /// The container has this capability.
    Cap(&'static str),
    /// The container does not have this capability.
    NoCap(&'static str),
    /// The machine is one of these, in Go's names.
    Arch(&'static [&'static str]),
    /// The kernel is at least this.
    Kernel(u32, u32),
}

/// What a row does.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Allow,
    /// Allow when argument 0 compares so.
    AllowIf(Compare, u64),
    /// Allow when argument 0, masked, is zero.
    AllowIfClear(u64),
    /// Fail with this error number.
    Errno(u16),
}

/// Names are separated by blanks.
pub(super) struct Row(pub When, pub Then, pub &'static str);

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    Row(When::Always, Then::Allow, "\
        accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
        chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
        clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect \
        copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
        epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
        exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir \
        fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
        flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 \
        fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv \
        futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 \
        getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid \
        getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
        get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid \
        gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
        inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents \
        io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule \
        landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat \
        listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr \
        lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir \
        mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify \
        mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink \
        mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at \
        nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal \
        pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv \
        preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read \
        readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
        remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall \
        riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
        rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
        sched_getaffinity sched_getattr sched_getparam sched_get_priority_max \
        sched_get_priority_min sched_getscheduler sched_rr_get_interval \
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
        sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop \
        semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 \
        setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority \
        setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 \
        setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid \
        setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
        signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
        statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time \
        timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
        timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
        timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat \
        uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid \
        write writev"),
    Row(When::Kernel(4, 8), Then::Allow, "process_vm_readv process_vm_writev ptrace"),
    Row(When::Always, Then::AllowIf(Compare::Lt, 0x26), "socket"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0x27), "socket"),
    Row(When::Always, Then::AllowIf(Compare::Gt, 0x28), "socket"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0x0), "personality"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0x8), "personality"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0x20000), "personality"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0x20008), "personality"),
    Row(When::Always, Then::AllowIf(Compare::Eq, 0xffffffff), "personality"),
    Row(When::Arch(&["arm", "arm64"]), Then::Allow, "\
        arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    Row(When::Arch(&["amd64", "x32"]), Then::Allow, "arch_prctl"),
    Row(When::Arch(&["amd64", "x32", "x86"]), Then::Allow, "modify_ldt"),
    Row(When::Cap("CAP_DAC_READ_SEARCH"), Then::Allow, "open_by_handle_at"),
    Row(When::Cap("CAP_SYS_ADMIN"), Then::Allow, "\
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
        umount umount2 unshare"),
    Row(When::NoCap("CAP_SYS_ADMIN"), Then::AllowIfClear(0x7e020000), "clone"),
    Row(When::NoCap("CAP_SYS_ADMIN"), Then::Errno(38), "clone3"),
    Row(When::Cap("CAP_SYS_BOOT"), Then::Allow, "reboot"),
    Row(When::Cap("CAP_SYS_CHROOT"), Then::Allow, "chroot"),
    Row(When::Cap("CAP_SYS_MODULE"), Then::Allow, "delete_module init_module finit_module"),
    Row(When::Cap("CAP_SYS_PACCT"), Then::Allow, "acct"),
    Row(When::Cap("CAP_SYS_PTRACE"), Then::Allow, "\
        kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    Row(When::Cap("CAP_SYS_RAWIO"), Then::Allow, "iopl ioperm"),
    Row(When::Cap("CAP_SYS_TIME"), Then::Allow, "settimeofday stime clock_settime clock_settime64"),
    Row(When::Cap("CAP_SYS_TTY_CONFIG"), Then::Allow, "vhangup"),
    Row(When::Cap("CAP_SYS_NICE"), Then::Allow, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    Row(When::Cap("CAP_SYSLOG"), Then::Allow, "syslog"),
    Row(When::Cap("CAP_BPF"), Then::Allow, "bpf"),
    Row(When::Cap("CAP_PERFMON"), Then::Allow, "perf_event_open"),
];
