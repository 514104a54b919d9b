/* attack [--inline] [--steps FLAGS] CASE [key=value]...
 *
 * Exit: 0 the attack succeeded, 1 blocked, 2 the case itself is broken.
 * The case runs in a child, so that being killed by a filter is a result too;
 * with --inline in this very process, for filters that allow no fork. */
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "attack.h"

#define MAX_ARGS 48

static const char *pairs[MAX_ARGS];
static size_t pair_count;

static const struct attack *const groups[] = {
    runtime_attacks, namespace_attacks, mount_attacks,    kernel_attacks,    socket_attacks,
    privilege_attacks, procfs_attacks,  resource_attacks, neighbour_attacks,
};

static void say(const char *verdict, const char *format, va_list list)
{
    char text[512];
    vsnprintf(text, sizeof text, format, list);
    dprintf(STDERR_FILENO, "attack: %s: %s\n", verdict, text);
}

int succeeded(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say("SUCCEEDED", format, list);
    va_end(list);
    return SUCCEEDED;
}

int broken(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say("broken", format, list);
    va_end(list);
    return BROKEN;
}

int blocked_because(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say("blocked", format, list);
    va_end(list);
    return BLOCKED;
}

int blocked(const char *what)
{
    int error = errno;
    return blocked_because("%s: %s (%d)", what, strerrorname_np(error), error);
}

int by_result(const char *what, long result)
{
    return result < 0 ? blocked(what) : succeeded("%s gave %ld", what, result);
}

int by_permission(const char *what, long result)
{
    if (result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EROFS))
        return blocked(what);
    return succeeded("%s passed the permission check (%s)", what,
                     result < 0 ? strerrorname_np(errno) : "0");
}

const char *arg(const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < pair_count; i++)
        if (!strncmp(pairs[i], key, length) && pairs[i][length] == '=')
            return pairs[i] + length + 1;
    return NULL;
}

const char *must_arg(const char *key)
{
    const char *value = arg(key);
    if (!value)
        _exit(broken("argument %s=… is missing", key));
    return value;
}

void must_path(char *out, size_t size, const char *key, const char *name)
{
    snprintf(out, size, "%s/%s", must_arg(key), name);
}

/* Not an attack: what a sandbox allows. */
static int control(void)
{
    char text[16], path[256];
    must_path(path, sizeof path, "ro", "data");
    if (slurp(path, text, sizeof text) != 5)
        return blocked(path);
    snprintf(path, sizeof path, "/tmp/attack-control-%d", getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return blocked(path);
    unlink(path);
    return by_result("write to the scratch space", write(fd, "x", 1));
}

static const struct attack control_case = {"control", control};

static int list(void)
{
    for (size_t g = 0; g < COUNT(groups); g++)
        for (const struct attack *a = groups[g]; a->name; a++)
            puts(a->name);
    return 0;
}

static const struct attack *find(const char *name)
{
    if (!strcmp(name, control_case.name))
        return &control_case;
    for (size_t g = 0; g < COUNT(groups); g++)
        for (const struct attack *a = groups[g]; a->name; a++)
            if (!strcmp(a->name, name))
                return a;
    return NULL;
}

/* The line that tells the runner that the case was reached: without it a
 * refusal on the way would pass for a defence. */
static int start(const struct attack *attack)
{
    dprintf(STDERR_FILENO, "attack: start: %s\n", attack->name);
    return attack->run();
}

static int in_child(const struct attack *attack)
{
    pid_t child = fork();
    if (child < 0)
        return broken("fork: %s; use --inline", strerror(errno));
    if (child == 0)
        _exit(start(attack));
    int status;
    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR)
            return broken("waitpid: %s", strerror(errno));
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return blocked_because("killed by signal %d (%s)", WTERMSIG(status),
                           sigabbrev_np(WTERMSIG(status)));
}

int main(int argc, char **argv)
{
    /* A crash is a result here, not a file. */
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    int inline_case = 0, at = 1;
    const char *steps = "";
    for (; at < argc && !strncmp(argv[at], "--", 2); at++) {
        if (!strcmp(argv[at], "--list"))
            return list();
        if (!strcmp(argv[at], "--features"))
            return features();
        if (!strcmp(argv[at], "--whoami"))
            return whoami(argv[0]);
        if (!strcmp(argv[at], "--inline"))
            inline_case = 1;
        else if (!strcmp(argv[at], "--steps") && at + 1 < argc)
            steps = argv[++at];
        else if (strcmp(argv[at], "--bait"))
            return broken("unknown option %s", argv[at]);
        else
            break;
    }
    if (at >= argc)
        return broken("usage: attack [--inline] [--steps FLAGS] CASE [key=value]...");
    for (int i = at + 1; i < argc && pair_count < MAX_ARGS; i++)
        pairs[pair_count++] = argv[i];
    if (!strcmp(argv[at], "--bait"))
        return bait();
    const struct attack *attack = find(argv[at]);
    if (!attack)
        return broken("no case %s", argv[at]);
    int ready = prepare(steps);
    if (ready != 0)
        return ready;
    int result = inline_case ? start(attack) : in_child(attack);
    undo();
    return result;
}
