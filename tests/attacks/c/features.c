/* Which of the kernel's parts this host has: a case about a missing one is a
 * reported skip. Run outside, as root where possible; prints name=0 or name=1. */
#include <arpa/inet.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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

static int has_iopl(void)
{
#ifdef __x86_64__
    return has_call(SYS_iopl);
#else
    return 0;
#endif
}

/* Root in a virtual machine or a container may be short of some. */
static int has_capability(int capability)
{
    char text[4096];
    if (slurp("/proc/self/status", text, sizeof text) < 0)
        return 0;
    const char *at = strstr(text, "CapEff:");
    return at && (strtoull(at + 7, NULL, 16) >> capability & 1);
}

static int has_x86_64(void)
{
#ifdef __x86_64__
    return 1;
#else
    return 0;
#endif
}

static int has_route(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int done = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

static int has_filesystem(const char *name)
{
    char text[4096], line[64];
    snprintf(line, sizeof line, "\t%s\n", name);
    return slurp("/proc/filesystems", text, sizeof text) > 0 && strstr(text, line) != NULL;
}

static int has_interface(void)
{
    char text[16384];
    if (slurp("/proc/net/dev", text, sizeof text) < 0)
        return 0;
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    /* Two of heading and lo. */
    return lines > 3;
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

/* PR_GET_MDWE: without it, written memory can be made executable everywhere. */
static int has_mdwe(void)
{
    return prctl(66, 0, 0, 0, 0) >= 0;
}

int features(void)
{
    const struct {
        const char *name;
        int present;
    } all[] = {
        {"i386", has_i386()},
        {"x32", has_x32()},
        {"x86_64", has_x86_64()},
        {"mdwe", has_mdwe()},
        {"iopl", has_iopl()},
        {"cap_sys_resource", has_capability(CAP_SYS_RESOURCE)},
        {"crypto", has_file("/proc/crypto")},
        {"proc_switch", has_file("/proc/mtrr") || has_file("/proc/irq") || has_file("/proc/sysrq-trigger")},
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
        {"interfaces", has_interface()},
        {"route", has_route()},
        {"overlay_type", has_filesystem("overlay")},
        {"debugfs_type", has_filesystem("debugfs")},
        {"loop_device", has_file("/dev/loop0")},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        printf("%s=%d\n", all[i].name, all[i].present != 0);
    return 0;
}
