/* Which of the kernel's parts this host has: a case about a missing one is a
 * reported skip. Run outside, as root where possible; prints name=0 or name=1. */
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "attack.h"

static int has_socket(int family, int type, int protocol)
{
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno == EPERM;
}

static int has_file(const char *path)
{
    return access(path, F_OK) == 0;
}

static int has_call(long number)
{
    return syscall(number, -1, -1, -1, -1, -1, -1) >= 0 || errno != ENOSYS;
}

static int has_i386(void)
{
#ifdef __x86_64__
    pid_t child = fork();
    if (child == 0) {
        long pid = 20;
        __asm__ volatile("int $0x80" : "+a"(pid) : : "memory", "r8", "r9", "r10", "r11");
        _exit(pid == getpid() ? 0 : 1);
    }
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
#else
    return 0;
#endif
}

static int has_x32(void)
{
#ifdef __x86_64__
    return syscall(0x40000000 + 39) == getpid();
#else
    return 0;
#endif
}

static int has_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

static int has_pushed_input(void)
{
    char text[8] = "1";
    slurp("/proc/sys/dev/tty/legacy_tiocsti", text, sizeof text);
    return text[0] == '1';
}

int features(void)
{
    const struct {
        const char *name;
        int present;
    } all[] = {
        {"i386", has_i386()},
        {"x32", has_x32()},
        {"vsock", has_socket(40, SOCK_STREAM, 0)},
        {"vsock_device", has_file("/dev/vsock") || has_file("/dev/vhost-vsock")},
        {"alg", has_socket(38, SOCK_SEQPACKET, 0)},
        {"xdp", has_socket(44, SOCK_RAW, 0)},
        {"io_uring", has_call(SYS_io_uring_setup)},
        {"bpf", has_call(SYS_bpf)},
        {"userfaultfd", has_call(SYS_userfaultfd)},
        {"kexec", has_call(SYS_kexec_load)},
        {"modules", has_call(SYS_delete_module)},
        {"kcmp", has_call(SYS_kcmp)},
        {"quota", has_call(SYS_quotactl)},
        {"accounting", has_call(SYS_acct)},
        {"swap", has_call(SYS_swapoff)},
        {"fanotify", has_call(SYS_fanotify_init)},
        {"pkeys", has_call(SYS_pkey_alloc)},
        {"sysrq", has_file("/proc/sys/kernel/sysrq") || has_file("/proc/sysrq-trigger")},
        {"binfmt", has_file("/proc/sys/fs/binfmt_misc/register")},
        {"kcore", has_file("/proc/kcore")},
        {"config", has_file("/proc/config.gz")},
        {"pressure", has_file("/proc/pressure/cpu")},
        {"kpage", has_file("/proc/kpagecount")},
        {"debugfs", has_file("/sys/kernel/debug/tracing") || has_file("/sys/kernel/debug/bdi")},
        {"cgroup1", has_file("/sys/fs/cgroup/pids/cgroup.procs")},
        {"release_agent", has_file("/sys/fs/cgroup/pids/release_agent")},
        {"console", has_file("/dev/tty0")},
        {"tiocsti", has_pushed_input()},
        {"two_cpus", has_cpus()},
        {"machine_id", has_file("/etc/machine-id")},
        {"interfaces", has_file("/sys/class/net/eth0") || has_file("/proc/net/route")},
        {"loop_device", has_file("/dev/loop0")},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        printf("%s=%d\n", all[i].name, all[i].present != 0);
    return 0;
}
