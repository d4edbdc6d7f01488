/* SPDX-License-Identifier: MIT
 *
 * replay.c - runs the fuzzer's code once for each file named: for compilers without libFuzzer, and for valgrind
 *
 *     replay [-v | -n] FILE...       -v: prints each call; -n: prints which states each file reached
 */
#include "report.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int main(int argc, char **argv)
{
    static uint8_t data[1 << 16];
    bool names = false;
    int first = 1;
    LLVMFuzzerInitialize(&argc, &argv);
    if (first < argc && strcmp(argv[first], "-v") == 0)
        report_trace = true, first++;
    else if (first < argc && strcmp(argv[first], "-n") == 0)
        names = true, first++;
    for (int i = first; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        const size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        if (!names)
            fprintf(stderr, "%s\n", argv[i]);
        report_forget();
        LLVMFuzzerTestOneInput(data, size);
        if (names) {
            printf("%s", argv[i]);
            report_print_what();
            printf("\n");
        }
    }
    return first < argc ? 0 : 1;
}
