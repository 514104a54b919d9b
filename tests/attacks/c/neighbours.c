/* The host and other sandboxes: sockets, IPC, secrets, files (16, 18, 46 to 53). */
#include <arpa/inet.h>
#include <dirent.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>

#include "attack.h"

static int connect_abstract(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = must_arg("abstract");
    size_t length = strlen(name);
    memcpy(to.sun_path + 1, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    if (connect(fd, (struct sockaddr *)&to, size) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int abstract_socket(void)
{
    return by_result("connect to an abstract socket", connect_abstract());
}

/* The bait hands out a directory of the host's to whoever connects. */
static int descriptor_from_outside(void)
{
    int fd = connect_abstract(), dir = -1;
    if (fd < 0)
        return blocked("connect");
    char byte, room[CMSG_SPACE(sizeof dir)];
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = room,
                             .msg_controllen = sizeof room};
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0)
        return blocked("recvmsg");
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head)
        return blocked_because("no descriptor came");
    memcpy(&dir, CMSG_DATA(head), sizeof dir);
    int file = openat(dir, "secret", O_RDONLY | O_CLOEXEC);
    return file >= 0 && holds_secret(file) ? succeeded("a host file through a passed descriptor")
                                           : blocked("openat below the passed descriptor");
}

static int loopback(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(must_arg("port"))),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return blocked("socket");
    return by_result("connect to the host's loopback", connect(fd, (struct sockaddr *)&to, sizeof to));
}

static int interfaces(void)
{
    struct if_nameindex *list = if_nameindex();
    if (!list)
        return blocked("if_nameindex");
    for (struct if_nameindex *at = list; at->if_index; at++)
        if (strcmp(at->if_name, "lo") != 0)
            return succeeded("interface %s", at->if_name);
    if_freenameindex(list);
    return blocked_because("only lo exists");
}

/* A route to anywhere: UDP connect asks the routing table and sends nothing. */
static int route_out(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return blocked("socket");
    return by_result("a route to 192.0.2.1", connect(fd, (struct sockaddr *)&to, sizeof to));
}

static int metadata_address(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "169.254.169.254", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return blocked("socket");
    return by_result("a route to the metadata address",
                     connect(fd, (struct sockaddr *)&to, sizeof to));
}

static int sysv_shm(void)
{
    char *at = shmat(atoi(must_arg("shm")), NULL, SHM_RDONLY);
    if (at == (void *)-1)
        return blocked("shmat");
    return !strcmp(at, BAIT_SECRET) ? succeeded("the host's shared memory was read")
                                    : blocked_because("other memory has this id");
}

static int sysv_msg(void)
{
    struct msqid_ds state;
    return by_result("msgctl(IPC_STAT)", msgctl(atoi(must_arg("msg")), IPC_STAT, &state));
}

static int sysv_sem(void)
{
    struct semid_ds state;
    union {
        int value;
        struct semid_ds *state;
    } room = {.state = &state};
    return by_result("semctl(IPC_STAT)", semctl(atoi(must_arg("sem")), 0, IPC_STAT, room));
}

static int posix_queue(void)
{
    return by_result("mq_open of the host's", mq_open(must_arg("mq"), O_RDONLY | O_NONBLOCK));
}

