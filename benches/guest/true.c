/* What every peer runs: nothing. */
int main(void) { return 0; }
