/*
 * groups procs|self GROUP PROGRAM: the cgroup part of a sandbox and nothing else.
 * Makes one group with limits of memory, processes and CPU, runs PROGRAM in it,
 * removes it. "procs" joins as OCI runtimes do, by a pid written to cgroup.procs;
 * "self" by the way for which the kernel waits for nobody: "0" written to tasks
 * (version 1), a clone into the group (version 2).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOP "/sys/fs/cgroup"
#define BELOW "lakekeep-bench"

struct limit { const char *controller, *file, *value; };

static const struct limit OLD[] = {
    {"memory", "memory.limit_in_bytes", "2147483648"},
    {"memory", "memory.memsw.limit_in_bytes", "2147483648"},
    {"cpu", "cpu.cfs_period_us", "100000"},
    {"cpu", "cpu.cfs_quota_us", "100000"},
    {"pids", "pids.max", "258"},
};
static const struct limit NEW[] = {
    {"", "memory.max", "2147483648"},
    {"", "memory.swap.max", "0"},
    {"", "cpu.max", "100000 100000"},
    {"", "pids.max", "258"},
};
static const char *const OLD_TREES[] = {"memory", "cpu", "pids"};
static const char *const NEW_TREES[] = {""};

static int v2, trees;
static const char *const *tree;
static char path[512];

static const char *in(const char *controller, const char *group, const char *file) {
    snprintf(path, sizeof path, TOP "/%s/" BELOW "/%s/%s", controller, group, file);
    return path;
}

static void fail(const char *what) {
    perror(what);
    _exit(125);
}

static void put(const char *file, const char *value) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        fail(file);
    close(fd);
}

static void make(const char *group) {
    if (v2)
        put(TOP "/cgroup.subtree_control", "+memory +cpu +pids");
    for (int i = 0; i < trees; i++) {
        mkdir(in(tree[i], "", ""), 0755);
        if (v2)
            put(TOP "/" BELOW "/cgroup.subtree_control", "+memory +cpu +pids");
        if (mkdir(in(tree[i], group, ""), 0755))
            fail(path);
    }
    const struct limit *limits = v2 ? NEW : OLD;
    int count = v2 ? sizeof NEW / sizeof *NEW : sizeof OLD / sizeof *OLD;
    for (int i = 0; i < count; i++)
        put(in(limits[i].controller, group, limits[i].file), limits[i].value);
}

static pid_t start(const char *group, int self) {
    if (!self || !v2)
        return fork();
    int fd = open(in("", group, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = fd};
    return syscall(SYS_clone3, &args, sizeof args);
}

static void run(const char *group, int self, char **program) {
    char pid[16] = "0";
    if (!self)
        snprintf(pid, sizeof pid, "%d", getpid());
    for (int i = 0; i < trees && !(self && v2); i++)
        put(in(tree[i], group, self ? "tasks" : "cgroup.procs"), pid);
    execv(program[0], program);
    fail(program[0]);
}

int main(int count, char **words) {
    int status = 0;
    if (count < 4)
        return 125;
    int self = !strcmp(words[1], "self");
    v2 = access(TOP "/memory", F_OK) != 0;
    tree = v2 ? NEW_TREES : OLD_TREES;
    trees = v2 ? 1 : sizeof OLD_TREES / sizeof *OLD_TREES;
    make(words[2]);
    pid_t child = start(words[2], self);
    if (child < 0)
        fail("clone");
    if (child == 0)
        run(words[2], self, words + 3);
    while (waitpid(child, &status, 0) < 0)
        ;
    for (int i = 0; i < trees; i++)
        if (rmdir(in(tree[i], words[2], "")))
            fail(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
