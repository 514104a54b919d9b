/* Says when its first instruction was: CLOCK_MONOTONIC, nanoseconds, eight bytes. */
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 1;
    unsigned long long ns = now.tv_sec * 1000000000ull + now.tv_nsec;
    return write(1, &ns, sizeof ns) != sizeof ns;
}