static int dev_shm_file(void)
{
    int fd = open(must_arg("devshm"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return blocked("the host's /dev/shm");
    return holds_secret(fd) ? succeeded("the host's /dev/shm was read")
                            : blocked_because("another file");
}

static int same_hostname(void)
{
    char name[128] = "";
    if (gethostname(name, sizeof name - 1) != 0)
        return blocked("gethostname");
    return !strcmp(name, must_arg("hostname")) ? succeeded("the host's name is %s", name)
                                               : blocked_because("a name of its own: %s", name);
}

static int machine_id(void)
{
    static const char *const paths[] = {"/etc/machine-id", "/var/lib/dbus/machine-id",
                                        "/etc/hostid", NULL};
    for (const char *const *p = paths; *p; p++) {
        char text[64];
        if (slurp(*p, text, sizeof text) > 8)
            return succeeded("%s names the host", *p);
    }
    return blocked("machine-id");
}

/* The launching process has it in its environment: the sandbox must not. */
static int host_variable(void)
{
    const char *value = getenv("LAKEKEEP_ATTACK_SECRET");
    if (value)
        return succeeded("LAKEKEEP_ATTACK_SECRET=%s", value);
    return blocked_because("the variable is not there");
}

static int read_hidden(void)
{
    int fd = open(must_arg("hidden"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return blocked("the host's file");
    return holds_secret(fd) ? succeeded("the host's file was read") : broken("another file");
}

static int shadow(void)
{
    static const char *const paths[] = {"/etc/shadow", "/etc/gshadow", "/etc/shadow-",
                                        "/etc/sudoers", NULL};
    return any_opens(paths, O_RDONLY);
}

static int host_keys(void)
{
    static const char *const paths[] = {
        "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key", "/root/.ssh",
        "/root/.bashrc",  "/root/.profile", "/etc/ssl/private", NULL};
    return any_opens(paths, O_RDONLY);
}

static int lists(const char *dir)
{
    DIR *list = opendir(dir);
    if (!list)
        return 0;
    struct dirent *entry;
    int names = 0;
    while ((entry = readdir(list)))
        /* /run/lakekeep and /run/secrets are the sandbox's own. */
        names += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                 strcmp(entry->d_name, "lakekeep") != 0 && strcmp(entry->d_name, "secrets") != 0;
    closedir(list);
    return names;
}

static int host_directories(void)
{
    static const char *const dirs[] = {"/root", "/boot", "/var/log", "/var/lib", "/var/spool",
                                       "/srv",  "/run",  "/var/cache", "/var/backups"};
    for (size_t i = 0; i < COUNT(dirs); i++)
        if (lists(dirs[i]) > 0)
            return succeeded("%s lists the host's", dirs[i]);
    return blocked_because("none of them lists anything");
}

/* What docker.sock is elsewhere: a service of the host's behind a path. */
static int service_socket(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", must_arg("service"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return blocked("socket");
    return by_result("connect to the host's service", connect(fd, (struct sockaddr *)&to, sizeof to));
}

/* The places that a sandbox may write. */
static int is_scratch(const char *path)
{
    static const char *const own[] = {"/tmp", "/home/user", "/dev/shm", "/var/tmp"};
    for (size_t i = 0; i < COUNT(own); i++)
        if (!strncmp(path, own[i], strlen(own[i])))
            return 1;
    const char *rw = arg("rw");
    return rw && !strncmp(path, rw, strlen(rw));
}

static int creates_in(const char *dir)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/.attack-%d", dir, getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return 0;
    close(fd);
    unlink(path);
    return 1;
}

static int write_directories(void)
{
    static const char *const dirs[] = {"/",    "/usr", "/usr/bin", "/usr/lib", "/etc",  "/bin",
                                       "/lib", "/opt", "/var",     "/root",    "/home", "/dev",
                                       "/run", "/sys", "/mnt",     "/srv",     "/proc", "/sbin"};
    for (size_t i = 0; i < COUNT(dirs); i++)
        if (creates_in(dirs[i]))
            return succeeded("a file was made in %s", dirs[i]);
    return blocked("a new file");
}

static int write_mounts(void)
{
    static char text[65536];
    if (slurp("/proc/self/mounts", text, sizeof text) < 0)
        return blocked("/proc/self/mounts");
    errno = EROFS;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char dir[1024];
        if (sscanf(line, "%*s %1023s", dir) == 1 && !is_scratch(dir) && creates_in(dir))
            return succeeded("a file was made in %s", dir);
    }
    return blocked("a new file in a mount");
}

/* nosuid and nodev everywhere; what can be written must not be shared. */
static int mount_flags(void)
{
    static char text[65536];
    if (slurp("/proc/self/mounts", text, sizeof text) < 0)
        return blocked("/proc/self/mounts");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char dir[1024];
        struct statvfs flags;
        if (sscanf(line, "%*s %1023s", dir) != 1 || statvfs(dir, &flags) != 0)
            continue;
        if (!(flags.f_flag & ST_NOSUID))
            return succeeded("%s honours set-uid files", dir);
    }
    return blocked_because("every mount is nosuid");
}

static int read_only_volume(void)
{
    char path[256];
    must_path(path, sizeof path, "ro", "data");
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        return succeeded("%s is open for writing", path);
    int error = errno;
    if (access(path, R_OK) != 0)
        return broken("%s cannot be read: %s", path, strerror(errno));
    errno = error;
    return creates_in(must_arg("ro")) ? succeeded("a file was made") : blocked(path);
}

static int through_link(const char *target)
{
    char path[256];
    must_path(path, sizeof path, "rw", "attack-link");
    unlink(path);
    if (symlink(target, path) != 0)
        return blocked("symlink in the volume");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = errno;
    unlink(path);
    errno = error;
    if (fd < 0)
        return blocked("open through a link in the volume");
    return holds_secret(fd) ? succeeded("the host's file through a link")
                            : blocked_because("another file");
}

static int link_absolute(void)
{
    return through_link(must_arg("hidden"));
}

static int link_relative(void)
{
    return through_link("../hidden/secret");
}

static int climb_from_volume(void)
{
    char path[256];
    must_path(path, sizeof path, "rw", "../hidden/secret");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return blocked("open above the volume");
    return holds_secret(fd) ? succeeded("the host's file above the volume")
                            : blocked_because("another file");
}

/* A hard link of a file that is not the volume's keeps it, or moves it out. */
static int hard_link(void)
{
    char path[256], ro[256];
    must_path(path, sizeof path, "rw", "attack-hard");
    must_path(ro, sizeof ro, "ro", "data");
    const char *const targets[] = {must_arg("hidden"), ro, "/usr/bin/env", "/etc/passwd"};
    for (size_t i = 0; i < COUNT(targets); i++) {
        unlink(path);
        if (linkat(AT_FDCWD, targets[i], AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0) {
            unlink(path);
            return succeeded("%s was linked into the volume", targets[i]);
        }
    }
    return blocked("linkat");
}

const struct attack neighbour_attacks[] = {
    {"abstract_socket", abstract_socket},
    {"descriptor_from_outside", descriptor_from_outside},
    {"loopback", loopback},
    {"interfaces", interfaces},
    {"route_out", route_out},
    {"metadata_address", metadata_address},
    {"sysv_shm", sysv_shm},
    {"sysv_msg", sysv_msg},
    {"sysv_sem", sysv_sem},
    {"posix_queue", posix_queue},
    {"dev_shm_file", dev_shm_file},
    {"same_hostname", same_hostname},
    {"machine_id", machine_id},
    {"host_variable", host_variable},
    {"read_hidden", read_hidden},
    {"shadow", shadow},
    {"host_keys", host_keys},
    {"host_directories", host_directories},
    {"service_socket", service_socket},
    {"write_directories", write_directories},
    {"write_mounts", write_mounts},
    {"mount_flags", mount_flags},
    {"read_only_volume", read_only_volume},
    {"link_absolute", link_absolute},
    {"link_relative", link_relative},
    {"climb_from_volume", climb_from_volume},
    {"hard_link", hard_link},
    {NULL, NULL},
};
