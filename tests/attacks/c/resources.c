/* More than the limits given to the sandbox (35 to 45). Each asks for several
 * times its limit: getting it all is the success. */
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <time.h>

#include "attack.h"

#define MIB (1024l * 1024)
/* The limits that the cases' flags set: see src/table/resources.rs. */
enum { WANT_PROCESSES = 200, WANT_FDS = 1000, WANT_INODES = 5000 };
#define WANT_MEMORY (384 * MIB)
#define WANT_SCRATCH (96 * MIB)
#define WANT_FILE (32 * MIB)
#define WANT_OUTPUT (64 * MIB)

/* The soft limit of descriptors must not be what stops a case about memory. */
static void many_descriptors(void)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) == 0) {
        now.rlim_cur = now.rlim_max;
        setrlimit(RLIMIT_NOFILE, &now);
    }
}

static int fork_bomb(void)
{
    static pid_t children[WANT_PROCESSES];
    int made = 0, error = 0;
    while (made < WANT_PROCESSES) {
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        if (child < 0) {
            error = errno;
            break;
        }
        children[made++] = child;
    }
    for (int i = 0; i < made; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    errno = error;
    return made == WANT_PROCESSES ? succeeded("%d processes", made)
                                  : (dprintf(2, "attack: %d processes\n", made), blocked("fork"));
}

static void *wait_here(void *state)
{
    for (;;)
        pause();
    return state;
}

static int thread_bomb(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    for (int made = 0; made < WANT_PROCESSES; made++) {
        pthread_t thread;
        int error = pthread_create(&thread, &attr, wait_here, NULL);
        if (error != 0)
            return blocked_because("thread %d: %s", made, strerrorname_np(error));
    }
    return succeeded("%d threads", WANT_PROCESSES);
}

static int touch(const char *what, char *at, long size)
{
    if (at == MAP_FAILED)
        return blocked(what);
    for (long i = 0; i < size; i += 4096)
        at[i] = (char)i;
    return succeeded("%ld MiB of %s", size / MIB, what);
}

static int memory_bomb(void)
{
    return touch("memory", mmap(NULL, WANT_MEMORY, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), WANT_MEMORY);
}

static int shared_memory_bomb(void)
{
    return touch("shared memory", mmap(NULL, WANT_MEMORY, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0), WANT_MEMORY);
}

static int memfd_bomb(void)
{
    int fd = memfd_create("attack", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, WANT_MEMORY) != 0)
        return blocked("memfd_create");
    return touch("a memfd", mmap(NULL, WANT_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
                 WANT_MEMORY);
}

static int sysv_bomb(void)
{
    int id = shmget(IPC_PRIVATE, WANT_MEMORY, 0600 | IPC_CREAT);
    if (id < 0)
        return blocked("shmget");
    char *at = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    return touch("SysV memory", at == (void *)-1 ? MAP_FAILED : at, WANT_MEMORY);
}

/* Memory over several processes: the limit is the sandbox's, not each one's. */
static int memory_in_pieces(void)
{
    enum { PIECES = 8 };
    int bad = 0;
    pid_t children[PIECES];
    int hold[2];
    if (pipe(hold) != 0)
        return broken("pipe: %s", strerror(errno));
    for (int i = 0; i < PIECES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char *at = mmap(NULL, WANT_MEMORY / PIECES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            for (long b = 0; at != MAP_FAILED && b < WANT_MEMORY / PIECES; b += 4096)
                at[b] = 1;
            char byte = at == MAP_FAILED;
            if (write(hold[1], &byte, 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        bad |= children[i] < 0;
    }
    close(hold[1]);
    int full = 0;
    char byte;
    while (!bad && full < PIECES && read(hold[0], &byte, 1) == 1 && byte == 0) {
        full++;
        /* Killed by the OOM killer, a child is gone: then all are not there. */
        for (int i = 0; i < PIECES; i++)
            if (waitpid(children[i], NULL, WNOHANG) == children[i])
                bad = 1;
    }
    for (int i = 0; i < PIECES; i++)
        if (children[i] > 0)
            kill(children[i], SIGKILL);
    return full == PIECES && !bad ? succeeded("%ld MiB in %d processes", WANT_MEMORY / MIB, PIECES)
                                  : blocked_because("%d of %d pieces", full, PIECES);
}

/* Fills a file; the file is gone afterwards. */
static int fill(const char *dir, long want)
{
    static char chunk[256 * 1024];
    char path[256];
    snprintf(path, sizeof path, "%s/attack-fill-%d", dir, getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return blocked(path);
    signal(SIGXFSZ, SIG_IGN);
    long have = 0;
    int error = 0;
    while (have < want) {
        ssize_t n = write(fd, chunk, sizeof chunk);
        if (n <= 0) {
            error = errno;
            break;
        }
        have += n;
    }
    unlink(path);
    close(fd);
    errno = error;
    return have >= want ? succeeded("%ld MiB in %s", have / MIB, dir) : blocked(path);
}

static int fill_tmp(void)
{
    return fill("/tmp", WANT_SCRATCH);
}

static int fill_dev_shm(void)
{
    return fill("/dev/shm", WANT_SCRATCH);
}

static int fill_home(void)
{
    return fill(must_arg("home"), WANT_SCRATCH);
}

/* No more by being in three places at once. */
static int fill_together(void)
{
    const char *const dirs[] = {"/tmp", "/dev/shm", must_arg("home")};
    int fds[COUNT(dirs)], error = 0;
    long have = 0;
    static char chunk[256 * 1024];
    for (size_t i = 0; i < COUNT(dirs); i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/attack-part-%d", dirs[i], getpid());
        fds[i] = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fds[i] >= 0)
            unlink(path);
    }
    for (size_t i = 0; i < COUNT(dirs); i++)
        for (long part = 0; part < 12 * MIB && fds[i] >= 0; part += (long)sizeof chunk) {
            if (write(fds[i], chunk, sizeof chunk) != (ssize_t)sizeof chunk) {
                error = errno;
                break;
            }
            have += (long)sizeof chunk;
        }
    errno = error;
    return have >= 24 * MIB ? succeeded("%ld MiB in three places", have / MIB)
                            : blocked("write in three places");
}

static int file_size(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s", must_arg("rw"));
    return fill(path, WANT_FILE);
}

static int sparse_file(void)
{
    char path[256];
    must_path(path, sizeof path, "rw", "attack-sparse");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return broken("%s: %s", path, strerror(errno));
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    return by_result("ftruncate to 1 TiB", ftruncate(fd, 1024 * 1024 * MIB));
}

static int inode_bomb(void)
{
    char dir[64], path[128];
    snprintf(dir, sizeof dir, "/tmp/attack-inodes-%d", getpid());
    if (mkdir(dir, 0700) != 0)
        return blocked(dir);
    int made = 0, error = 0;
    for (; made < WANT_INODES; made++) {
        snprintf(path, sizeof path, "%s/%d", dir, made);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) {
            error = errno;
            break;
        }
        close(fd);
    }
    for (int i = 0; i < made; i++) {
        snprintf(path, sizeof path, "%s/%d", dir, i);
        unlink(path);
    }
    rmdir(dir);
    errno = error;
    return made == WANT_INODES ? succeeded("%d inodes", made) : blocked("the next inode");
}

static int fd_bomb(void)
{
    many_descriptors();
    for (int made = 0; made < WANT_FDS; made++)
        if (dup(0) < 0)
            return blocked("dup");
    return succeeded("%d descriptors", WANT_FDS);
}

static int watch_bomb(void)
{
    many_descriptors();
    for (int made = 0; made < WANT_FDS / 2; made++)
        if (epoll_create1(EPOLL_CLOEXEC) < 0 || eventfd(0, EFD_CLOEXEC) < 0)
            return blocked("epoll and eventfd");
    return succeeded("%d epoll and eventfd descriptors", WANT_FDS);
}

static int pipe_bomb(void)
{
    static char chunk[MIB];
    many_descriptors();
    long have = 0;
    while (have < WANT_MEMORY) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK) != 0)
            return blocked("pipe2");
        if (fcntl(ends[1], F_SETPIPE_SZ, MIB) < 0)
            return blocked("F_SETPIPE_SZ");
        ssize_t n = write(ends[1], chunk, sizeof chunk);
        if (n <= 0)
            return blocked("write to a pipe");
        have += n;
    }
    return succeeded("%ld MiB in pipes", have / MIB);
}

