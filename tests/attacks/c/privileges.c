/* Identity, capabilities, set-uid files, devices, host-wide switches (10, 15, 29). */
#include <linux/capability.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>

#include "attack.h"

static unsigned long long status_caps(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 16) : ~0ull;
}

static int capabilities_held(void)
{
    static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
    char text[4096];
    if (slurp("/proc/self/status", text, sizeof text) < 0)
        return blocked("/proc/self/status");
    for (size_t i = 0; i < COUNT(sets); i++)
        if (status_caps(text, sets[i]) != 0)
            return succeeded("%s %llx", sets[i], status_caps(text, sets[i]));
    return blocked_because("all five capability sets are empty");
}

static int runs_with_more(const char *name)
{
    char path[256];
    must_path(path, sizeof path, "rw", name);
    if (access(path, F_OK) != 0)
        return broken("%s: %s; the bait could not plant it", path, strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return broken("fork: %s", strerror(errno));
    if (child == 0) {
        execl(path, path, "--whoami", NULL);
        blocked(path);
        _exit(BLOCKED);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return blocked_because("%s did not run", path);
    return WEXITSTATUS(status);
}

static int setuid_file(void)
{
    return runs_with_more("suid");
}

static int capability_file(void)
{
    return runs_with_more("fcap");
}

/* A set-uid file left on the host's volume serves an accomplice outside. */
static int leave_setuid(void)
{
    char path[256];
    struct stat made;
    must_path(path, sizeof path, "rw", "left-setuid");
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    if (fd < 0)
        return broken("%s: %s", path, strerror(errno));
    int done = fchmod(fd, 04755);
    if (done != 0)
        done = chmod(path, 04755);
    int error = errno;
    int stated = fstat(fd, &made);
    close(fd);
    unlink(path);
    errno = error;
    if (stated == 0 && (made.st_mode & S_ISUID))
        return succeeded("a set-uid file is on the host's volume");
    return blocked("chmod");
}

static int made_setuid(const char *path, long result, const char *what)
{
    struct stat made;
    int error = errno;
    int hit = result >= 0 && lstat(path, &made) == 0 && (made.st_mode & (S_ISUID | S_ISGID));
    unlink(path);
    rmdir(path);
    errno = error;
    return hit ? succeeded("%s left the bit on the host's volume", what) : -1;
}

/* The same by the mode of a new file. */
static int create_setuid(void)
{
    char path[256];
    must_path(path, sizeof path, "rw", "created-setuid");
    unlink(path);
    struct {
        uint64_t flags, mode, resolve;
    } how = {O_WRONLY | O_CREAT, 06755, 0};
    umask(0);
    if (made_setuid(path, open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 06755), "open") == SUCCEEDED)
        return SUCCEEDED;
    if (made_setuid(path, syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how), "openat2") ==
        SUCCEEDED)
        return SUCCEEDED;
    if (made_setuid(path, creat(path, 06755), "creat") == SUCCEEDED)
        return SUCCEEDED;
    if (made_setuid(path, mknod(path, S_IFREG | 06755, 0), "mknod") == SUCCEEDED)
        return SUCCEEDED;
    return blocked("every way to make the file");
}

static int become_root(void)
{
    static const unsigned ids[] = {0, 1, 1001, 4242, 65534};
    unsigned own = getuid();
    for (size_t i = 0; i < COUNT(ids); i++)
        if (ids[i] != own && syscall(SYS_setresuid, ids[i], ids[i], ids[i]) == 0)
            return succeeded("uid became %u", ids[i]);
    return blocked("setresuid");
}

static int add_groups(void)
{
    unsigned groups[] = {0, 42};
    return by_result("setgroups", syscall(SYS_setgroups, COUNT(groups), groups));
}

static int raise_caps(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{.effective = 1u << CAP_CHOWN,
                                              .permitted = 1u << CAP_CHOWN,
                                              .inheritable = 1u << CAP_CHOWN}};
    return by_result("capset", syscall(SYS_capset, &head, data));
}

static int hostname_change(void)
{
    return by_result("sethostname", sethostname("attacked", 8));
}

static int domainname_change(void)
{
    return by_result("setdomainname", setdomainname("attacked", 8));
}

static int clock_set(void)
{
    struct timezone zone;
    if (syscall(SYS_gettimeofday, NULL, &zone) != 0)
        return broken("gettimeofday: %s", strerror(errno));
    return by_result("settimeofday", syscall(SYS_settimeofday, NULL, &zone));
}

