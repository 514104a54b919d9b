/* Namespaces and control groups (classes 13, 14, 53). */
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>

#include "attack.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static int unshare_user(void)
{
    return by_result("unshare(CLONE_NEWUSER)", unshare(CLONE_NEWUSER));
}

static int unshare_mount(void)
{
    return by_result("unshare(CLONE_NEWNS)", unshare(CLONE_NEWNS));
}

static int unshare_rest(void)
{
    static const int flags[] = {CLONE_NEWPID, CLONE_NEWNET,    CLONE_NEWIPC,
                                CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME};
    for (size_t i = 0; i < COUNT(flags); i++)
        if (unshare(flags[i]) == 0)
            return succeeded("unshare(%#x)", flags[i]);
    return blocked("unshare");
}

/* A clone with these flags; the child leaves at once. */
static int cloned(const char *what, unsigned long flags)
{
    long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, 0);
    return by_result(what, child);
}

static int clone_user(void)
{
    return cloned("clone(CLONE_NEWUSER)", CLONE_NEWUSER);
}

/* Flags of clone are an unsigned long of which the kernel reads the low half. */
static int clone_user_high_bits(void)
{
    return cloned("clone(1<<32 | CLONE_NEWUSER)", 1ul << 32 | CLONE_NEWUSER);
}

static int clone_net(void)
{
    return cloned("clone(CLONE_NEWNET)", CLONE_NEWNET);
}

static int clone3_user(void)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, 0);
    return by_result("clone3(CLONE_NEWUSER)", child);
}

/* clone3's flags are behind a pointer, out of a filter's reach: any success
 * means that namespaces cannot be refused by their flags. */
static int clone3_plain(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, 0);
    return by_result("clone3", child);
}

static int enter(pid_t pid, void *state)
{
    static const char *const names[] = {"mnt", "pid", "net", "ipc", "uts", "cgroup"};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, names[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        int done = setns(fd, 0) == 0;
        int error = errno;
        close(fd);
        errno = error;
        if (done)
            return 1;
    }
    return 0;
}

static int setns_path(void)
{
    return any_victim(enter, NULL) ? succeeded("a foreign namespace was entered")
                                   : blocked("setns");
}

static int enter_pidfd(pid_t pid, void *state)
{
    (void)state;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return 0;
    int done = setns(fd, CLONE_NEWNET) == 0 || setns(fd, CLONE_NEWUTS) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static int setns_pidfd(void)
{
    return any_victim(enter_pidfd, NULL) ? succeeded("a foreign namespace was entered")
                                         : blocked("setns");
}

static int namespaces_shared(void)
{
    static const char *const names[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char key[16], path[64], own[64] = "";
        snprintf(key, sizeof key, "ns_%s", names[i]);
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        if (readlink(path, own, sizeof own - 1) > 0 && !strcmp(own, must_arg(key)))
            return succeeded("the %s namespace is the host's: %s", names[i], own);
    }
    return blocked_because("no namespace is the host's");
}

static int cgroup_path(void)
{
    char text[4096];
    if (slurp("/proc/self/cgroup", text, sizeof text) < 0)
        return blocked("/proc/self/cgroup");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const char *path = strchr(line, ':') ? strrchr(line, ':') + 1 : "/";
        if (strcmp(path, "/") != 0)
            return succeeded("the control group's place shows: %s", line);
    }
    return blocked_because("every control group shows as /");
}

/* The first mount of a cgroup type below which `name` opens for writing. */
static int cgroup_file_opens(const char *name)
{
    static char text[65536];
    if (slurp("/proc/self/mounts", text, sizeof text) < 0)
        return blocked("/proc/self/mounts");
    errno = ENOENT;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char dir[256], type[64], path[512];
        if (sscanf(line, "%*s %255s %63s", dir, type) != 2 || strncmp(type, "cgroup", 6) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, name);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            return succeeded("%s is open for writing", path);
        }
    }
    return blocked(name);
}

static int cgroup_procs(void)
{
    return cgroup_file_opens("cgroup.procs");
}

/* CVE-2022-0492: the host's root runs the release agent. */
static int release_agent(void)
{
    return cgroup_file_opens("release_agent");
}

static int mount_cgroup(const char *type, const char *options)
{
    char dir[64];
    snprintf(dir, sizeof dir, "/tmp/attack-cg-%d", getpid());
    if (mkdir(dir, 0700) != 0)
        return broken("mkdir %s: %s", dir, strerror(errno));
    int done = mount("none", dir, type, 0, options);
    int error = errno;
    if (done == 0)
        umount2(dir, MNT_DETACH);
    rmdir(dir);
    errno = error;
    return by_result(type, done);
}

static int mount_cgroup1(void)
{
    return mount_cgroup("cgroup", "pids");
}

static int mount_cgroup2(void)
{
    return mount_cgroup("cgroup2", NULL);
}

const struct attack namespace_attacks[] = {
    {"unshare_user", unshare_user},
    {"unshare_mount", unshare_mount},
    {"unshare_rest", unshare_rest},
    {"clone_user", clone_user},
    {"clone_user_high_bits", clone_user_high_bits},
    {"clone_net", clone_net},
    {"clone3_user", clone3_user},
    {"clone3_plain", clone3_plain},
    {"setns_path", setns_path},
    {"setns_pidfd", setns_pidfd},
    {"namespaces_shared", namespaces_shared},
    {"cgroup_path", cgroup_path},
    {"cgroup_procs", cgroup_procs},
    {"release_agent", release_agent},
    {"mount_cgroup1", mount_cgroup1},
    {"mount_cgroup2", mount_cgroup2},
    {NULL, NULL},
};
