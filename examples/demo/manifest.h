/* SPDX-License-Identifier: MIT
 *
 * manifest.h - the files that the load generator asks for, with their contents. The load generator reads the directory
 * itself, so that it compares the server's answers with the files, and not with the server's idea of them.
 */
#ifndef DEMO_MANIFEST_H
#define DEMO_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct manifest_file {
    char *path; /* relative to the root */
    unsigned char *bytes;
    size_t size;
} manifest_file_t;

typedef struct manifest {
    manifest_file_t *files;
    size_t count;
} manifest_t;

/* Chooses files beneath root_fd and reads them. Returns 0, or 1 with the reason in message. */
int manifest_load(manifest_t *manifest, int root_fd, char *message, size_t message_size);
void manifest_free(manifest_t *manifest);

/* Returns whether the file on disk is still the same as when it was read. */
bool manifest_unchanged(const manifest_file_t *file, int root_fd);

#endif
