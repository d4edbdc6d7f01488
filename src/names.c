/* SPDX-License-Identifier: MIT
 *
 * names.c - the names of all pools
 *
 * A name is a base and a number: "http" is number 1 of the base "http", and "http-2" number 2. All names of one base
 * are a family, which has the set of their numbers. So the lowest free suffix is found without a look at the pools,
 * however many there are of one name.
 *
 *     asked for    free     then the pool is called    which belongs to
 *     http         http     http                       the family of http, as number 1
 *     http         http-3   http-3                     the family of http, as number 3
 *     http-2       http-2   http-2                     the family of http, as number 2
 *     http-2       -        http-2-2                   the family of http-2, as number 2
 *
 * Families are the nodes of a binary trie over the hash of their bases: the node at depth d is one of those whose
 * hashes begin with the d bits of the path to it. So a new family hangs below the last one that was passed, and any
 * leaf below a family may take its place when it goes. Nothing is ever rebuilt, and no call takes longer than the
 * others.
 */
#include "names.h"

#include "numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 65,535 pools and the number 1 that a base may not use itself need no more. Names with a higher number are bases. */
#define NUMBER_MAX ((size_t)1 << POOL_INDEX_BITS)

/* The default pool's. */
static struct name_family default_family = {
    .base = "default", .length = sizeof("default") - 1, .names = 1, .few = 1, .numbers = {&default_family.few, 1, 0}};

static struct name_family *root = &default_family;
static unsigned next_name = 1; /* of "pool-N" */

/* ---- families ---- */

/* FNV-1a, whose high bits need another turn. */
static uint32_t hash_of(const char *base, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)base[i]) * 16777619u;
    return (hash ^ hash >> 15) * 0x2c1b3c6du;
}

/* The link to the family of that base, or to where it would hang. */
static struct name_family **family_link(const char *base, size_t length)
{
    struct name_family **link = &root;
    for (uint32_t hash = hash_of(base, length);; hash <<= 1) {
        struct name_family *family = *link;
        if (family == NULL || (family->length == length && memcmp(family->base, base, length) == 0))
            return link;
        link = &family->below[hash >> 31];
    }
}

/* What a name is made of: the length of its base, and its number. */
static size_t base_of(const char *name, size_t length, size_t *number)
{
    size_t digits = 0, value = 0, weight = 1;
    *number = 1;
    for (; digits < length && weight <= NUMBER_MAX; digits++, weight *= 10) {
        const char c = name[length - 1 - digits];
        if (c < '0' || c > '9')
            break;
        value += (size_t)(c - '0') * weight;
    }
    if (digits == 0 || digits == length || name[length - digits] == '0' || name[length - 1 - digits] != '-' ||
        value < 2 || value > NUMBER_MAX)
        return length;
    *number = value;
    return length - 1 - digits;
}

static struct name_family *family_make(struct name_family **link, const char *base, size_t length)
{
    struct name_family *family = malloc(sizeof(*family) + length + 1);
    if (family == NULL)
        return NULL;
    char *copy = memcpy(family + 1, base, length);
    copy[length] = '\0';
    *family = (struct name_family){.base = copy, .length = length, .numbers = {&family->few, 1, 0}};
    size_t number;
    if (base_of(base, length, &number) < length) /* the name without a suffix is another family's */
        numbers_add(&family->numbers, 0);
    *link = family;
    return family;
}

/* Takes the family out if it has no names. */
static void family_end(struct name_family *family)
{
    if (family->names > 0)
        return;
    struct name_family **link = family_link(family->base, family->length), **leaf = link;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the family is in the tree, so its link leads to it
    while ((*leaf)->below[0] != NULL || (*leaf)->below[1] != NULL)
        leaf = &(*leaf)->below[(*leaf)->below[0] == NULL];
    struct name_family *heir = *leaf;
    *leaf = NULL;
    if (heir != family) {
        memcpy(heir->below, family->below, sizeof(heir->below));
        *link = heir;
    }
    if (family->numbers.words != &family->few)
        free(family->numbers.words);
    free(family);
}

/* Makes room for the bit, if there is none yet. (Number n has bit n - 1.) Returns false if there is no memory. */
static bool has_room(struct name_family *family, size_t bit)
{
    struct numbers *set = &family->numbers;
    if (bit / 64 < set->size)
        return true;
    size_t size = set->size;
    while (size <= bit / 64)
        size *= 2;
    uint64_t *words = realloc(set->words == &family->few ? NULL : set->words, size * sizeof(*words));
    if (words == NULL)
        return false;
    if (set->words == &family->few)
        words[0] = family->few;
    memset(words + set->size, 0, (size - set->size) * sizeof(*words));
    set->words = words;
    set->size = size;
    return true;
}

/* ---- for the registry ---- */

static struct name_family *family_of(const char *base, size_t length)
{
    struct name_family **link = family_link(base, length);
    return *link != NULL ? *link : family_make(link, base, length);
}

/* Returns the family that the pool's name will belong to, and in *bit the bit of its number there. Returns NULL if
 * there is no memory. */
static struct name_family *find_free(const char *name, size_t length, size_t *bit)
{
    size_t number;
    const size_t base = base_of(name, length, &number);
    struct name_family *family = NULL;
    *bit = number - 1;
    if (number > 1) {
        family = family_of(name, base);
        if (family == NULL || !numbers_have(&family->numbers, *bit))
            return family;
    }
    family = family_of(name, length);
    if (family != NULL)
        *bit = numbers_lowest_free(&family->numbers);
    return family;
}

bool names_take(bufferpool_t *pool, const char *name)
{
    char numbered[32];
    if (name == NULL) {
        (void)snprintf(numbered, sizeof(numbered), "pool-%u", next_name++);
        name = numbered;
    }
    const size_t length = strlen(name), size = length + sizeof("-65536");
    char *unique = malloc(size);
    if (unique == NULL)
        return false;
    size_t bit;
    struct name_family *family = find_free(name, length, &bit);
    if (family == NULL || !has_room(family, bit)) {
        if (family != NULL)
            family_end(family);
        free(unique);
        return false;
    }
    numbers_add(&family->numbers, bit);
    family->names++;
    if (bit > 0)
        (void)snprintf(unique, size, "%s-%zu", family->base, bit + 1);
    else
        memcpy(unique, name, length + 1);
    pool->name = unique;
    pool->family = family;
    pool->number = bit + 1;
    return true;
}

void names_give(const bufferpool_t *pool)
{
    numbers_remove(&pool->family->numbers, pool->number - 1);
    pool->family->names--;
    family_end(pool->family);
}
