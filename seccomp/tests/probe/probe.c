/*
 * Installs seccomp filters and tries them, because this crate has no unsafe code.
 *
 *   probe cases FILTER CASES   each line of CASES is a call: number and six arguments, in
 *                              hexadecimal, or "int80 number"; one line of answer for each
 *   probe time N FILTER...     median nanoseconds of installing each filter, interleaved
 *   probe exec FILTER PROGRAM [ARGUMENT...]
 *
 * FILTER is a file of struct sock_filter. Every call is made in a child of its own, which has
 * installed the filter and is ended by a timer if the call never returns.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What a child leaves behind before it ends: it may never get to. */
struct report {
    volatile int returned;
    volatile long value;
};

static struct report *report;

/* One for each call, in turn: who was forked by a call before may come late, and writes to that one's. */
enum { REPORTS = 4096 };
static struct report *reports;

static void next_report(void) {
    static int next;
    report = &reports[next++ % REPORTS];
    report->returned = 0;
}

static void fail(const char *what) {
    fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
    exit(2);
}

static struct sock_fprog read_filter(const char *path) {
    static const size_t most = 4096;
    struct sock_filter *filter = calloc(most, sizeof *filter);
    FILE *file = fopen(path, "rb");
    if (!file || !filter)
        fail(path);
    struct sock_fprog program = {(unsigned short)fread(filter, sizeof *filter, most, file), filter};
    fclose(file);
    if (program.len == 0)
        fail("empty filter");
    return program;
}

/* Calls the kernel without the C library, which would turn some results into others. */
static long call(long number, const unsigned long *a) {
#if defined(__x86_64__)
    long result;
    register unsigned long r10 __asm__("r10") = a[3];
    register unsigned long r8 __asm__("r8") = a[4];
    register unsigned long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register unsigned long x0 __asm__("x0") = a[0];
    register unsigned long x1 __asm__("x1") = a[1];
    register unsigned long x2 __asm__("x2") = a[2];
    register unsigned long x3 __asm__("x3") = a[3];
    register unsigned long x4 __asm__("x4") = a[4];
    register unsigned long x5 __asm__("x5") = a[5];
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return (long)x0;
#else
#error "x86-64 and aarch64 only"
#endif
}

static long call_int80(long number) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0) : "r8", "r9", "r10", "r11", "memory");
    return result;
#else
    (void)number;
    errno = ENOSYS;
    fail("int80");
    return 0;
#endif
}

static void install(const struct sock_fprog *program) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail("no-new-privileges");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program))
        fail("install");
}

static void try_case(const struct sock_fprog *program, long number, const unsigned long *arguments, int int80) {
    struct itimerval limit = {.it_value = {.tv_usec = 300000}};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    setitimer(ITIMER_REAL, &limit, NULL);
    install(program);
    long value = int80 ? call_int80(number) : call(number, arguments);
    /* After fork and its kin, both sides come here. */
    report->value = value;
    report->returned = 1;
    _exit(0);
}

static void print_outcome(int status) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        puts("killed");
    else if (report->returned)
        printf("returned %ld\n", report->value);
    else if (WIFSIGNALED(status))
        printf("signal %d\n", WTERMSIG(status));
    else
        puts("exited");
}

static int cases(const char *filter, const char *path) {
    struct sock_fprog program = read_filter(filter);
    FILE *file = fopen(path, "r");
    char line[256];
    if (!file)
        fail(path);
    while (fgets(line, sizeof line, file)) {
        unsigned long number, a[6] = {0};
        int int80 = sscanf(line, "int80 %lx", &number) == 1;
        if (!int80 && sscanf(line, "%lx %lx %lx %lx %lx %lx %lx", &number, a, a + 1, a + 2, a + 3, a + 4, a + 5) != 7)
            fail("bad case");
        next_report();
        fflush(stdout);
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            try_case(&program, (long)number, a, int80);
        int status;
        if (waitpid(child, &status, 0) != child)
            fail("wait");
        print_outcome(status);
    }
    return 0;
}

static long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static long time_one(const struct sock_fprog *program) {
    next_report();
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            fail("no-new-privileges");
        long before = nanoseconds();
        long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
        report->value = nanoseconds() - before;
        report->returned = result == 0;
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !report->returned)
        fail("install");
    return report->value;
}

static int compare(const void *a, const void *b) {
    long left = *(const long *)a, right = *(const long *)b;
    return (left > right) - (left < right);
}

static int timing(int rounds, int count, char **filters) {
    struct sock_fprog programs[8];
    long *times[8];
    if (rounds < 1 || count < 1 || count > 8)
        fail("time: at least one round, one to eight filters");
    for (int i = 0; i < count; i++) {
        programs[i] = read_filter(filters[i]);
        times[i] = calloc((size_t)rounds, sizeof(long));
    }
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++)
            times[i][round] = time_one(&programs[i]);
    for (int i = 0; i < count; i++) {
        qsort(times[i], (size_t)rounds, sizeof(long), compare);
        printf("%ld\n", times[i][rounds / 2]);
    }
    return 0;
}

int main(int argc, char **argv) {
    reports = mmap(NULL, REPORTS * sizeof *reports, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reports == MAP_FAILED)
        fail("mmap");
    if (argc == 4 && !strcmp(argv[1], "cases"))
        return cases(argv[2], argv[3]);
    if (argc >= 4 && !strcmp(argv[1], "time"))
        return timing(atoi(argv[2]), argc - 3, argv + 3);
    if (argc >= 4 && !strcmp(argv[1], "exec")) {
        struct sock_fprog program = read_filter(argv[2]);
        install(&program);
        execvp(argv[3], argv + 3);
        fail(argv[3]);
    }
    fprintf(stderr, "usage: probe cases FILTER CASES | time N FILTER... | exec FILTER PROGRAM...\n");
    return 2;
}
