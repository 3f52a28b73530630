#include "model/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/wide.h"
#include "base/rng.h"
#include "model/checkpoint_files.h"

const char *moment_part_name(enum moment_part part)
{
    static const char *const names[MOMENT_PART_COUNT] = {
#define X(code, name) #name,
        MOMENT_PARTS(X)
#undef X
    };
    return part < MOMENT_PART_COUNT ? names[part] : "w";
}

/* The slab of a part, the raw iterate among them. */
static float **part_of(struct moments *moments, int part)
{
    return part == MOMENT_RAW ? &moments->raw : &moments->parts[part];
}

unsigned moments_parts(const struct moments *moments)
{
    unsigned parts = moments->raw != NULL ? MOMENTS_RAW : 0;
    for (int part = 0; part < MOMENT_PART_COUNT; part++)
        if (moments->parts[part] != NULL)
            parts |= MOMENT_BIT(part);
    return parts;
}

static void moments_free(struct moments *moments)
{
    if (moments == NULL)
        return;
    for (int part = 0; part <= MOMENT_RAW; part++)
        memory_free(*part_of(moments, part));
    memory_free(moments->steps);
    memory_free(moments);
}

static int fail_memory(const struct tensor_table *table, struct error *error)
{
    return error_set(error, ERROR_NO_MEMORY, "No memory for a checkpoint of %llu parameters; free some and try again.",
                     (unsigned long long)table->parameters);
}

int checkpoint_init(struct checkpoint *checkpoint, const struct shape *shape, struct error *error)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    int code = tensor_table_init(&checkpoint->table, shape, error);
    if (code != 0)
        return code;
    checkpoint->dtype = DTYPE_F32;
    checkpoint->prefixed = true;
    checkpoint->weights = memory_array(checkpoint->table.slab, sizeof *checkpoint->weights);
    if (checkpoint->weights == NULL) {
        code = fail_memory(&checkpoint->table, error);
        checkpoint_fini(checkpoint);
    }
    return code;
}

void checkpoint_fini(struct checkpoint *checkpoint)
{
    moments_free(checkpoint->moments);
    memory_free(checkpoint->weights);
    memory_free(checkpoint->config_text);
    tensor_table_fini(&checkpoint->table);
    memset(checkpoint, 0, sizeof *checkpoint);
}

static struct moments *moments_new(const struct tensor_table *table)
{
    struct moments *moments = memory_new(sizeof *moments);
    if (moments != NULL && (moments->steps = memory_array((size_t)table->count, sizeof *moments->steps)) == NULL) {
        memory_free(moments);
        return NULL;
    }
    return moments;
}

int checkpoint_set_moments(struct checkpoint *checkpoint, unsigned parts, struct error *error)
{
    if (checkpoint->moments == NULL && (checkpoint->moments = moments_new(&checkpoint->table)) == NULL)
        return fail_memory(&checkpoint->table, error);
    for (int part = 0; part <= MOMENT_RAW; part++) {
        float **slab = part_of(checkpoint->moments, part);
        if ((parts & MOMENT_BIT(part)) != 0 && *slab == NULL &&
            (*slab = memory_array(checkpoint->table.slab, sizeof **slab)) == NULL)
            return fail_memory(&checkpoint->table, error);
    }
    for (int part = 0; part <= MOMENT_RAW; part++) {
        float **slab = part_of(checkpoint->moments, part);
        if ((parts & MOMENT_BIT(part)) == 0) {
            memory_free(*slab);
            *slab = NULL;
        }
    }
    return 0;
}

static void copy_moments(struct moments *copy, const struct moments *from, const struct tensor_table *table)
{
    for (int part = 0; part < MOMENT_PART_COUNT; part++)
        if (from->parts[part] != NULL)
            memcpy(copy->parts[part], from->parts[part], table->slab * sizeof *from->parts[part]);
    if (from->raw != NULL)
        memcpy(copy->raw, from->raw, table->slab * sizeof *from->raw);
    memcpy(copy->steps, from->steps, (size_t)table->count * sizeof *from->steps);
    copy->averaging = from->averaging;
}

