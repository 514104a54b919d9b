/* The host's side: secrets, sockets and IPC objects that a sandbox must not
 * reach. Prints what it made as key=value lines, then `ready`, serves until its
 * stdin ends, and removes what it made. */
#include <linux/capability.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "attack.h"

static int write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return -1;
    size_t length = strlen(text);
    int done = write(fd, text, length) == (ssize_t)length && fchmod(fd, mode) == 0;
    close(fd);
    return done ? 0 : -1;
}

static int copy_self(const char *path, mode_t mode)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    char buf[65536];
    ssize_t n = -1;
    if (from >= 0 && to >= 0)
        while ((n = read(from, buf, sizeof buf)) > 0 && write(to, buf, (size_t)n) == n)
            ;
    if (to >= 0 && n == 0 && fchmod(to, mode) != 0)
        n = -1;
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return n == 0 ? 0 : -1;
}

/* Files that only root can plant; an ordinary user's bait goes without. */
static void plant_privileged(const char *base)
{
    char path[256];
    struct vfs_cap_data caps = {
        .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
        .data = {{.permitted = 1u << CAP_SYS_ADMIN}},
    };
    snprintf(path, sizeof path, "%s/rw/fcap", base);
    if (copy_self(path, 0755) == 0 &&
        setxattr(path, "security.capability", &caps, XATTR_CAPS_SZ_2, 0) == 0)
        puts("fcap=1");
    snprintf(path, sizeof path, "%s/rw/suid", base);
    if (geteuid() == 0 && copy_self(path, 04755) == 0)
        puts("suid=1");
    snprintf(path, sizeof path, "%s/rw/kmsg", base);
    if (mknod(path, S_IFCHR | 0666, makedev(1, 11)) == 0 && chmod(path, 0666) == 0)
        puts("device=1");
}

static int plant_files(const char *base)
{
    static const char *const dirs[] = {"", "/rw", "/ro", "/hidden"};
    char path[256];
    for (size_t i = 0; i < COUNT(dirs); i++) {
        snprintf(path, sizeof path, "%s%s", base, dirs[i]);
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return broken("mkdir %s: %s", path, strerror(errno));
        if (chmod(path, i == 1 || i == 2 ? 0777 : 0755) != 0)
            return broken("chmod %s: %s", path, strerror(errno));
    }
    snprintf(path, sizeof path, "%s/hidden/secret", base);
    if (write_file(path, BAIT_SECRET "\n", 0644) != 0)
        return broken("%s: %s", path, strerror(errno));
    printf("base=%s\nhidden=%s\n", base, path);
    snprintf(path, sizeof path, "%s/ro/data", base);
    if (write_file(path, "data\n", 0666) != 0)
        return broken("%s: %s", path, strerror(errno));
    plant_privileged(base);
    return 0;
}

static int listen_abstract(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int length = snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "lakekeep-bait-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)length;
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, size) != 0 || listen(fd, 64) != 0)
        return -1;
    printf("abstract=%s\n", to.sun_path + 1);
    return fd;
}

static int listen_path(const char *base)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s/hidden/service", base);
    unlink(to.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) != 0 || listen(fd, 64) != 0 ||
        chmod(to.sun_path, 0777) != 0)
        return -1;
    printf("service=%s\n", to.sun_path);
    return fd;
}

static int listen_loopback(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, size) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&to, &size) != 0)
        return -1;
    printf("port=%d\n", ntohs(to.sin_port));
    return fd;
}

struct ipc {
    int shm, msg, sem;
    mqd_t queue;
    char queue_name[64], shm_file[64];
};