static int socket_bomb(void)
{
    static char chunk[64 * 1024];
    many_descriptors();
    long have = 0;
    while (have < WANT_MEMORY) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
            return blocked("socketpair");
        ssize_t n;
        while ((n = write(ends[0], chunk, sizeof chunk)) > 0)
            have += n;
    }
    return succeeded("%ld MiB in sockets", have / MIB);
}

static int output_flood(void)
{
    static char chunk[64 * 1024];
    memset(chunk, 'x', sizeof chunk);
    signal(SIGPIPE, SIG_IGN);
    for (long have = 0; have < WANT_OUTPUT; have += (long)sizeof chunk)
        for (size_t at = 0; at < sizeof chunk;) {
            ssize_t n = write(1, chunk + at, sizeof chunk - at);
            if (n <= 0)
                return blocked("write to stdout");
            at += (size_t)n;
        }
    return succeeded("%ld MiB of output", WANT_OUTPUT / MIB);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int cpu_hog(void)
{
    while (seconds(CLOCK_PROCESS_CPUTIME_ID) < 4.0)
        ;
    return succeeded("4 seconds of CPU time");
}

static int many_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return blocked("sched_getaffinity");
    if (CPU_COUNT(&set) > 1)
        return succeeded("%d CPUs", CPU_COUNT(&set));
    /* Not only told: the set cannot be widened again. */
    for (int cpu = 0; cpu < 64; cpu++)
        CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set) > 1 ? succeeded("the set was widened to %d CPUs", CPU_COUNT(&set))
                               : blocked_because("one CPU, and no more to be had");
}

