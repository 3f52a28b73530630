/* The buffers that windows are turned into a batch in. */
#include <string.h>

#include "base/memory.h"
#include "trainer/objective.h"

/* Numbers of each buffer of one window. */
struct part_counts { size_t inputs, targets, prefix, decoder_inputs, work, mask, decoder_mask; };

static struct part_counts part_counts(const struct objective_sizes *sizes, int context)
{
    return (struct part_counts){
        .inputs = (size_t)sizes->inputs,
        .targets = (size_t)sizes->targets,
        .prefix = sizes->prefix ? 1 : 0,
        .decoder_inputs = sizes->decoder ? (size_t)sizes->targets : 0,
        .work = OBJECTIVE_WORK * ((size_t)context + 1),
        .mask = sizes->mask ? (size_t)sizes->inputs : 0,
        .decoder_mask = sizes->decoder_mask ? (size_t)sizes->targets : 0,
    };
}

size_t objective_parts_bytes(const struct objective_spec *spec, const struct shape *shape, int rows, int context)
{
    const struct objective_sizes sizes = objective_sizes_of(spec, shape, context);
    const struct part_counts counts = part_counts(&sizes, context);
    size_t row = (counts.inputs + counts.targets + counts.prefix + counts.decoder_inputs) * sizeof(int32_t) +
                 counts.mask + counts.decoder_mask, bytes;
    if (memory_multiply(row, (size_t)rows, &bytes) != 0 ||
        __builtin_add_overflow(bytes, counts.work * sizeof(int32_t), &bytes)) {
        return 0;
    }
    return bytes;
}

/* False: no memory. Nothing is wanted of a buffer of 0 numbers. */
static bool part_make(void *part, size_t rows, size_t count, size_t size)
{
    void *made = count > 0 ? memory_array(rows * count, size) : NULL;
    memcpy(part, &made, sizeof made);
    return made != NULL || count == 0;
}

int objective_parts_make(struct objective_parts *parts, const struct objective_spec *spec, const struct shape *shape,
                         int rows, int context, struct error *error)
{
    *parts = (struct objective_parts){
        .spec = *spec, .shape = *shape, .sizes = objective_sizes_of(spec, shape, context), .rows = rows,
        .context = context,
    };
    const struct part_counts counts = part_counts(&parts->sizes, context);
    const size_t n = (size_t)rows, word = sizeof(int32_t);
    if (part_make(&parts->inputs, n, counts.inputs, word) && part_make(&parts->targets, n, counts.targets, word) &&
        part_make(&parts->prefix, n, counts.prefix, word) &&
        part_make(&parts->decoder_inputs, n, counts.decoder_inputs, word) &&
        part_make(&parts->work, 1, counts.work, word) && part_make(&parts->mask, n, counts.mask, 1) &&
        part_make(&parts->decoder_mask, n, counts.decoder_mask, 1)) {
        return 0;
    }
    objective_parts_free(parts);
    return error_set(error, ERROR_NO_MEMORY, "No memory for the token buffers of %d sequences.", rows);
}

void objective_parts_free(struct objective_parts *parts)
{
    memory_free(parts->inputs);
    memory_free(parts->targets);
    memory_free(parts->prefix);
    memory_free(parts->decoder_inputs);
    memory_free(parts->work);
    memory_free(parts->mask);
    memory_free(parts->decoder_mask);
    memset(parts, 0, sizeof *parts);
}

/* Row `row` of a buffer of rows of `count` numbers; NULL without the buffer. */
static int32_t *words_at(int32_t *part, int row, int count)
{
    return part == NULL ? NULL : part + (size_t)row * (size_t)count;
}

static unsigned char *bytes_at(unsigned char *part, int row, int count)
{
    return part == NULL ? NULL : part + (size_t)row * (size_t)count;
}

void objective_fill_row(struct objective_parts *parts, int row, int context, const int32_t *tokens, struct rng stream,
                        uint64_t number)
{
    const struct objective_sizes sizes = objective_sizes_of(&parts->spec, &parts->shape, context);
    struct objective_window window = {
        .spec = &parts->spec,
        .shape = &parts->shape,
        .sizes = sizes,
        .context = context,
        .tokens = tokens,
        .rng = rng_at(stream, number * OBJECTIVE_DRAWS * ((uint64_t)context + 1)),
        .inputs = words_at(parts->inputs, row, sizes.inputs),
        .targets = words_at(parts->targets, row, sizes.targets),
        .mask = bytes_at(parts->mask, row, sizes.inputs),
        .prefix = words_at(parts->prefix, row, 1),
        .decoder_inputs = words_at(parts->decoder_inputs, row, sizes.targets),
        .decoder_mask = bytes_at(parts->decoder_mask, row, sizes.targets),
        .work = parts->work,
    };
    objective_of(parts->spec.name)->fill(&window);
}

struct batch objective_batch(const struct objective_parts *parts, int rows, int context)
{
    const struct objective_sizes sizes = objective_sizes_of(&parts->spec, &parts->shape, context);
    return (struct batch){
        .rows = rows,
        .context = sizes.inputs,
        .inputs = parts->inputs,
        .targets = parts->targets,
        .mask = parts->mask,
        .prefix = parts->prefix,
        .decoder_context = sizes.decoder ? sizes.targets : 0,
        .decoder_inputs = parts->decoder_inputs,
        .decoder_mask = parts->decoder_mask,
    };
}

uint64_t batch_predicted(const struct batch *batch)
{
    const size_t count = (size_t)batch->rows *
                         (size_t)(batch->decoder_context > 0 ? batch->decoder_context : batch->context);
    uint64_t predicted = 0;
    for (size_t i = 0; i < count; i++) {
        predicted += batch->targets[i] != TARGET_IGNORED;
    }
    return predicted;
}
