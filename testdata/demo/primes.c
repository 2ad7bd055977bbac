/* Prints the number of primes below its argument. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    long limit = argc > 1 ? strtol(argv[1], NULL, 10) : 100;
    if (limit < 0 || limit > 100000000) {
        fprintf(stderr, "usage: primes LIMIT (at most 100000000)\n");
        return 2;
    }
    char *composite = calloc((size_t)limit + 1, 1);
    if (composite == NULL) {
        perror("primes");
        return 1;
    }
    long count = 0;
    for (long n = 2; n < limit; n++) {
        if (composite[n]) continue;
        count++;
        for (long multiple = n * n; multiple < limit; multiple += n) composite[multiple] = 1;
    }
    printf("%ld\n", count);
    free(composite);
    return 0;
}
