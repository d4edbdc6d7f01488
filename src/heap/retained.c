/* SPDX-License-Identifier: MIT
 *
 * retained.c - freed mappings whose memory stays for the next block of that size
 */
#include "heap/retained.h"

#include <stdlib.h>

static size_t bytes_of(const struct os_range *mapping)
{
    return (size_t)(mapping->to - mapping->from);
}

/* The one of that age, 0 for the oldest. */
static struct os_range *at(struct retained *retained, unsigned age)
{
    return &retained->ring[(retained->oldest + age) % RETAINED_MAX];
}

// NOLINTNEXTLINE(readability-non-const-parameter): who takes it writes to it
bool retained_add(struct retained *retained, unsigned char *mapping, size_t bytes)
{
    if (retained->n == RETAINED_MAX)
        return false;
    if (retained->ring == NULL && (retained->ring = malloc(RETAINED_MAX * sizeof(*retained->ring))) == NULL)
        return false;
    *at(retained, retained->n++) = (struct os_range){mapping, mapping + bytes};
    retained->bytes += bytes;
    return true;
}

unsigned char *retained_take(struct retained *retained, size_t bytes)
{
    for (unsigned i = 1; i <= retained->n && i <= RETAINED_BATCH; i++) {
        unsigned age = retained->n - i;
        if (bytes_of(at(retained, age)) != bytes)
            continue;
        unsigned char *mapping = at(retained, age)->from;
        retained->bytes -= bytes;
        retained->n--;
        for (; age < retained->n; age++)
            *at(retained, age) = *at(retained, age + 1);
        return mapping;
    }
    return NULL;
}

unsigned retained_take_oldest(struct retained *retained, size_t bytes, struct os_range taken[RETAINED_BATCH])
{
    unsigned n = 0;
    for (size_t sum = 0; retained->n > 0 && n < RETAINED_BATCH && sum < bytes; n++) {
        taken[n] = *at(retained, 0);
        sum += bytes_of(&taken[n]);
        retained->bytes -= bytes_of(&taken[n]);
        retained->oldest = (retained->oldest + 1) % RETAINED_MAX;
        retained->n--;
    }
    return n;
}

struct os_range *retained_take_ring(struct retained *retained)
{
    if (retained->n > 0)
        return NULL;
    struct os_range *ring = retained->ring;
    retained->ring = NULL;
    return ring;
}
