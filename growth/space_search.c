#include "growth/space_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "growth/plan.h"
#include "growth/stage.h"

/* ---- variants and steps ---- */

static bool is_named(const struct growth_variant *rows, int count, const char *op)
{
    for (int i = 0; i < count; i++)
        if (strcmp(rows[i].op, op) == 0)
            return true;
    return false;
}

/* Rows of the table whose operator is there, and a row for each operator that the table does not name. */
static void search_variants(struct space_search *search)
{
    int rows, operators;
    const struct growth_variant *table = growth_variants(&rows);
    const struct growth_operator *const *all = growth_operators(&operators);
    for (int i = 0; i < rows && search->variant_count < SPACE_VARIANTS_MAX; i++)
        if (growth_operator_find(table[i].op) != NULL)
            search->variants[search->variant_count++] = table[i];
    for (int i = 0; i < operators && search->variant_count < SPACE_VARIANTS_MAX; i++)
        if (!is_named(table, rows, all[i]->name))
            search->variants[search->variant_count++] = (struct growth_variant){
                .op = all[i]->name, .name = all[i]->name, .rank = GROWTH_VARIANT_LAST};
}

static int parameter_index(const struct growth_operator *op, const char *name)
{
    for (int i = 0; i < op->parameter_count; i++)
        if (strcmp(op->parameters[i].name, name) == 0)
            return i;
    return -1;
}

static int choice_of(const char *choices, const char *text)
{
    int index = 0;
    for (const char *at = choices; ; at = strchr(at, '|') + 1, index++) {
        size_t length = strcspn(at, "|");
        if (strlen(text) == length + 2 && strncmp(at, text + 1, length) == 0)
            return index;
        if (at[length] == '\0')
            return -1;
    }
}

/* `text`: JSON. false if the operator has no such parameter, or the parameter no such value. */
static bool step_set(struct growth_step *step, const char *name, const char *text)
{
    int index = parameter_index(step->op, name);
    if (index < 0)
        return false;
    const struct parameter *row = &step->op->parameters[index];
    struct parameter_value *value = &step->values[index];
    *value = (struct parameter_value){.given = true, .present = true, .is_null = strcmp(text, "null") == 0};
    if (text[0] == '"' && row->choices != NULL)
        value->integer = choice_of(row->choices, text);
    else if (row->type == PARAMETER_INTEGER)
        value->integer = strtoll(text, NULL, 10);
    else if (row->type == PARAMETER_NUMBER)
        value->number = strtod(text, NULL);
    else if (!value->is_null)
        return false;
    return value->integer >= 0;
}

static bool step_fill(const struct space_search *search, const struct space_link *link, struct growth_step *step)
{
    const struct growth_variant *variant = &search->variants[link->variant];
    *step = (struct growth_step){.op = growth_operator_find(variant->op)};
    for (int field = 0; field < TARGET_FIELD_COUNT; field++) {
        char text[16];
        snprintf(text, sizeof text, "%d", target_wanted(&search->target, (enum target_field)field));
        if ((link->fields >> field & 1) != 0 && !step_set(step, target_field_name((enum target_field)field), text))
            return false;
    }
    return variant->parameter == NULL || step_set(step, variant->parameter, variant->value);
}

bool space_chain_list(const struct space_search *search, const struct space_chain *chain, struct growth_list *list)
{
    list->count = chain->count;
    for (int i = 0; i < chain->count; i++)
        if (!step_fill(search, &chain->links[i], &list->steps[i]))
            return false;
    return true;
}

/* ---- chains ---- */

/* What the last stage does, as text: equal texts after equal stages grow equal bytes. */
static void sign(const struct space_search *search, const struct growth_plan_stage *stage, struct space_link *link)
{
    int blocks = stage->layers == NULL ? 0 : stage->to.layers + stage->to.decoder_layers;
    int32_t how[2] = {stage->diagonal, stage->noisy};
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    if (!search->variants[link->variant].map_only) {
        snprintf(link->signature, sizeof link->signature, "%d/%u", link->variant, link->fields);
        return;
    }
    hash_begin(&state);
    hash_update(&state, how, sizeof how);
    for (int kind = 0; kind < UNIT_KIND_COUNT; kind++)
        if (stage->units[kind].source != NULL)
            hash_update(&state, stage->units[kind].source, (size_t)stage->units[kind].count * sizeof(int32_t));
    for (int i = 0; i < blocks; i++) {
        int32_t entry[2] = {stage->layers[i], stage->identity != NULL && stage->identity[i]};
        hash_update(&state, entry, sizeof entry);
    }
    hash_end(&state, digest);
    hash_hex(digest, link->signature);
}

