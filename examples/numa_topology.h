/* SPDX-License-Identifier: MIT
 *
 * numa_topology.h - which processor belongs to which node, as /sys/devices/system/node tells it
 *
 *     online              0,2-3                  the nodes there are; their numbers may have gaps
 *     has_memory          0,2                    those with memory of their own
 *     node2/cpulist       0-3,8-11               the node's processors; empty for a node that has memory only
 *     node2/distance      20 10 12               to each node of `online`, in that order
 *
 * A pool serves a node that has processors and memory. The processors of a node without memory use the nearest node
 * with memory.
 */
#ifndef NUMA_TOPOLOGY_H
#define NUMA_TOPOLOGY_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NUMA_NODES = 64, NUMA_NUMBERS = 1024, NUMA_CPUS = 8192 };

struct numa_topology {
    unsigned n;                        /* nodes */
    int number[NUMA_NODES];            /* what the kernel calls each */
    bool has_memory[NUMA_NODES];       /* by index, as the following */
    bool has_cpus[NUMA_NODES];         /* it has processors, or those of a node without memory use it */
    unsigned char home[NUMA_CPUS];     /* by processor: the index of the node whose memory it uses */
    unsigned char own_node[NUMA_CPUS]; /* by processor: the index of its node, which may have no memory */
    unsigned char nearest[NUMA_NODES]; /* the node itself, if it has memory */
    bool cpu_is_known[NUMA_CPUS];      /* a node lists it */
};

/* Reads a file of one line, without the end of the line. Returns NULL, with errno set, if there is none. The caller
 * frees the line. */
static inline char *numa_line(const char *folder, const char *name)
{
    char path[4096];
    char *line = NULL;
    size_t size = 0;
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    if (getline(&line, &size, file) < 0) { /* an empty file is an empty line */
        free(line);
        line = strdup("");
    }
    (void)fclose(file);
    if (line != NULL)
        line[strcspn(line, "\n")] = '\0';
    return line;
}

/* Reads "0-3,8": sets in[i] for each i of the list. Returns false, with errno EINVAL, if the text is no list of numbers
 * below n. */
static inline bool numa_list(const char *text, bool *in, unsigned long n)
{
    memset(in, 0, n * sizeof(*in));
    while (*text != '\0') {
        char *end;
        unsigned long first = strtoul(text, &end, 10), last = first;
        bool good = *text >= '0' && *text <= '9';
        if (good && *end == '-') {
            text = end + 1;
            good = *text >= '0' && *text <= '9';
            last = strtoul(text, &end, 10);
        }
        good = good && first <= last && last < n && (*end == '\0' || (*end == ',' && end[1] != '\0'));
        if (!good) {
            errno = EINVAL;
            return false;
        }
        for (unsigned long i = first; i <= last; i++)
            in[i] = true;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

static inline bool numa_file_list(const char *folder, const char *name, bool *in, unsigned long n)
{
    char *line = numa_line(folder, name);
    bool good = line != NULL && numa_list(line, in, n);
    free(line);
    return good;
}

static inline bool numa_read_nodes(struct numa_topology *t, const char *folder)
{
    static bool online[NUMA_NUMBERS], memory[NUMA_NUMBERS];
    if (!numa_file_list(folder, "online", online, NUMA_NUMBERS) ||
        !numa_file_list(folder, "has_memory", memory, NUMA_NUMBERS))
        return false;
    for (int number = 0; number < NUMA_NUMBERS; number++) {
        if (!online[number])
            continue;
        if (t->n == NUMA_NODES) {
            errno = E2BIG;
            return false;
        }
        t->has_memory[t->n] = memory[number];
        t->number[t->n++] = number;
    }
    return true;
}

static inline bool numa_read_cpus(struct numa_topology *t, const char *folder, unsigned index)
{
    static bool cpus[NUMA_CPUS];
    char name[64];
    (void)snprintf(name, sizeof(name), "node%d/cpulist", t->number[index]);
    if (!numa_file_list(folder, name, cpus, NUMA_CPUS))
        return false;
    for (unsigned cpu = 0; cpu < NUMA_CPUS; cpu++)
        if (cpus[cpu]) {
            t->cpu_is_known[cpu] = true;
            t->own_node[cpu] = (unsigned char)index;
        }
    return true;
}

/* Sets t->nearest[index]. Without distances any node with memory will do. Returns false, with errno EINVAL, if none
 * has memory. */
static inline bool numa_find_nearest(struct numa_topology *t, const char *folder, unsigned index)
{
    char name[64];
    unsigned long least = ~0ul;
    (void)snprintf(name, sizeof(name), "node%d/distance", t->number[index]);
    char *line = numa_line(folder, name), *at = line;
    for (unsigned i = 0; i < t->n; i++) {
        char *end = at;
        unsigned long distance = at != NULL ? strtoul(at, &end, 10) : 0;
        distance = end == at ? ~0ul - 1 : distance;
        at = end;
        if (t->has_memory[i] && (i == index ? 0 : distance) < least) {
            least = i == index ? 0 : distance;
            t->nearest[index] = (unsigned char)i;
        }
    }
    free(line);
    if (least == ~0ul)
        errno = EINVAL;
    return least != ~0ul;
}

/* Processors that no node lists, such as those that come later, use the first node that has a pool. Returns false, with
 * errno EINVAL, if there is none. */
static inline bool numa_find_homes(struct numa_topology *t)
{
    unsigned first = 0;
    for (unsigned cpu = 0; cpu < NUMA_CPUS; cpu++)
        if (t->cpu_is_known[cpu]) {
            t->home[cpu] = t->nearest[t->own_node[cpu]];
            t->has_cpus[t->home[cpu]] = true;
        }
    while (first < t->n && !t->has_cpus[first])
        first++;
    for (unsigned cpu = 0; cpu < NUMA_CPUS; cpu++)
        if (!t->cpu_is_known[cpu])
            t->home[cpu] = (unsigned char)first;
    errno = EINVAL;
    return first < t->n;
}

/* Returns false, with errno set, if the folder cannot be read or does not tell a topology. A kernel that knows no nodes
 * has no such folder; there, all processors are of one node. */
static inline bool numa_read(struct numa_topology *t, const char *folder)
{
    memset(t, 0, sizeof(*t));
    if (access(folder, F_OK) != 0 && errno == ENOENT) {
        t->n = 1;
        t->has_memory[0] = t->has_cpus[0] = true;
        return true;
    }
    if (!numa_read_nodes(t, folder))
        return false;
    for (unsigned i = 0; i < t->n; i++)
        if (!numa_read_cpus(t, folder, i) || !numa_find_nearest(t, folder, i))
            return false;
    return numa_find_homes(t);
}

/* Prints a line for each run of processors that use the same node. */
static inline void numa_show(const struct numa_topology *t)
{
    for (unsigned i = 0; i < t->n; i++)
        printf("node %d: %s, %s\n", t->number[i], t->has_memory[i] ? "memory" : "no memory",
               t->has_cpus[i] ? "a pool" : "no pool");
    for (unsigned first = 0, cpu = 1; cpu <= NUMA_CPUS; cpu++) {
        if (cpu < NUMA_CPUS && t->cpu_is_known[cpu] == t->cpu_is_known[first] && t->home[cpu] == t->home[first])
            continue;
        if (t->cpu_is_known[first])
            printf("processors %u-%u: node %d\n", first, cpu - 1, t->number[t->home[first]]);
        first = cpu;
    }
}

#endif
