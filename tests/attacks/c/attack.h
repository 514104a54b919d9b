/* What every attack case shares: the contract, the arguments, the victims. */
#ifndef ATTACK_H
#define ATTACK_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* The exit codes of a case. */
enum { SUCCEEDED = 0, BLOCKED = 1, BROKEN = 2 };

struct attack {
    const char *name;
    int (*run)(void);
};

extern const struct attack runtime_attacks[];
extern const struct attack namespace_attacks[];
extern const struct attack mount_attacks[];
extern const struct attack kernel_attacks[];
extern const struct attack socket_attacks[];
extern const struct attack privilege_attacks[];
extern const struct attack procfs_attacks[];
extern const struct attack resource_attacks[];
extern const struct attack neighbour_attacks[];

/* Each prints one line and returns the exit code it stands for. */
int succeeded(const char *format, ...) __attribute__((format(printf, 1, 2)));
int broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Names the call and errno. */
int blocked(const char *what);
int blocked_because(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A negative result is blocked with errno, anything else succeeded. */
int by_result(const char *what, long result);
/* For calls whose harmless form fails after the permission check: EINVAL from
 * the outside shows that the door was open. */
int by_permission(const char *what, long result);

/* The `key=value` arguments; NULL when absent. */
const char *arg(const char *key);
/* As `arg`, but ends the case as broken when absent. */
const char *must_arg(const char *key);
/* `/mnt/rw/name` for must_path("rw", "name"); a static buffer per call site. */
void must_path(char *out, size_t size, const char *key, const char *name);

/* A process that the attacker does not own: the bait's, and, with `scan=1`,
 * every other one that can be named. True ends the search. */
typedef int (*probe_fn)(pid_t pid, void *state);
int any_victim(probe_fn probe, void *state);
/* As above for a path below /proc/PID, opened with these flags. */
int open_victims(const char *name, int flags);

/* Whole small file into buf, NUL-terminated; -1 and errno on failure. */
ssize_t slurp(const char *path, char *buf, size_t size);
/* True when the descriptor is on procfs, not on a stand-in mounted over it. */
int on_procfs(int fd);
/* Opens each for the flags; succeeded at the first that opens. */
int any_opens(const char *const *paths, int flags);
/* The bait's host file, as absolute path. */
int holds_secret(int fd);

#define BAIT_SECRET "lakekeep-bait-secret"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The steps that main offers before a case: see steps.c. */
int prepare(const char *flags);
void undo(void);
int bait(void);
int features(void);
int whoami(const char *what);

#endif
