/* What comes before a case outside the sandbox, so that it harms nobody:
 *   n m u i p c g U   fresh net, mount, uts, ipc, pid, cgroup, user namespaces
 *                     (g: a control group of its own)
 *   o                 an ordinary user, the one in uid=…
 *   t                 a new session without a terminal
 * And the bait: the host's side of the cases about neighbours. */
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "attack.h"

static char group_dir[128];

static int join_group(void)
{
    static const char *const parents[] = {"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified",
                                          "/sys/fs/cgroup", NULL};
    for (const char *const *p = parents; *p; p++) {
        snprintf(group_dir, sizeof group_dir, "%s/attack-%d", *p, getpid());
        if (mkdir(group_dir, 0755) != 0)
            continue;
        char path[160], text[16];
        snprintf(path, sizeof path, "%s/cgroup.procs", group_dir);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        int length = snprintf(text, sizeof text, "%d", getpid());
        int done = fd >= 0 && write(fd, text, (size_t)length) == length;
        if (fd >= 0)
            close(fd);
        if (done)
            return 0;
        rmdir(group_dir);
    }
    group_dir[0] = 0;
    return broken("no control group could be made: %s", strerror(errno));
}

void undo(void)
{
    if (!group_dir[0])
        return;
    char path[160], text[16];
    const char *name = strrchr(group_dir, '/');
    snprintf(path, sizeof path, "%.*s/cgroup.procs", (int)(name - group_dir), group_dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int length = snprintf(text, sizeof text, "%d", getpid());
    if (fd < 0 || write(fd, text, (size_t)length) != length || rmdir(group_dir) != 0)
        broken("cannot remove %s: %s", group_dir, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static int map_id(const char *file, unsigned inside, unsigned outside)
{
    char path[64], text[48];
    snprintf(path, sizeof path, "/proc/self/%s", file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int length = snprintf(text, sizeof text, "%u %u 1", inside, outside);
    int done = fd >= 0 && write(fd, text, (size_t)length) == length;
    if (fd >= 0)
        close(fd);
    return done ? 0 : broken("%s: %s", path, strerror(errno));
}

static int fresh_user(void)
{
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0)
        return broken("unshare(CLONE_NEWUSER): %s", strerror(errno));
    int fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "deny", 4) != 4)
        return broken("setgroups: %s", strerror(errno));
    close(fd);
    int failed = map_id("uid_map", 0, uid);
    return failed ? failed : map_id("gid_map", 0, gid);
}

static int fresh(int flag, char letter)
{
    if (unshare(flag) != 0)
        return broken("unshare for step %c: %s", letter, strerror(errno));
    if (letter == 'm' && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return broken("private mounts: %s", strerror(errno));
    return 0;
}

static int ordinary(void)
{
    unsigned id = (unsigned)atoi(must_arg("uid"));
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        return broken("cannot become user %u: %s", id, strerror(errno));
    /* A change of user takes a process's own memory out of its children's reach. */
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 ? 0 : broken("dumpable: %s", strerror(errno));
}

static int step(char letter)
{
    switch (letter) {
    case 'n': return fresh(CLONE_NEWNET, letter);
    case 'm': return fresh(CLONE_NEWNS, letter);
    case 'u': return fresh(CLONE_NEWUTS, letter);
    case 'i': return fresh(CLONE_NEWIPC, letter);
    case 'p': return fresh(CLONE_NEWPID, letter);
    case 'c': return fresh(CLONE_NEWCGROUP, letter);
    case 'U': return fresh_user();
    case 'g': return join_group();
    case 'o': return ordinary();
    case 't':
        setsid();
        return 0;
    default: return broken("unknown step %c", letter);
    }
}

int prepare(const char *flags)
{
    for (; *flags; flags++) {
        int failed = step(*flags);
        if (failed)
            return failed;
    }
    return 0;
}

/* Exit 0 when the file's set-uid bit or capabilities took effect. */
int whoami(const char *what)
{
    char status[4096];
    if (slurp("/proc/self/status", status, sizeof status) < 0)
        return broken("/proc/self/status: %s", strerror(errno));
    const char *caps = strstr(status, "CapEff:");
    unsigned long long effective = caps ? strtoull(caps + 7, NULL, 16) : 0;
    if (geteuid() != getuid())
        return succeeded("%s runs as uid %d for uid %d", what, geteuid(), getuid());
    if (getuid() != 0 && effective != 0)
        return succeeded("%s has capabilities %llx", what, effective);
    return blocked_because("uid %d, euid %d, capabilities %llx", getuid(), geteuid(), effective);
}
