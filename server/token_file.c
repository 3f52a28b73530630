#include "server/token_file.h"

#include <string.h>

#include "base/memory.h"
#include "model/safetensors.h"

enum { ROWS_MAX = 1 << 20 };

/* How a part is checked: its values are below a limit. */
struct part_row {
    const char *name;
    bool decoder;        /* of the decoder's side */
    bool mask;           /* may be of bytes; a row without a 1 is refused */
    int (*limit)(const struct shape *shape);   /* 0: the model has no such part */
    const char *values;  /* what they are */
};

static int vocabulary(const struct shape *shape) { return shape->vocabulary; }
static int decoder_vocabulary(const struct shape *shape) { return shape->decoder_layers > 0 ? shape->vocabulary : 0; }
static int types(const struct shape *shape) { return shape->family == FAMILY_BERT ? shape->types : 0; }
static int two(const struct shape *shape) { (void)shape; return 2; }
static int decoder_two(const struct shape *shape) { return shape->decoder_layers > 0 ? 2 : 0; }

static const struct part_row PARTS[PART_COUNT] = {
    [PART_INPUTS] = { "input_ids", false, false, vocabulary, "tokens" },
    [PART_MASK] = { "attention_mask", false, true, two, "values" },
    [PART_TYPES] = { "token_type_ids", false, false, types, "token types" },
    [PART_DECODER_INPUTS] = { "decoder_input_ids", true, false, decoder_vocabulary, "tokens" },
    [PART_DECODER_MASK] = { "decoder_attention_mask", true, true, decoder_two, "values" },
};

static bool is_bytes(const struct safetensors_entry *entry)
{
    return entry->dtype == DTYPE_U8 || entry->dtype == DTYPE_BOOL;
}

static int check_sizes(const struct part_row *part, const struct safetensors_entry *entry, const struct shape *shape,
                       const char *path, struct error *error)
{
    bool is_kind = entry->dtype == DTYPE_I64 || (part->mask && is_bytes(entry));

    if (!is_kind || entry->rank != 2 || entry->dims[0] < 1 || entry->dims[1] < 1)
        return error_set(error, ERROR_INVALID, "%s in %s must be %s tensor of shape (rows, positions)", entry->name, path,
                         part->mask ? "an I64, U8 or BOOL" : "an I64");
    if (entry->dims[1] > (uint64_t)shape->context)
        return error_set(error, ERROR_INVALID, "%s has %llu positions, the model has %d; cut the rows", entry->name,
                         (unsigned long long)entry->dims[1], shape->context);
    if (entry->dims[0] > ROWS_MAX)
        return error_set(error, ERROR_INVALID, "%s has over a million rows; split the file", entry->name);
    return 0;
}

/* The first tensor of a side says how large the others are. */
static int fit_sizes(struct token_file *file, const struct part_row *part, const struct safetensors_entry *entry,
                     struct error *error)
{
    int *context = part->decoder ? &file->decoder_context : &file->context;

    if (file->rows == 0)
        file->rows = (int)entry->dims[0];
    if (*context == 0)
        *context = (int)entry->dims[1];
    if (file->rows != (int)entry->dims[0] || *context != (int)entry->dims[1])
        return error_set(error, ERROR_INVALID, "%s is (%llu, %llu), but the tokens beside it are (%d, %d); give it their shape",
                         entry->name, (unsigned long long)entry->dims[0], (unsigned long long)entry->dims[1], file->rows,
                         *context);
    return 0;
}

/* The tensor's values as int64, whatever it keeps them in. */
static int read_wide(const struct safetensors *source, const struct safetensors_entry *entry, int64_t *wide,
                     size_t count, struct error *error)
{
    if (safetensors_read_raw(source, entry, wide, error))
        return (int)error->code;
    const unsigned char *bytes = (const unsigned char *)wide;
    for (size_t i = count; is_bytes(entry) && i-- > 0;)     /* from the end: no byte is overwritten before it is read */
        wide[i] = bytes[i];
    return 0;
}

static int narrow(const struct part_row *part, const int64_t *wide, size_t count, int limit, int32_t *values,
                  struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (wide[i] < 0 || wide[i] >= limit)
            return error_set(error, ERROR_INVALID, "%s[%zu] is %lld; %s are 0 to %d here", part->name, i,
                             (long long)wide[i], part->values, limit - 1);
        values[i] = (int32_t)wide[i];
    }
    return 0;
}