int checkpoint_copy(struct checkpoint *copy, const struct checkpoint *from, struct error *error)
{
    int code = checkpoint_init(copy, &from->table.shape, error);
    if (code != 0)
        return code;
    memcpy(copy->weights, from->weights, from->table.slab * sizeof *from->weights);
    copy->provenance = from->provenance;
    copy->dtype = from->dtype;
    copy->prefixed = from->prefixed;
    copy->dropout = from->dropout;
    memcpy(copy->hash, from->hash, sizeof copy->hash);
    memcpy(copy->directory, from->directory, sizeof copy->directory);
    if (from->config_text != NULL && (copy->config_text = memory_string(from->config_text)) == NULL)
        code = fail_memory(&copy->table, error);
    if (code == 0 && from->moments != NULL)
        code = checkpoint_set_moments(copy, moments_parts(from->moments), error);
    if (code != 0)
        checkpoint_fini(copy);
    else if (from->moments != NULL)
        copy_moments(copy->moments, from->moments, &from->table);
    return code;
}

void checkpoint_randomize(struct checkpoint *checkpoint, uint64_t seed)
{
    const struct tensor_table *table = &checkpoint->table;
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        enum role role = tensor->row->role;
        struct rng rng = rng_stream(seed, hash_u64(tensor->name, strlen(tensor->name)), RNG_INIT);
        double deviation = tensor_initial_deviation(&table->shape, tensor->row);
        float fixed = role_is_gain(role) ? 1.0f : 0.0f;
        float *values = checkpoint->weights + tensor->offset;
        for (size_t j = 0; j < tensor->count; j++)
            values[j] = deviation > 0 ? (float)(deviation * rng_normal(&rng)) : fixed;
    }
    checkpoint_rehash(checkpoint);
}

void checkpoint_rehash(struct checkpoint *checkpoint)
{
    const struct tensor_table *table = &checkpoint->table;
    const struct shape *shape = &table->shape;
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    char fields[SHAPE_TEXT_BYTES], text[SHAPE_TEXT_BYTES + 128];
    shape_text(shape, fields);
    int length = snprintf(text, sizeof text, "lag checkpoint 1\n%s %s %s\n%s\n", family_name(shape->family),
                          activation_name(shape->activation), dtype_name(checkpoint->dtype), fields);
    CHECK(length > 0 && (size_t)length < sizeof text);
    hash_begin(&state);
    hash_update(&state, text, (size_t)length);
    for (int i = 0; i < table->count; i++)
        hash_update(&state, checkpoint->weights + table->tensors[i].offset,
                    table->tensors[i].count * sizeof *checkpoint->weights);
    hash_end(&state, digest);
    hash_hex(digest, checkpoint->hash);
}

WIDE_LOOP any_nonfinite_loop(const float *values, size_t count, bool *found)
{
    uint32_t special = 0;
#pragma omp simd reduction(| : special)
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        special |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    *found = special != 0;
}

WIDE_FORMS(any_nonfinite, (const float *values, size_t count, bool *found), (values, count, found))

bool checkpoint_find_nonfinite(const float *values, size_t count, size_t *first, size_t *total)
{
    bool found;
    *first = *total = 0;
    any_nonfinite(values, count, &found);     /* fast where all is well */
    if (!found)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]) && (*total)++ == 0)
            *first = i;
    return *total > 0;
}

void checkpoint_file_name(const struct tensor *tensor, enum family family, bool prefixed,
                          char name[CHECKPOINT_NAME_BYTES])
{
    const struct layout *layout = layout_of(family);
    bool outside = layout_is_outside(layout, tensor->row);    /* beside the model that the prefix names */
    int length = snprintf(name, CHECKPOINT_NAME_BYTES, "%s%s", prefixed && !outside ? layout->prefix : "",
                          tensor->name);
    CHECK(length > 0 && length < CHECKPOINT_NAME_BYTES);
}