static int outlast(void)
{
    struct timespec rest = {4, 0};
    signal(SIGTERM, SIG_IGN);
    signal(SIGALRM, SIG_IGN);
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        ;
    return succeeded("lived 4 seconds");
}

static int lock_memory(void)
{
    char *at = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return blocked("mmap");
    return by_result("mlock", mlock(at, 64 * MIB));
}

static int lock_all(void)
{
    char *at = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return blocked("mmap");
    return by_result("mlockall", mlockall(MCL_CURRENT));
}

static int queue_bomb(void)
{
    struct mq_attr shape = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    char name[64];
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    int made = 0, error = 0;
    many_descriptors();
    setrlimit(RLIMIT_MSGQUEUE, &all);
    for (; made < 32; made++) {
        snprintf(name, sizeof name, "/attack-%d-%d", getpid(), made);
        if (mq_open(name, O_RDWR | O_CREAT, 0600, &shape) < 0) {
            error = errno;
            break;
        }
    }
    for (int i = 0; i < made; i++) {
        snprintf(name, sizeof name, "/attack-%d-%d", getpid(), i);
        mq_unlink(name);
    }
    errno = error;
    return made == 32 ? succeeded("32 message queues") : blocked("mq_open");
}

const struct attack resource_attacks[] = {
    {"fork_bomb", fork_bomb},
    {"thread_bomb", thread_bomb},
    {"memory_bomb", memory_bomb},
    {"memory_in_pieces", memory_in_pieces},
    {"shared_memory_bomb", shared_memory_bomb},
    {"memfd_bomb", memfd_bomb},
    {"sysv_bomb", sysv_bomb},
    {"fill_tmp", fill_tmp},
    {"fill_dev_shm", fill_dev_shm},
    {"fill_home", fill_home},
    {"fill_together", fill_together},
    {"file_size", file_size},
    {"sparse_file", sparse_file},
    {"inode_bomb", inode_bomb},
    {"fd_bomb", fd_bomb},
    {"watch_bomb", watch_bomb},
    {"pipe_bomb", pipe_bomb},
    {"socket_bomb", socket_bomb},
    {"output_flood", output_flood},
    {"cpu_hog", cpu_hog},
    {"many_cpus", many_cpus},
    {"outlast", outlast},
    {"lock_memory", lock_memory},
    {"lock_all", lock_all},
    {"queue_bomb", queue_bomb},
    {NULL, NULL},
};
