/* Helpers of the cases: files and victims. */
#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "attack.h"

ssize_t slurp(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t have = 0;
    while (have + 1 < size) {
        ssize_t n = read(fd, buf + have, size - 1 - have);
        if (n < 0) {
            close(fd);
            return -1;
        }
        if (n == 0)
            break;
        have += (size_t)n;
    }
    close(fd);
    buf[have] = 0;
    return (ssize_t)have;
}

int on_procfs(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

int holds_secret(int fd)
{
    char buf[64] = {0};
    return read(fd, buf, sizeof buf - 1) > 0 && strstr(buf, BAIT_SECRET) != NULL;
}

/* What covers a masked file. */
static int is_null_device(int fd)
{
    struct stat node;
    return fstat(fd, &node) == 0 && S_ISCHR(node.st_mode) && node.st_rdev == makedev(1, 3);
}

int any_opens(const char *const *paths, int flags)
{
    const char *last = "no path";
    int error = ENOENT;
    for (; *paths; paths++) {
        int fd = open(*paths, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0 && !is_null_device(fd)) {
            close(fd);
            return succeeded("opened %s", *paths);
        }
        if (fd >= 0) {
            close(fd);
            errno = ENODATA;
        }
        last = *paths;
        /* The most telling reason, not the last missing file. */
        if (errno != ENOENT || error == ENOENT)
            error = errno;
    }
    errno = error;
    return blocked(last);
}

/* Ours: this process and, unless inline, the parent that only waits for it. */
static int is_ours(pid_t pid)
{
    if (pid == getpid())
        return 1;
    if (pid != getppid())
        return 0;
    struct stat self, parent;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    return stat("/proc/self/exe", &self) == 0 && stat(path, &parent) == 0 &&
           self.st_dev == parent.st_dev && self.st_ino == parent.st_ino;
}

int any_victim(probe_fn probe, void *state)
{
    const char *bait_pid = arg("pid");
    errno = ESRCH;
    if (bait_pid && !is_ours(atoi(bait_pid)) && probe(atoi(bait_pid), state))
        return 1;
    if (!arg("scan"))
        return 0;
    int telling = errno;
    /* By number and not by listing: a hidden process can still be named. */
    for (pid_t pid = 1; pid < 512; pid++) {
        if (is_ours(pid))
            continue;
        errno = ESRCH;
        if (probe(pid, state))
            return 1;
        if (errno != ESRCH && errno != ENOENT)
            telling = errno;
    }
    errno = telling;
    return 0;
}

struct opening {
    const char *name;
    int flags;
};

static int open_below(pid_t pid, void *state)
{
    const struct opening *opening = state;
    char path[96], byte;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, opening->name);
    int fd = open(path, opening->flags | O_CLOEXEC);
    if (fd < 0)
        return 0;
    /* Some files open and then refuse, or give nothing. */
    int reached = (opening->flags & O_DIRECTORY) || !strcmp(opening->name, "mem") ||
                  (opening->flags & O_PATH) || read(fd, &byte, 1) > 0;
    int error = reached ? 0 : EACCES;
    close(fd);
    if (reached)
        dprintf(STDERR_FILENO, "attack: reached %s\n", path);
    errno = error;
    return reached;
}

int open_victims(const char *name, int flags)
{
    struct opening opening = {name, flags};
    if (any_victim(open_below, &opening))
        return succeeded("a foreign process's %s is open", name);
    return blocked(name);
}