static int clock_adjust(void)
{
    struct timex change = {.modes = ADJ_TICK, .tick = 1};
    return by_permission("adjtimex", adjtimex(&change));
}

static int reboot_host(void)
{
    /* A wrong magic number: refused with EINVAL after the permission check. */
    return by_permission("reboot", syscall(SYS_reboot, 1, 2, 3, NULL));
}

static int kexec(void)
{
    return by_permission("kexec_load", syscall(SYS_kexec_load, 0, 0xffff, NULL, ~0ul));
}

static int load_module(void)
{
    return by_permission("init_module", syscall(SYS_init_module, "", 0, ""));
}

static int unload_module(void)
{
    return by_permission("delete_module", syscall(SYS_delete_module, "none-such", O_NONBLOCK));
}

static int process_accounting(void)
{
    return by_permission("acct", syscall(SYS_acct, "/nonexistent-directory/file"));
}

static int fanotify(void)
{
    return by_result("fanotify_init", fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY));
}

static int nicer(void)
{
    return by_result("nice -5", setpriority(PRIO_PROCESS, 0, -5));
}

static int realtime(void)
{
    static const int policies[] = {SCHED_FIFO, SCHED_RR};
    struct sched_param param = {.sched_priority = 1};
    for (size_t i = 0; i < COUNT(policies); i++)
        if (sched_setscheduler(0, policies[i], &param) == 0)
            return succeeded("scheduling policy %d", policies[i]);
    return blocked("sched_setscheduler");
}

static int io_priority(void)
{
    return by_result("ioprio_set", syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 4));
}

static int oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return blocked("oom_score_adj");
    return write(fd, "-500", 4) == 4 ? succeeded("the OOM killer will spare this process")
                                     : blocked("oom_score_adj");
}

static int raise_limit(void)
{
    static const int limits[] = {RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_MEMLOCK, RLIMIT_FSIZE,
                                 RLIMIT_CORE,   RLIMIT_CPU,   RLIMIT_RTPRIO,  RLIMIT_NICE};
    errno = EPERM;
    for (size_t i = 0; i < COUNT(limits); i++) {
        struct rlimit now;
        if (getrlimit(limits[i], &now) != 0 || now.rlim_max == RLIM_INFINITY)
            continue;
        now.rlim_max++;
        if (setrlimit(limits[i], &now) == 0)
            return succeeded("hard limit %d was raised", limits[i]);
    }
    return blocked("setrlimit");
}

static int make_device(mode_t type, unsigned major, unsigned minor)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/attack-dev-%d", getpid());
    if (mknod(path, type | 0600, makedev(major, minor)) != 0)
        return blocked("mknod");
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int error = errno;
    if (fd >= 0)
        close(fd);
    unlink(path);
    errno = error;
    return by_result("open of the device made", fd);
}

static int make_char_device(void)
{
    return make_device(S_IFCHR, 1, 11);
}

static int make_block_device(void)
{
    return make_device(S_IFBLK, 7, 0);
}

static int planted_device(void)
{
    char path[256];
    must_path(path, sizeof path, "rw", "kmsg");
    if (access(path, F_OK) != 0)
        return broken("%s: %s; the bait could not plant it", path, strerror(errno));
    return by_result("open of the volume's device", open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

const struct attack privilege_attacks[] = {
    {"capabilities_held", capabilities_held},
    {"raise_caps", raise_caps},
    {"setuid_file", setuid_file},
    {"capability_file", capability_file},
    {"leave_setuid", leave_setuid},
    {"create_setuid", create_setuid},
    {"become_root", become_root},
    {"add_groups", add_groups},
    {"hostname_change", hostname_change},
    {"domainname_change", domainname_change},
    {"clock_set", clock_set},
    {"clock_adjust", clock_adjust},
    {"reboot", reboot_host},
    {"kexec", kexec},
    {"load_module", load_module},
    {"unload_module", unload_module},
    {"process_accounting", process_accounting},
    {"fanotify", fanotify},
    {"nicer", nicer},
    {"realtime", realtime},
    {"io_priority", io_priority},
    {"oom_score", oom_score},
    {"raise_limit", raise_limit},
    {"make_char_device", make_char_device},
    {"make_block_device", make_block_device},
    {"planted_device", planted_device},
    {NULL, NULL},
};