static int plant_ipc(struct ipc *ipc)
{
    struct {
        long type;
        char text[32];
    } message = {1, BAIT_SECRET};
    ipc->shm = shmget(IPC_PRIVATE, 4096, 0666 | IPC_CREAT);
    ipc->msg = msgget(IPC_PRIVATE, 0666 | IPC_CREAT);
    ipc->sem = semget(IPC_PRIVATE, 1, 0666 | IPC_CREAT);
    snprintf(ipc->queue_name, sizeof ipc->queue_name, "/lakekeep-bait-%d", getpid());
    struct mq_attr shape = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mode_t mask = umask(0);
    ipc->queue = mq_open(ipc->queue_name, O_RDWR | O_CREAT | O_NONBLOCK, 0666, &shape);
    umask(mask);
    snprintf(ipc->shm_file, sizeof ipc->shm_file, "/dev/shm/lakekeep-bait-%d", getpid());
    if (ipc->shm < 0 || ipc->msg < 0 || ipc->sem < 0)
        return broken("IPC objects: %s", strerror(errno));
    char *at = shmat(ipc->shm, NULL, 0);
    if (at == (void *)-1)
        return broken("shmat: %s", strerror(errno));
    strcpy(at, BAIT_SECRET);
    shmdt(at);
    /* A bait that is itself inside a sandbox has no message queues. */
    if (ipc->queue >= 0 && mq_send(ipc->queue, BAIT_SECRET, sizeof BAIT_SECRET, 0) == 0)
        printf("mq=%s\n", ipc->queue_name);
    if (msgsnd(ipc->msg, &message, sizeof message.text, 0) != 0 ||
        write_file(ipc->shm_file, BAIT_SECRET, 0644) != 0)
        return broken("IPC contents: %s", strerror(errno));
    printf("shm=%d\nmsg=%d\nsem=%d\ndevshm=%s\n", ipc->shm, ipc->msg, ipc->sem, ipc->shm_file);
    return 0;
}

static void remove_ipc(const struct ipc *ipc)
{
    shmctl(ipc->shm, IPC_RMID, NULL);
    msgctl(ipc->msg, IPC_RMID, NULL);
    semctl(ipc->sem, 0, IPC_RMID);
    mq_unlink(ipc->queue_name);
    unlink(ipc->shm_file);
}

/* Hands out a descriptor of the host's directory: whoever gets it is out. */
static void hand_out(int client, int dir)
{
    char byte = '!';
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &dir, sizeof dir);
    sendmsg(client, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Each connection is accepted and closed; on the abstract socket, after the
 * descriptor was handed over. */
static void serve(int abstract, int loopback, int service, int dir)
{
    struct pollfd on[] = {
        {0, POLLIN, 0}, {abstract, POLLIN, 0}, {loopback, POLLIN, 0}, {service, POLLIN, 0}};
    char buf[64];
    for (;;) {
        if (poll(on, COUNT(on), -1) < 0 && errno != EINTR)
            return;
        if (on[0].revents && read(0, buf, sizeof buf) <= 0)
            return;
        for (size_t i = 1; i < COUNT(on); i++) {
            int client = on[i].revents ? accept(on[i].fd, NULL, NULL) : -1;
            if (client < 0)
                continue;
            if (i == 1)
                hand_out(client, dir);
            close(client);
        }
    }
}

static void print_namespaces(void)
{
    static const char *const names[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
    char path[64], target[64];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n > 0)
            printf("ns_%s=%.*s\n", names[i], (int)n, target);
    }
    if (gethostname(target, sizeof target) == 0)
        printf("hostname=%s\n", target);
}

int bait(void)
{
    const char *base = must_arg("base");
    struct ipc ipc;
    umask(022);
    if (plant_files(base) != 0 || plant_ipc(&ipc) != 0)
        return BROKEN;
    int abstract = listen_abstract(), loopback = listen_loopback(), service = listen_path(base);
    char hidden[256];
    snprintf(hidden, sizeof hidden, "%s/hidden", base);
    int dir = open(hidden, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (abstract < 0 || loopback < 0 || service < 0 || dir < 0) {
        remove_ipc(&ipc);
        return broken("sockets: %s", strerror(errno));
    }
    print_namespaces();
    printf("pid=%d\nready\n", getpid());
    fflush(stdout);
    serve(abstract, loopback, service, dir);
    remove_ipc(&ipc);
    return 0;
}
