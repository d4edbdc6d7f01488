/* SPDX-License-Identifier: MIT
 *
 * manifest.c - see manifest.h.
 *
 * It takes regular files of up to 256 KiB. It leaves out hidden files and build directories, since those may change
 * during the run. Of the rest it takes those of 8 KiB and more, if there are any. (A smaller response vanishes into the
 * system's socket buffers at once, and its scratch buffer is back before the next one is taken.) Last, it leaves out
 * the largest files until the mean is at most 24 KiB, so that a wave of 10,000 responses fits into memory and into a
 * few seconds.
 */
#include "manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basics.h"

enum {
    SIZE_MIN = 8 * 1024,
    SIZE_MAX_FILE = 256 * 1024,
    SIZE_MEAN = 24 * 1024,
    FILES_MAX = 512, /* more files would not show more */
    FOUND_MAX = 1 << 16,
    DEPTH_MAX = 32
};

typedef struct search {
    manifest_t found;
    size_t room;
    int error;
} search_t;

static void search_add(search_t *search, const char *path, size_t size)
{
    manifest_t *found = &search->found;
    if (found->count == search->room) {
        size_t room = search->room == 0 ? 256 : 2 * search->room;
        manifest_file_t *files = realloc(found->files, room * sizeof *files);
        if (files == NULL) {
            search->error = ENOMEM;
            return;
        }
        found->files = files;
        search->room = room;
    }
    manifest_file_t file = {.path = strdup(path), .bytes = NULL, .size = size};
    if (file.path == NULL) {
        search->error = ENOMEM;
        return;
    }
    found->files[found->count++] = file;
}

static bool skipped(const char *name, bool directory)
{
    return name[0] == '.' || (directory && strncmp(name, "build", 5) == 0);
}

/* Searches the directory and closes dir_fd. Leaves out files that it cannot read, since the server cannot read them
 * either. */
static void search_directory(search_t *search, int dir_fd, const char *path, unsigned depth)
{
    DIR *dir = fdopendir(dir_fd);
    if (dir == NULL) {
        close(dir_fd);
        return;
    }
    struct dirent *entry;
    while (search->error == 0 && search->found.count < FOUND_MAX && (entry = readdir(dir)) != NULL) {
        char child[4096];
        struct stat status;
        int n = snprintf(child, sizeof child, "%s%s%s", path, path[0] != '\0' ? "/" : "", entry->d_name);
        if (n < 0 || n > 1000 || fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            skipped(entry->d_name, S_ISDIR(status.st_mode))) {
            continue;
        }
        if (S_ISDIR(status.st_mode) && depth < DEPTH_MAX) {
            int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (fd >= 0) {
                search_directory(search, fd, child, depth + 1);
            }
        } else if (S_ISREG(status.st_mode) && status.st_size > 0 && status.st_size <= SIZE_MAX_FILE) {
            search_add(search, child, (size_t)status.st_size);
        }
    }
    closedir(dir);
}

static int by_size(const void *a, const void *b)
{
    const manifest_file_t *x = a;
    const manifest_file_t *y = b;
    return x->size != y->size ? (x->size < y->size ? -1 : 1) : strcmp(x->path, y->path);
}

static void keep_only(manifest_t *manifest, size_t from, size_t to, size_t step)
{
    size_t kept = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        if (i >= from && i < to && (i - from) % step == 0) {
            manifest->files[kept++] = manifest->files[i];
        } else {
            free(manifest->files[i].path);
        }
    }
    manifest->count = kept;
}

static void choose(manifest_t *manifest)
{
    if (manifest->count == 0) {
        return;
    }
    manifest_file_t *files = manifest->files;
    qsort(files, manifest->count, sizeof *files, by_size);
    size_t from = 0;
    size_t to = manifest->count;
    while (from < to && files[from].size < SIZE_MIN) {
        from++;
    }
    if (from == to) {
        from = 0;
    }
    size_t sum = 0;
    for (size_t i = from; i < to; i++) {
        sum += files[i].size;
    }
    while (to > from + 1 && sum / (to - from) > SIZE_MEAN) {
        to--;
        sum -= files[to].size;
    }
    keep_only(manifest, from, to, (to - from + FILES_MAX - 1) / FILES_MAX);
}

/* Returns the bytes of the file and sets *size, or returns NULL. */
static unsigned char *read_file(const char *path, int root_fd, size_t *size)
{
    int fd = openat(root_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    struct stat status;
    unsigned char *bytes = NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        *size = (size_t)status.st_size;
        bytes = malloc(*size);
        if (bytes != NULL && !read_whole(fd, bytes, *size)) {
            free(bytes);
            bytes = NULL;
        }
    }
    close(fd);
    return bytes;
}

/* Reads the chosen files. Drops those that cannot be read. */
static void read_chosen(manifest_t *manifest, int root_fd)
{
    size_t kept = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        manifest_file_t file = manifest->files[i];
        file.bytes = read_file(file.path, root_fd, &file.size);
        if (file.bytes != NULL) {
            manifest->files[kept++] = file;
        } else {
            free(file.path);
        }
    }
    manifest->count = kept;
}

int manifest_load(manifest_t *manifest, int root_fd, char *message, size_t message_size)
{
    search_t search = {.found = {NULL, 0}, .room = 0, .error = 0};
    int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        search.error = errno;
    } else {
        search_directory(&search, fd, "", 0);
    }
    *manifest = search.found;
    if (search.error == 0) {
        choose(manifest);
        read_chosen(manifest, root_fd);
        if (manifest->count > 0) {
            return 0;
        }
        snprintf(message, message_size, "the directory holds no readable file of 1 byte to 256 KiB to ask for");
    } else {
        snprintf(message, message_size, "cannot read the directory: %s", strerror(search.error));
    }
    manifest_free(manifest);
    return 1;
}

void manifest_free(manifest_t *manifest)
{
    for (size_t i = 0; i < manifest->count; i++) {
        free(manifest->files[i].path);
        free(manifest->files[i].bytes);
    }
    free(manifest->files);
    manifest->files = NULL;
    manifest->count = 0;
}

bool manifest_unchanged(const manifest_file_t *file, int root_fd)
{
    size_t size = 0;
    unsigned char *bytes = read_file(file->path, root_fd, &size);
    bool same = bytes != NULL && size == file->size && memcmp(bytes, file->bytes, size) == 0;
    free(bytes);
    return same;
}
