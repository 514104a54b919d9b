/* System calls that a sandbox has no business with (classes 19, 22 to 27, 31, 32). */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "attack.h"

#define HIGH_BIT (1ul << 32)

#ifdef __x86_64__
static long int80(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static int i386_getpid(void)
{
    long pid = int80(20, 0, 0, 0);
    return pid == getpid() ? succeeded("int 0x80 answered")
                           : blocked_because("int 0x80 gave %ld", pid);
}

static int i386_socket(void)
{
    long fd = int80(359, 40 /* AF_VSOCK */, 1, 0);
    return fd >= 0 ? succeeded("a vsock socket through int 0x80")
                   : blocked_because("socket through int 0x80 gave %ld", fd);
}

static int x32_getpid(void)
{
    return by_result("x32 getpid", syscall(0x40000000 + 39));
}

static int ldt(void)
{
    char room[16] = {0};
    return by_result("modify_ldt", syscall(SYS_modify_ldt, 0, room, sizeof room));
}

static int io_ports(void)
{
    return by_result("iopl", syscall(SYS_iopl, 3));
}
#else
static int i386_getpid(void) { return broken("no such call on this machine"); }
static int i386_socket(void) { return broken("no such call on this machine"); }
static int x32_getpid(void) { return broken("no such call on this machine"); }
static int ldt(void) { return broken("no such call on this machine"); }
static int io_ports(void) { return broken("no such call on this machine"); }
#endif

static int io_uring(void)
{
    char params[120] = {0};
    return by_result("io_uring_setup", syscall(SYS_io_uring_setup, 4, params));
}

static int bpf_map(void)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return by_result("bpf(BPF_MAP_CREATE)", syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
}

static int bpf_program(void)
{
    struct bpf_insn code[] = {{.code = 0xb7, .dst_reg = 0, .imm = 0}, {.code = 0x95}};
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                           .insns = (uint64_t)(uintptr_t)code,
                           .insn_cnt = 2,
                           .license = (uint64_t)(uintptr_t) "GPL"};
    return by_result("bpf(BPF_PROG_LOAD)", syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
}

static int perf(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_SW_TASK_CLOCK,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    return by_result("perf_event_open", syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int userfault(void)
{
    return by_result("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC | 1));
}

static int add_a_key(void)
{
    return by_result("add_key",
                     syscall(SYS_add_key, "user", "attack", "x", 1, -2 /* process keyring */));
}

static int keyctl_session(void)
{
    return by_result("keyctl", syscall(SYS_keyctl, 0, -3 /* session keyring */, 1));
}

static int request_a_key(void)
{
    long key = syscall(SYS_request_key, "user", "attack-none", NULL, 0);
    if (key < 0 && errno == ENOKEY)
        return succeeded("request_key searched the keyrings (ENOKEY)");
    return by_result("request_key", key);
}

/* A child that waits to be killed. */
static pid_t sleeper(void)
{
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    if (child < 0)
        _exit(broken("fork: %s", strerror(errno)));
    return child;
}

static void reap(pid_t child)
{
    int error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, __WALL);
    errno = error;
}

static int ptrace_child(void)
{
    pid_t child = sleeper();
    long done = ptrace(PTRACE_SEIZE, child, NULL, NULL);
    reap(child);
    return by_result("PTRACE_SEIZE of a child", done);
}

static int ptrace_me(void)
{
    return by_result("PTRACE_TRACEME", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int process_vm_child(void)
{
    static char from_here = 'x';
    char to_here;
    pid_t child = sleeper();
    struct iovec to = {&to_here, 1}, from = {&from_here, 1};
    ssize_t done = process_vm_readv(child, &to, 1, &from, 1, 0);
    if (done < 0)
        done = process_vm_writev(child, &to, 1, &from, 1, 0);
    reap(child);
    return by_result("process_vm_readv", done);
}

static int pidfd_getfd_child(void)
{
    pid_t child = sleeper();
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    long taken = fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 1, 0);
    reap(child);
    return by_result("pidfd_getfd", taken);
}

static int compare_kernel_pointers(void)
{
    return by_result("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 0, 1, 2));
}

static int set_mm(void)
{
    /* The present value of the stack's start: nothing changes. */
    static char text[4096];
    unsigned long stack = 0;
    if (slurp("/proc/self/stat", text, sizeof text) < 0)
        return blocked("/proc/self/stat");
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 28; field++)
        at = strchr(at + 1, ' ');
    if (at)
        stack = strtoul(at, NULL, 10);
    return by_result("PR_SET_MM", prctl(PR_SET_MM, PR_SET_MM_START_STACK, stack, 0, 0));
}

/* Typed into the terminal as if by its user: what the shell outside runs next. */
static int push_input(unsigned long request)
{
    int master, slave;
    char got = 0, push = 'x';
    if (openpty(&master, &slave, NULL, NULL, NULL) != 0)
        return blocked("openpty");
    setsid();
    if (ioctl(slave, TIOCSCTTY, 0) != 0)
        return blocked("TIOCSCTTY");
    if (syscall(SYS_ioctl, slave, request, &push) != 0)
        return blocked("TIOCSTI");
    push = '\n';
    syscall(SYS_ioctl, slave, request, &push);
    return read(slave, &got, 1) == 1 && got == 'x' ? succeeded("input was pushed")
                                                   : blocked_because("nothing arrived");
}

static int tiocsti(void)
{
    return push_input(TIOCSTI);
}

/* The kernel looks at 32 bits of the request, a filter may look at 64. */
static int tiocsti_high_bits(void)
{
    return push_input(HIGH_BIT | TIOCSTI);
}

static int console_request(unsigned long request)
{
    static const char *const consoles[] = {"/dev/tty0", "/dev/tty1", "/dev/console"};
    char code = 6; /* TIOCL_GETSHIFTSTATE: reads, changes nothing */
    long done = -1;
    errno = ENOENT;
    for (size_t i = 0; i < COUNT(consoles) && done < 0; i++) {
        int fd = open(consoles[i], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        done = syscall(SYS_ioctl, fd, request, &code);
        int error = errno;
        close(fd);
        errno = error;
    }
    return by_result("TIOCLINUX", done);
}

static int tioclinux(void)
{
    return console_request(TIOCLINUX);
}

static int tioclinux_high_bits(void)
{
    return console_request(HIGH_BIT | TIOCLINUX);
}

static int persona(unsigned long what)
{
    long old = syscall(SYS_personality, what);
    if (old < 0)
        return blocked("personality");
    long now = syscall(SYS_personality, 0xffffffff);
    return now >= 0 && (now & (long)(what & 0xffffffff)) != (long)(what & 0xffffffff)
               ? blocked_because("personality is %#lx", now)
               : succeeded("personality became %#lx", now);
}

static int persona_no_randomize(void)
{
    return persona(ADDR_NO_RANDOMIZE);
}

static int persona_implies_exec(void)
{
    return persona(READ_IMPLIES_EXEC);
}

static int persona_high_bits(void)
{
    return persona(HIGH_BIT | ADDR_NO_RANDOMIZE);
}

static int wx_mmap(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                    -1, 0);
    return at == MAP_FAILED ? blocked("mmap") : succeeded("memory to write and execute");
}

static int wx_mprotect(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return broken("mmap: %s", strerror(errno));
    return by_result("mprotect to executable", mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

static int wx_pkey(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return broken("mmap: %s", strerror(errno));
    return by_result("pkey_mprotect to executable",
                     syscall(SYS_pkey_mprotect, at, 4096, PROT_READ | PROT_EXEC, -1));
}

/* One file, mapped twice: written through one, executed through the other. */
static int executable_map(const char *what, int fd)
{
    if (fd < 0)
        return blocked(what);
    if (ftruncate(fd, 4096) != 0)
        return blocked("ftruncate");
    void *write_at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *run_at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    return write_at == MAP_FAILED || run_at == MAP_FAILED
               ? blocked("mmap")
               : succeeded("%s is writable and executable", what);
}

static int wx_memfd(void)
{
    return executable_map("memfd", (int)syscall(SYS_memfd_create, "attack", 1));
}

static int wx_file(void)
{
    char path[] = "/tmp/attack-wx-XXXXXX";
    int fd = mkstemp(path);
    if (fd >= 0)
        unlink(path);
    return executable_map("a scratch file", fd);
}

static int nnp_absent(void)
{
    int set = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    if (set < 0)
        return blocked("PR_GET_NO_NEW_PRIVS");
    prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? blocked_because("no_new_privs is set")
                                                       : succeeded("no_new_privs is not set");
}

static int filter_absent(void)
{
    char text[4096];
    if (slurp("/proc/self/status", text, sizeof text) < 0)
        return blocked("/proc/self/status");
    const char *at = strstr(text, "\nSeccomp:");
    int mode = at ? atoi(at + 9) : -1;
    return mode == 2 ? blocked_because("a filter is installed")
                     : succeeded("Seccomp mode is %d", mode);
}

/* A permissive filter on top changes nothing: the strictest answer wins. */
static int filter_undo(void)
{
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 8 /* NEW_LISTENER */, &program);
    return by_result("add_key under a permissive filter",
                     syscall(SYS_add_key, "user", "attack", "x", 1, -2));
}

const struct attack kernel_attacks[] = {
    {"i386_getpid", i386_getpid},
    {"i386_socket", i386_socket},
    {"x32_getpid", x32_getpid},
    {"modify_ldt", ldt},
    {"iopl", io_ports},
    {"io_uring", io_uring},
    {"bpf_map", bpf_map},
    {"bpf_program", bpf_program},
    {"perf_event", perf},
    {"userfaultfd", userfault},
    {"add_key", add_a_key},
    {"keyctl", keyctl_session},
    {"request_key", request_a_key},
    {"ptrace_child", ptrace_child},
    {"ptrace_me", ptrace_me},
    {"process_vm_child", process_vm_child},
    {"pidfd_getfd_child", pidfd_getfd_child},
    {"kcmp", compare_kernel_pointers},
    {"prctl_set_mm", set_mm},
    {"tiocsti", tiocsti},
    {"tiocsti_high_bits", tiocsti_high_bits},
    {"tioclinux", tioclinux},
    {"tioclinux_high_bits", tioclinux_high_bits},
    {"personality_no_randomize", persona_no_randomize},
    {"personality_implies_exec", persona_implies_exec},
    {"personality_high_bits", persona_high_bits},
    {"wx_mmap", wx_mmap},
    {"wx_mprotect", wx_mprotect},
    {"wx_pkey", wx_pkey},
    {"wx_memfd", wx_memfd},
    {"wx_file", wx_file},
    {"nnp_absent", nnp_absent},
    {"filter_absent", filter_absent},
    {"filter_undo", filter_undo},
    {NULL, NULL},
};