/* Every field up to `field` is reached, none behind it is passed. */
static bool is_on_the_way(const struct space_search *search, int field, const struct shape *shape)
{
    for (int i = 0; i < TARGET_FIELD_COUNT; i++) {
        enum target_field it = (enum target_field)i;
        int wanted = target_wanted(&search->target, it);
        bool passed = wanted > 0 && (target_present(shape, it, false) > wanted || target_present(shape, it, true) > wanted);
        if (passed || (i <= field && !target_field_is_reached(&search->target, it, shape)))
            return false;
    }
    return true;
}

/* Adds the link to the chain if it leads on; *to: the shape then. An operator that does not apply is no error. */
static int extend(struct space_search *search, struct space_chain *chain, int field, struct space_link link, struct shape *to,
                  bool *leads_on, struct error *error)
{
    struct growth_plan plan;
    struct error refusal = {0};
    const struct growth_variant *variant = &search->variants[link.variant];
    *leads_on = false;
    chain->links[chain->count++] = link;
    if (space_chain_list(search, chain, search->list)) {
        int code = growth_plan_init(&plan, search->from, search->list, &refusal);
        if (code == ERROR_NO_MEMORY)
            return error_set(error, ERROR_NO_MEMORY, "no memory to look for ways to the target");
        if (code == 0) {
            *to = plan.to;
            *leads_on = is_on_the_way(search, field, to);
            sign(search, &plan.stages[plan.stage_count - 1], &chain->links[chain->count - 1]);
            growth_plan_fini(&plan);
        }
    }
    if (!*leads_on) {
        chain->count--;
        return 0;
    }
    chain->rank += variant->rank;
    chain->control = chain->control || variant->control;
    return 0;
}

static int keep(struct space_search *search, const struct space_chain *chain, struct error *error)
{
    if (search->count == search->capacity) {
        int capacity = search->capacity == 0 ? 32 : 2 * search->capacity;
        struct space_chain *grown = memory_resize(search->chains, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return error_set(error, ERROR_NO_MEMORY, "no memory for %d ways to the target", capacity);
        search->chains = grown;
        search->capacity = capacity;
    }
    search->chains[search->count++] = *chain;
    return 0;
}

static int first_missing(const struct space_search *search, const struct shape *shape)
{
    int field = 0;
    while (field < TARGET_FIELD_COUNT && target_field_is_reached(&search->target, (enum target_field)field, shape))
        field++;
    return field;
}

/* The fields from `field` on that are missing and that the operator has parameters for. */
static unsigned fields_of(const struct space_search *search, const struct growth_operator *op, int field,
                          const struct shape *shape)
{
    unsigned fields = 0;
    for (int i = field; i < TARGET_FIELD_COUNT; i++)
        if (!target_field_is_reached(&search->target, (enum target_field)i, shape) &&
            parameter_index(op, target_field_name((enum target_field)i)) >= 0)
            fields |= 1u << i;
    return fields;
}

/* Goes on from `shape`, which the chain has led to. */
static int explore(struct space_search *search, const struct space_chain *chain, const struct shape *shape, struct error *error)
{
    int field = first_missing(search, shape), code = 0;
    if (field == TARGET_FIELD_COUNT)
        return keep(search, chain, error);
    search->furthest = field > search->furthest ? field : search->furthest;
    if (chain->count == TARGET_FIELD_COUNT)
        return 0;
    for (int i = 0; i < search->variant_count && code == 0 && !(search->probe && search->count > 0); i++) {
        unsigned all = fields_of(search, growth_operator_find(search->variants[i].op), field, shape);
        unsigned tries[2] = {all, 1u << field};
        if ((all >> field & 1) == 0)
            continue;
        bool leads_on = false;
        for (int j = 0; j < (all == tries[1] ? 1 : 2) && code == 0 && !leads_on; j++) {
            struct space_chain longer = *chain;
            struct shape to;
            code = extend(search, &longer, field, (struct space_link){.variant = i, .fields = tries[j]}, &to, &leads_on,
                          error);
            if (code == 0 && leads_on)
                code = explore(search, &longer, &to, error);
        }
    }
    return code;
}

int space_search_run(struct space_search *search, const struct shape *from, const struct growth_target *target, bool probe,
                      struct error *error)
{
    *search = (struct space_search){.from = from, .probe = probe};
    struct space_chain none = {.count = 0};
    int code = target_complete(from, target, &search->target, error);
    if (code != 0)
        return code;
    search_variants(search);
    search->list = memory_new(sizeof *search->list);
    if (search->list == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory to look for ways to the target");
    return explore(search, &none, from, error);
}

void space_search_end(struct space_search *search)
{
    memory_free(search->list);     /* its values own nothing */
    memory_free(search->chains);
}
