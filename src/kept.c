/* SPDX-License-Identifier: MIT
 *
 * kept.c - freed mappings whose memory stays for the next block of that size
 */
#include "kept.h"

#include <stdlib.h>

static size_t bytes_of(const struct region_range *mapping)
{
    return (size_t)(mapping->to - mapping->from);
}

/* The one of that age, 0 for the oldest. */
static struct region_range *at(struct kept *kept, unsigned age)
{
    return &kept->ring[(kept->oldest + age) % KEPT_MAX];
}

// NOLINTNEXTLINE(readability-non-const-parameter): who takes it writes to it
bool kept_add(struct kept *kept, unsigned char *mapping, size_t bytes)
{
    if (kept->n == KEPT_MAX)
        return false;
    if (kept->ring == NULL && (kept->ring = malloc(KEPT_MAX * sizeof(*kept->ring))) == NULL)
        return false;
    *at(kept, kept->n++) = (struct region_range){mapping, mapping + bytes};
    kept->bytes += bytes;
    return true;
}

unsigned char *kept_take(struct kept *kept, size_t bytes)
{
    for (unsigned i = 1; i <= kept->n && i <= KEPT_BATCH; i++) {
        unsigned age = kept->n - i;
        if (bytes_of(at(kept, age)) != bytes)
            continue;
        unsigned char *mapping = at(kept, age)->from;
        kept->bytes -= bytes;
        kept->n--;
        for (; age < kept->n; age++)
            *at(kept, age) = *at(kept, age + 1);
        return mapping;
    }
    return NULL;
}

unsigned kept_take_oldest(struct kept *kept, size_t bytes, struct region_range taken[KEPT_BATCH])
{
    unsigned n = 0;
    for (size_t sum = 0; kept->n > 0 && n < KEPT_BATCH && sum < bytes; n++) {
        taken[n] = *at(kept, 0);
        sum += bytes_of(&taken[n]);
        kept->bytes -= bytes_of(&taken[n]);
        kept->oldest = (kept->oldest + 1) % KEPT_MAX;
        kept->n--;
    }
    return n;
}

struct region_range *kept_take_ring(struct kept *kept)
{
    if (kept->n > 0)
        return NULL;
    struct region_range *ring = kept->ring;
    kept->ring = NULL;
    return ring;
}
