/* /proc, /sys and /dev: switches, leaks and device nodes (6, 24, 29, 30, 51). */
#include <dirent.h>
#include <sys/klog.h>
#include <sys/sysmacros.h>

#include "attack.h"

static int core_pattern(void)
{
    static const char *const paths[] = {"/proc/sys/kernel/core_pattern", NULL};
    return any_opens(paths, O_WRONLY);
}

static int sysrq(void)
{
    static const char *const paths[] = {"/proc/sysrq-trigger", "/proc/sys/kernel/sysrq", NULL};
    return any_opens(paths, O_WRONLY);
}

/* Programs that the kernel runs as the host's root. */
static int kernel_helpers(void)
{
    static const char *const paths[] = {
        "/proc/sys/kernel/modprobe",       "/proc/sys/kernel/hotplug",
        "/sys/kernel/uevent_helper",       "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/kernel/usermodehelper/bset", NULL};
    return any_opens(paths, O_WRONLY);
}

static int binfmt(void)
{
    static const char *const paths[] = {"/proc/sys/fs/binfmt_misc/register", NULL};
    return any_opens(paths, O_WRONLY);
}

/* Depth-first: the first file that opens for writing ends the walk. */
static int writable_below(const char *dir, int depth, char *found, size_t size)
{
    DIR *list = depth > 0 ? opendir(dir) : NULL;
    if (!list)
        return 0;
    struct dirent *entry;
    int hit = 0;
    while (!hit && (entry = readdir(list))) {
        char path[1024];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path)
            continue;
        if (entry->d_type == DT_DIR) {
            hit = writable_below(path, depth - 1, found, size);
        } else if (entry->d_type == DT_REG) {
            int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0) {
                close(fd);
                snprintf(found, size, "%s", path);
                hit = 1;
            }
        }
    }
    closedir(list);
    return hit;
}

static int writable_sysctl(void)
{
    char found[1024];
    return writable_below("/proc/sys", 6, found, sizeof found)
               ? succeeded("%s is open for writing", found)
               : blocked_because("nothing below /proc/sys opens for writing");
}

static int writable_sysfs(void)
{
    char found[1024];
    return writable_below("/sys", 5, found, sizeof found)
               ? succeeded("%s is open for writing", found)
               : blocked_because("nothing below /sys opens for writing");
}

/* Everything in /proc that belongs to no process. */
static int writable_proc(void)
{
    static const char *const dirs[] = {"/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi",
                                       "/proc/scsi", "/proc/tty", "/proc/driver"};
    static const char *const files[] = {"/proc/mtrr", "/proc/timer_stats", "/proc/latency_stats",
                                        "/proc/sched_debug", "/proc/slabinfo", "/proc/kcore",
                                        "/proc/sysrq-trigger", NULL};
    char found[1024];
    for (size_t i = 0; i < COUNT(dirs); i++)
        if (writable_below(dirs[i], 4, found, sizeof found))
            return succeeded("%s is open for writing", found);
    return any_opens(files, O_WRONLY);
}

static int kmsg_read(void)
{
    static const char *const paths[] = {"/dev/kmsg", "/proc/kmsg", NULL};
    return any_opens(paths, O_RDONLY);
}

static int kmsg_write(void)
{
    static const char *const paths[] = {"/dev/kmsg", NULL};
    return any_opens(paths, O_WRONLY);
}

static int syslog_read(void)
{
    char buf[256];
    int n = klogctl(3, buf, sizeof buf);
    return by_result("syslog(READ_ALL)", n);
}

static int kallsyms(void)
{
    static char text[65536];
    if (slurp("/proc/kallsyms", text, sizeof text) < 0)
        return blocked("/proc/kallsyms");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strtoull(line, NULL, 16) != 0)
            return succeeded("a kernel address: %s", line);
    return blocked_because("no kernel address in /proc/kallsyms");
}

static int kcore(void)
{
    static const char *const paths[] = {"/proc/kcore", NULL};
    return any_opens(paths, O_RDONLY);
}

/* Content from procfs itself, not from a stand-in mounted over it. */
static int leaks(const char *const *paths)
{
    int error = ENOENT;
    for (; *paths; paths++) {
        char word[8]; /* the page files give whole words only */
        int fd = open(*paths, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
            error = errno;
            continue;
        }
        int real = on_procfs(fd) && read(fd, word, sizeof word) > 0;
        close(fd);
        if (real)
            return succeeded("%s shows the host's", *paths);
        error = ENODATA;
    }
    errno = error;
    return blocked("every one of them");
}

static int leak_load(void)
{
    static const char *const paths[] = {"/proc/loadavg", NULL};
    return leaks(paths);
}

static int leak_stat(void)
{
    static const char *const paths[] = {"/proc/stat", "/proc/schedstat", "/proc/softirqs",
                                        "/proc/interrupts", NULL};
    return leaks(paths);
}

static int leak_disks(void)
{
    static const char *const paths[] = {"/proc/diskstats", "/proc/partitions", "/proc/swaps",
                                        "/proc/mdstat", NULL};
    return leaks(paths);
}

static int leak_pressure(void)
{
    static const char *const paths[] = {"/proc/pressure/cpu", "/proc/pressure/io",
                                        "/proc/pressure/memory", NULL};
    return leaks(paths);
}

