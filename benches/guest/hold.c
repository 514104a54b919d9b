/* Says that it runs, and stays until its input ends, to be looked at from outside. */
#include <unistd.h>

int main(void) {
    char byte = 'r';
    if (write(1, &byte, 1) != 1)
        return 1;
    return read(0, &byte, 1) < 0;
}
