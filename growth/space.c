#include "growth/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "growth/space_search.h"
#include "growth/stage.h"

enum { NEAREST_REACH = 256 };     /* how far around what was asked for the nearest reachable value is looked for */

/* ---- targets that nothing reaches ---- */

static bool is_reachable(const struct shape *from, const struct growth_target *target)
{
    struct space_search *search = memory_new(sizeof *search);
    struct error ignored = {0};
    if (search == NULL)
        return false;
    bool found = space_search_run(search, from, target, true, &ignored) == 0 && search->count > 0;
    space_search_end(search);
    memory_free(search);
    return found;
}

/* `value` of the field, with what was asked for before it. */
static bool reaches(const struct shape *from, const struct growth_target *asked, enum target_field field, int64_t value)
{
    struct growth_target target = {0};
    if (value < 1 || value > GROWTH_FF_MAX)
        return false;
    for (int i = 0; i < (int)field; i++)
        target_ask(&target, (enum target_field)i, target_wanted(asked, (enum target_field)i));
    target_ask(&target, field, (int)value);
    return is_reachable(from, &target);
}

/* The reachable value that is nearest to what was asked for: among its neighbours, then among the multiples of what
 * there is; else what there is. */
static int nearest_of(const struct shape *from, const struct growth_target *asked, enum target_field field, int wanted)
{
    int there = target_present(from, field, false);
    for (int distance = 1; distance <= NEAREST_REACH; distance++) {
        if (reaches(from, asked, field, (int64_t)wanted - distance))
            return wanted - distance;
        if (reaches(from, asked, field, (int64_t)wanted + distance))
            return wanted + distance;
    }
    int64_t below = (int64_t)(wanted / there) * there, above = below + there;
    for (int turn = 0; turn < 8 && below > there; turn++, below -= there, above += there) {
        if (reaches(from, asked, field, below))
            return (int)below;
        if (reaches(from, asked, field, above))
            return (int)above;
    }
    return there;
}

static int refuse_target(const struct space_search *search, const struct growth_target *asked, struct error *error)
{
    enum target_field field = (enum target_field)search->furthest;
    const char *name = target_field_name(field);
    int wanted = target_wanted(&search->target, field);
    char pointer[32];
    if (field == TARGET_HEADS && target_wanted(asked, field) == 0)
        field = TARGET_WIDTH;                       /* they were asked for by the width */
    if (field == TARGET_FF && target_wanted(asked, field) == 0)
        field = TARGET_WIDTH;
    snprintf(pointer, sizeof pointer, "/%s", target_field_name(field));
    return error_set_at(error, ERROR_INVALID, pointer, "no operator takes a %s model from %s %d to %d (nearest "
                        "reachable: %s %d)", family_name(search->from->family), name,
                        target_present(search->from, (enum target_field)search->furthest, false), wanted,
                        target_field_name(field), nearest_of(search->from, asked, field, target_wanted(&search->target,
                                                                                                       field)));
}

/* ---- ways ---- */

static int compare_chains(const void *a, const void *b)
{
    const struct space_chain *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    for (int i = 0; i < x->count && i < y->count; i++)
        if (x->links[i].variant != y->links[i].variant)
            return x->links[i].variant < y->links[i].variant ? -1 : 1;
    return x->count - y->count;
}

static bool chains_are_the_same(const struct space_chain *a, const struct space_chain *b)
{
    bool same = a->count == b->count;
    for (int i = 0; i < a->count && same; i++)
        same = strcmp(a->links[i].signature, b->links[i].signature) == 0;
    return same;
}

/* Orders the chains and drops those that grow the bytes of an earlier one. */
static void settle(struct space_search *search)
{
    int kept = 0;
    qsort(search->chains, (size_t)search->count, sizeof *search->chains, compare_chains);
    for (int i = 0; i < search->count; i++) {
        bool known = false;
        for (int j = 0; j < kept && !known; j++)
            known = chains_are_the_same(&search->chains[j], &search->chains[i]);
        if (!known)
            search->chains[kept++] = search->chains[i];
    }
    search->count = kept;
}

/* The first control moves into the last place if the limit would leave none. */
static int cut(struct space_search *search, int most)
{
    if (search->count <= most)
        return search->count;
    int control = 0;
    while (control < search->count && !search->chains[control].control)
        control++;
    if (control >= most && control < search->count && most > 1)
        search->chains[most - 1] = search->chains[control];
    return most;
}

static bool is_taken(const struct growth_space *space, const char *name)
{
    for (int i = 0; i < space->count; i++)
        if (strcmp(space->ways[i].name, name) == 0)
            return true;
    return false;
}

static void way_name(const struct space_search *search, const struct space_chain *chain, const struct growth_space *space,
                     char name[GROWTH_SPACE_NAME_BYTES])
{
    enum { BASE = GROWTH_SPACE_NAME_BYTES - 5 };     /* room for "-640" */
    char base[256] = "";
    for (int i = 0; i < chain->count; i++) {
        size_t length = strlen(base);
        snprintf(base + length, sizeof base - length, "%s%s", i > 0 ? "-" : "",
                 search->variants[chain->links[i].variant].name);
    }
    snprintf(name, GROWTH_SPACE_NAME_BYTES, "%.*s", BASE, base);
    for (unsigned i = 2; is_taken(space, name); i++)
        snprintf(name, GROWTH_SPACE_NAME_BYTES, "%.*s-%u", BASE, base, i % 1000);
}

static int fill(struct growth_space *space, const struct space_search *search, int count, struct error *error)
{
    space->ways = memory_array((size_t)count, sizeof *space->ways);
    if (space->ways == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %d ways to the target", count);
    space->found = search->count;
    for (int i = 0; i < count; i++) {
        struct growth_way *way = &space->ways[i];
        const struct space_chain *chain = &search->chains[i];
        way_name(search, chain, space, way->name);
        (void)space_chain_list(search, chain, &way->list);     /* it was planned: it fills */
        way->control = chain->control;
        space->count++;
    }
    return 0;
}

int growth_space_init(struct growth_space *space, const struct shape *from, const struct growth_target *target, int most,
                      struct error *error)
{
    struct space_search *search = memory_new(sizeof *search);
    *space = (struct growth_space){0};
    if (search == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory to look for ways to the target");
    int code = space_search_run(search, from, target, false, error);
    if (code == 0 && search->count == 0)
        code = refuse_target(search, target, error);
    if (code == 0) {
        settle(search);
        code = fill(space, search, cut(search, most), error);
    }
    space_search_end(search);
    memory_free(search);
    return code;
}

void growth_space_fini(struct growth_space *space)
{
    for (int i = 0; i < space->count; i++)
        growth_list_fini(&space->ways[i].list);
    memory_free(space->ways);
    *space = (struct growth_space){0};
}