static int leak_memory(void)
{
    static const char *const paths[] = {"/proc/meminfo",     "/proc/vmstat",  "/proc/zoneinfo",
                                        "/proc/buddyinfo",   "/proc/slabinfo",
                                        "/proc/pagetypeinfo", "/proc/vmallocinfo", NULL};
    return leaks(paths);
}

static int leak_pages(void)
{
    static const char *const paths[] = {"/proc/kpagecount", "/proc/kpageflags",
                                        "/proc/kpagecgroup", NULL};
    return leaks(paths);
}

static int leak_cmdline(void)
{
    static const char *const paths[] = {"/proc/cmdline", "/proc/bootconfig", NULL};
    return leaks(paths);
}

static int leak_config(void)
{
    static const char *const paths[] = {"/proc/config.gz", NULL};
    return leaks(paths);
}

static int leak_hardware(void)
{
    static const char *const paths[] = {"/proc/iomem", "/proc/ioports", "/proc/dma",
                                        "/proc/devices", "/proc/misc", "/proc/modules",
                                        "/proc/consoles", NULL};
    return leaks(paths);
}

static int leak_timers(void)
{
    static const char *const paths[] = {"/proc/timer_list", "/proc/sched_debug", "/proc/locks",
                                        NULL};
    return leaks(paths);
}

static int leak_keys(void)
{
    static const char *const paths[] = {"/proc/keys", "/proc/key-users", NULL};
    return leaks(paths);
}

static int leak_crypto(void)
{
    static const char *const paths[] = {"/proc/crypto", "/proc/asound/cards", NULL};
    return leaks(paths);
}

static int leak_firmware(void)
{
    static const char *const paths[] = {"/sys/firmware/acpi/tables",
                                        "/sys/firmware/dmi/tables/DMI",
                                        "/sys/firmware/memmap/0/start",
                                        "/sys/class/dmi/id/product_uuid",
                                        "/sys/devices/virtual/powercap",
                                        "/sys/kernel/notes",
                                        "/sys/kernel/vmcoreinfo",
                                        NULL};
    return any_opens(paths, O_RDONLY);
}

static int debugfs(void)
{
    static const char *const dirs[] = {"/sys/kernel/debug", "/sys/kernel/tracing",
                                       "/sys/fs/bpf", "/sys/kernel/security"};
    errno = ENOENT;
    for (size_t i = 0; i < COUNT(dirs); i++) {
        DIR *list = opendir(dirs[i]);
        if (!list)
            continue;
        struct dirent *entry;
        int names = 0;
        while ((entry = readdir(list)))
            names += entry->d_name[0] != '.';
        closedir(list);
        if (names > 0)
            return succeeded("%s lists %d entries", dirs[i], names);
    }
    return blocked("debugfs");
}

static int devices_open(void)
{
    static const char *const paths[] = {"/dev/mem",  "/dev/port",        "/dev/kvm",
                                        "/dev/vda",  "/dev/sda",         "/dev/nvme0n1",
                                        "/dev/fuse", "/dev/loop-control", "/dev/loop0",
                                        "/dev/zram0", "/dev/userfaultfd", "/dev/hwrng",
                                        "/dev/cpu/0/msr", "/dev/net/tun", "/dev/vhost-net", NULL};
    return any_opens(paths, O_RDONLY);
}

/* The nodes a process needs, by device number: nothing else may exist. */
static int is_common(dev_t device)
{
    unsigned major = major(device), minor = minor(device);
    if (major == 1)
        return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
    if (major == 5)
        return minor == 0 || minor == 2;
    return major >= 136 && major <= 143;
}

static int devices_listed(void)
{
    DIR *list = opendir("/dev");
    if (!list)
        return blocked("/dev");
    struct dirent *entry;
    char path[512];
    int hit = 0;
    while (!hit && (entry = readdir(list))) {
        struct stat node;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        hit = lstat(path, &node) == 0 && (S_ISCHR(node.st_mode) || S_ISBLK(node.st_mode)) &&
              !is_common(node.st_rdev);
    }
    closedir(list);
    return hit ? succeeded("%s exists", path) : blocked_because("only the common nodes exist");
}

const struct attack procfs_attacks[] = {
    {"core_pattern", core_pattern},
    {"sysrq", sysrq},
    {"kernel_helpers", kernel_helpers},
    {"binfmt", binfmt},
    {"writable_sysctl", writable_sysctl},
    {"writable_sysfs", writable_sysfs},
    {"writable_proc", writable_proc},
    {"kmsg_read", kmsg_read},
    {"kmsg_write", kmsg_write},
    {"syslog_read", syslog_read},
    {"kallsyms", kallsyms},
    {"kcore", kcore},
    {"leak_load", leak_load},
    {"leak_stat", leak_stat},
    {"leak_disks", leak_disks},
    {"leak_pressure", leak_pressure},
    {"leak_memory", leak_memory},
    {"leak_pages", leak_pages},
    {"leak_cmdline", leak_cmdline},
    {"leak_config", leak_config},
    {"leak_hardware", leak_hardware},
    {"leak_timers", leak_timers},
    {"leak_keys", leak_keys},
    {"leak_crypto", leak_crypto},
    {"leak_firmware", leak_firmware},
    {"debugfs", debugfs},
    {"devices_open", devices_open},
    {"devices_listed", devices_listed},
    {NULL, NULL},
};
