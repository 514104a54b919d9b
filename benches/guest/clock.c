/* Says when its first instruction was: CLOCK_MONOTONIC, nanoseconds, eight bytes. Without
   a C library, whose own beginning is a quarter of a millisecond. */
struct timespec {
    long seconds, nanoseconds;
};

static long call(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

#if defined(__x86_64__)
enum { CLOCK_GETTIME = 228, WRITE = 1, EXIT_GROUP = 231 };
#elif defined(__aarch64__)
enum { CLOCK_GETTIME = 113, WRITE = 64, EXIT_GROUP = 94 };
#endif

__attribute__((used)) static void begin(void) {
    struct timespec now;
    unsigned long long told;
    long failed = call(CLOCK_GETTIME, 1, (long)&now, 0);
    told = now.seconds * 1000000000ull + now.nanoseconds;
    failed |= call(WRITE, 1, (long)&told, sizeof told) != sizeof told;
    call(EXIT_GROUP, failed != 0, 0, 0);
    __builtin_unreachable();
}

/* The kernel leaves the stack aligned as a called function does not expect it. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tcall begin\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tbl begin\n");
#endif