/* A row of padding alone has no answer. */
static int check_rows(const struct part_row *part, const int32_t *values, int rows, int context, struct error *error)
{
    for (int row = 0; part->mask && row < rows; row++) {
        int ones = 0;
        for (int i = 0; i < context; i++)
            ones += values[(size_t)row * (size_t)context + (size_t)i];
        if (ones == 0)
            return error_set(error, ERROR_INVALID, "row %d of %s has no 1: nothing is left to attend to; leave the row out",
                             row, part->name);
    }
    return 0;
}

static int read_part(struct token_file *file, enum token_part index, const struct safetensors *source, const char *path,
                     const struct shape *shape, struct error *error)
{
    const struct part_row *part = &PARTS[index];
    const struct safetensors_entry *entry = safetensors_find(source, part->name);
    int limit = part->limit(shape);

    if (!entry)
        return 0;
    if (limit == 0)
        return error_set(error, ERROR_INVALID, "%s has %s, which %s models do not read; leave it out", path, part->name,
                         family_name(shape->family));
    if (check_sizes(part, entry, shape, path, error) || fit_sizes(file, part, entry, error))
        return (int)error->code;
    size_t count = (size_t)entry->dims[0] * (size_t)entry->dims[1];
    int64_t *wide = memory_array(count, sizeof *wide);
    file->parts[index] = memory_array(count, sizeof(int32_t));
    if (!wide || !file->parts[index])
        error_set(error, ERROR_NO_MEMORY, "reading %s: out of memory", path);
    else if (read_wide(source, entry, wide, count, error) == 0
             && narrow(part, wide, count, limit, file->parts[index], error) == 0)
        check_rows(part, file->parts[index], (int)entry->dims[0], (int)entry->dims[1], error);
    memory_free(wide);
    return (int)error->code;
}

static int check_needed(const struct token_file *file, const struct shape *shape, const char *path, struct error *error)
{
    if (!file->parts[PART_INPUTS])
        return error_set(error, ERROR_INVALID, "%s needs an I64 tensor input_ids of shape (rows, positions)", path);
    if (shape->decoder_layers > 0 && !file->parts[PART_DECODER_INPUTS])
        return error_set(error, ERROR_INVALID, "%s needs an I64 tensor decoder_input_ids of shape (rows, positions): %s "
                         "models have a decoder", path, family_name(shape->family));
    return 0;
}

int token_file_read(struct token_file *file, const char *path, const struct shape *shape, struct error *error)
{
    struct safetensors source;

    *file = (struct token_file){ 0 };
    if (safetensors_open(&source, path, 0, error))
        return (int)error->code;
    for (int part = 0; part < PART_COUNT && !error->code; part++)
        read_part(file, (enum token_part)part, &source, path, shape, error);
    safetensors_close(&source);
    if (error->code || check_needed(file, shape, path, error))
        return (int)error->code;
    file->row_masks[0] = memory_array((size_t)file->context, 1);
    file->row_masks[1] = memory_array((size_t)file->decoder_context + 1, 1);
    if (!file->row_masks[0] || !file->row_masks[1])
        return error_set(error, ERROR_NO_MEMORY, "reading %s: out of memory", path);
    return 0;
}

void token_file_free(struct token_file *file)
{
    for (int part = 0; part < PART_COUNT; part++)
        memory_free(file->parts[part]);
    memory_free(file->row_masks[0]);
    memory_free(file->row_masks[1]);
    *file = (struct token_file){ 0 };
}

static const int32_t *row_of(const struct token_file *file, enum token_part part, int row)
{
    int context = PARTS[part].decoder ? file->decoder_context : file->context;

    return file->parts[part] ? file->parts[part] + (size_t)row * (size_t)context : NULL;
}

/* A mask of bytes, NULL where none was given. */
static const unsigned char *mask_of(struct token_file *file, enum token_part part, int row)
{
    const int32_t *values = row_of(file, part, row);
    unsigned char *mask = file->row_masks[PARTS[part].decoder];
    int context = PARTS[part].decoder ? file->decoder_context : file->context;

    for (int i = 0; values && i < context; i++)
        mask[i] = values[i] != 0;
    return values ? mask : NULL;
}

struct batch token_file_row(struct token_file *file, int row)
{
    const int32_t *inputs = row_of(file, PART_INPUTS, row), *decoder = row_of(file, PART_DECODER_INPUTS, row);

    return (struct batch){
        .rows = 1, .context = file->context, .inputs = inputs, .targets = decoder ? decoder : inputs,
        .mask = mask_of(file, PART_MASK, row), .types = row_of(file, PART_TYPES, row),
        .decoder_context = file->decoder_context, .decoder_inputs = decoder,
        .decoder_mask = mask_of(file, PART_DECODER_MASK, row),
    };
}
