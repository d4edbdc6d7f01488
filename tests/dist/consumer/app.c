/* A user of the library. Usage: app shared|static PREFIX
 * Gets, fills and puts a buffer, and checks that the library is the kind asked for; the shared one must come from below
 * PREFIX, so that no test passes with another copy that happens to be installed. */
#include <bufferpool.h>

#include <stdio.h>
#include <string.h>

/* Whether a file whose path begins with prefix and holds name is mapped into this process. */
static int mapped(const char *prefix, const char *name)
{
    char line[8192];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");

    if (maps == NULL)
        return -1;
    while (fgets(line, sizeof line, maps) != NULL) {
        const char *path = strchr(line, '/');
        if (path != NULL && strstr(path, name) != NULL && strncmp(path, prefix, strlen(prefix)) == 0)
            found = 1;
    }
    fclose(maps);
    return found;
}

int main(int argc, char **argv)
{
    char header[32];
    bufferpool_buf_t *buf;
    int shared;

    if (argc != 3)
        return 2;

    snprintf(header, sizeof header, "%d.%d.%d%s", BUFFERPOOL_VERSION_MAJOR, BUFFERPOOL_VERSION_MINOR,
             BUFFERPOOL_VERSION_PATCH, BUFFERPOOL_VERSION_SUFFIX);
    if (strcmp(header, bufferpool_version()) != 0) {
        fprintf(stderr, "header %s, library %s\n", header, bufferpool_version());
        return 1;
    }

    buf = bufferpool_get(NULL);
    if (buf == NULL || bufferpool_buf_printf(buf, "%s", "hello") != 0 || buf->len != 5)
        return 1;
    bufferpool_put(buf);

    shared = strcmp(argv[1], "shared") == 0;
    if (mapped("/", "libbufferpool.so") != shared || mapped(argv[2], "libbufferpool.so") != shared) {
        fprintf(stderr, "not the %s library of %s\n", argv[1], argv[2]);
        return 1;
    }
    return 0;
}
