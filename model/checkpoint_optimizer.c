/* optimizer.safetensors read: `<tensor>.w .m .v .z .momentum`, those of its optimizer, of the tensor's shape in F32, and
 * `<tensor>.step`, an I64 scalar. The hash of the weights file in its metadata ties it to the weights it belongs to. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"

/* An optimizer file being matched to a checkpoint's table. */
struct optimizer_file {
    struct safetensors file;
    bool *known;                 /* by entry: belongs to a tensor of the table */
    unsigned parts;              /* bits of moments_parts */
    bool prefixed;
    const struct tensor_table *table;
};

static const struct safetensors_entry *find_part(const struct optimizer_file *optimizer, const struct tensor *tensor,
                                                 const char *part, char name[CHECKPOINT_PART_BYTES])
{
    char base[CHECKPOINT_NAME_BYTES];
    checkpoint_file_name(tensor, optimizer->table->shape.family, optimizer->prefixed, base);
    snprintf(name, CHECKPOINT_PART_BYTES, "%s.%s", base, part);
    return safetensors_find(&optimizer->file, name);
}

static bool has_shape(const struct safetensors_entry *entry, const struct tensor *tensor)
{
    if (entry->rank != tensor->row->rank)
        return false;
    for (int i = 0; i < entry->rank; i++)
        if (entry->dims[i] != (uint64_t)tensor->dims[i])
            return false;
    return true;
}

static void check_part(struct optimizer_file *optimizer, const struct tensor *tensor, const char *part,
                       struct disagreements *found)
{
    char name[CHECKPOINT_PART_BYTES];
    const struct safetensors_entry *entry = find_part(optimizer, tensor, part, name);
    bool counter = strcmp(part, "step") == 0;
    if (entry == NULL) {
        disagreements_add(found, name, "missing in " CHECKPOINT_OPTIMIZER_FILE "; delete that file or save it again");
        return;
    }
    optimizer->known[entry - optimizer->file.entries] = true;
    if (entry->dtype != (counter ? DTYPE_I64 : DTYPE_F32))
        disagreements_add(found, name, "dtype %s, %s is expected", dtype_name(entry->dtype), counter ? "I64" : "F32");
    else if (counter ? entry->rank != 0 : !has_shape(entry, tensor))
        disagreements_add(found, name, "another shape than %s", counter ? "a scalar" : "its tensor's");
}

static int match_parts(struct optimizer_file *optimizer, struct error *error)
{
    struct disagreements found = {.count = 0};
    for (int i = 0; i < optimizer->table->count; i++) {
        const struct tensor *tensor = &optimizer->table->tensors[i];
        if (optimizer->parts & MOMENTS_RAW)
            check_part(optimizer, tensor, "w", &found);
        for (int part = 0; part < MOMENT_PART_COUNT; part++)
            if (optimizer->parts & MOMENT_BIT(part))
                check_part(optimizer, tensor, moment_part_name(part), &found);
        check_part(optimizer, tensor, "step", &found);
    }
    for (int i = 0; i < optimizer->file.count; i++)
        if (!optimizer->known[i])
            disagreements_add(&found, optimizer->file.entries[i].name, "unexpected in " CHECKPOINT_OPTIMIZER_FILE
                              "; it was saved for another model or optimizer");
    return disagreements_report(&found, CHECKPOINT_OPTIMIZER_FILE " and the model", error);
}

static int check_hash(const struct optimizer_file *optimizer, const struct checkpoint_source *source,
                      struct error *error)
{
    const char *stored = safetensors_metadata(&optimizer->file, CHECKPOINT_HASH_KEY);
    char actual[HASH_HEX_BYTES];
    if (stored == NULL)
        return error_set(error, ERROR_INVALID, CHECKPOINT_OPTIMIZER_FILE " has no " CHECKPOINT_HASH_KEY " in its "
                         "metadata, so that nobody can tell whose it is; delete it.");
    int code = checkpoint_source_hash(source, actual, error);
    if (code == 0 && strcmp(stored, actual) != 0)
        code = error_set(error, ERROR_INVALID, CHECKPOINT_OPTIMIZER_FILE " belongs to other weights (their hash is "
                         "%.16s, these have %.16s); delete it or restore the model file that it was saved with.",
                         stored, actual);
    return code;
}

static int read_floats(const struct optimizer_file *optimizer, const struct tensor *tensor, const char *part,
                       float *slab, struct error *error)
{
    char name[CHECKPOINT_PART_BYTES];
    const struct safetensors_entry *entry = find_part(optimizer, tensor, part, name);
    float *values = slab + tensor->offset;
    size_t first, total;
    int code = safetensors_read_floats(&optimizer->file, entry, 0, tensor->count, values, error);
    if (code == 0 && checkpoint_find_nonfinite(values, tensor->count, &first, &total))
        code = error_set_at(error, ERROR_INVALID, name, "Tensor \"%s\" of " CHECKPOINT_OPTIMIZER_FILE " holds NaN or "
                            "Inf: the first at index %zu, %zu of %zu values; delete that file.", name, first, total,
                            tensor->count);
    return code;
}

static int read_step(const struct optimizer_file *optimizer, const struct tensor *tensor, uint64_t *step,
                     struct error *error)
{
    char name[CHECKPOINT_PART_BYTES];
    int64_t value = 0;
    int code = safetensors_read_raw(&optimizer->file, find_part(optimizer, tensor, "step", name), &value, error);
    if (code == 0 && value < 0)
        code = error_set_at(error, ERROR_INVALID, name, "The step counter \"%s\" is %lld; a count can not be negative, "
                            "delete " CHECKPOINT_OPTIMIZER_FILE ".", name, (long long)value);
    *step = (uint64_t)value;
    return code;
}

/* A second moment is a mean of squares. */
static int check_squares(const struct tensor *tensor, const float *v, struct error *error)
{
    for (size_t i = 0; i < tensor->count; i++)
        if (v[i] < 0)
            return error_set_at(error, ERROR_INVALID, tensor->name, "\"%s.v\" is negative at index %zu; delete "
                                CHECKPOINT_OPTIMIZER_FILE ".", tensor->name, i);
    return 0;
}

/* A number of the metadata, at least 0. */
static int read_number(const struct optimizer_file *optimizer, const char *key, double *number, struct error *error)
{
    const char *text = safetensors_metadata(&optimizer->file, key);
    char *end = NULL;
    *number = text == NULL ? -1 : strtod(text, &end);
    if (text != NULL && end != text && *end == 0 && isfinite(*number) && *number >= 0)
        return 0;
    return error_set(error, ERROR_INVALID, "The metadata of " CHECKPOINT_OPTIMIZER_FILE " should say %s, a number of at least "
                     "0, beside a schedule-free optimizer's state; delete that file or save it again.", key);
}

static int read_averaging(const struct optimizer_file *optimizer, struct averaging *averaging, struct error *error)
{
    static const double COUNT_MAX = 9007199254740992.0;
    double updates;
    int code = read_number(optimizer, CHECKPOINT_UPDATES_KEY, &updates, error);
    if (code == 0)
        code = read_number(optimizer, CHECKPOINT_WEIGHT_SUM_KEY, &averaging->weight_sum, error);
    if (code == 0)
        code = read_number(optimizer, CHECKPOINT_RATE_KEY, &averaging->rate_maximum, error);
    if (code == 0 && (updates > COUNT_MAX || floor(updates) < updates))
        code = error_set(error, ERROR_INVALID, "%s in the metadata of " CHECKPOINT_OPTIMIZER_FILE " is no count; delete that "
                         "file or save it again.", CHECKPOINT_UPDATES_KEY);
    averaging->updates = code == 0 ? (uint64_t)updates : 0;
    return code;
}

static int read_moments(const struct optimizer_file *optimizer, struct moments *moments, struct error *error)
{
    int code = optimizer->parts & MOMENT_BIT(MOMENT_Z) ? read_averaging(optimizer, &moments->averaging, error) : 0;
    for (int i = 0; i < optimizer->table->count && code == 0; i++) {
        const struct tensor *tensor = &optimizer->table->tensors[i];
        if (optimizer->parts & MOMENTS_RAW)
            code = read_floats(optimizer, tensor, "w", moments->raw, error);
        for (int part = 0; part < MOMENT_PART_COUNT && code == 0; part++)
            if (optimizer->parts & MOMENT_BIT(part))
                code = read_floats(optimizer, tensor, moment_part_name(part), moments->parts[part], error);
        if (code == 0 && moments->v != NULL)
            code = check_squares(tensor, moments->v + tensor->offset, error);
        if (code == 0)
            code = read_step(optimizer, tensor, &moments->steps[i], error);
    }
    return code;
}

/* Those that any tensor has; Adam's where no other optimizer's are there, so that what lacks is named. */
static unsigned parts_present(const struct optimizer_file *optimizer)
{
    char name[CHECKPOINT_PART_BYTES];
    unsigned parts = 0;
    for (int i = 0; i < optimizer->table->count; i++)
        for (int part = 0; part <= MOMENT_RAW; part++)
            if (find_part(optimizer, &optimizer->table->tensors[i], moment_part_name(part), name) != NULL)
                parts |= MOMENT_BIT(part);
    return parts & (MOMENT_BIT(MOMENT_Z) | MOMENT_BIT(MOMENT_MOMENTUM)) ? parts : parts | MOMENTS_ADAM;
}

static int load_opened(struct optimizer_file *optimizer, struct checkpoint *checkpoint,
                       const struct checkpoint_source *source, struct error *error)
{
    optimizer->parts = parts_present(optimizer);
    optimizer->known = memory_array((size_t)optimizer->file.count, sizeof *optimizer->known);
    if (optimizer->known == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory to read " CHECKPOINT_OPTIMIZER_FILE "; try again.");
    int code = check_hash(optimizer, source, error);
    if (code == 0)
        code = match_parts(optimizer, error);
    if (code == 0)
        code = checkpoint_set_moments(checkpoint, optimizer->parts, error);
    if (code == 0)
        code = read_moments(optimizer, checkpoint->moments, error);
    return code;
}

int checkpoint_optimizer_load(struct checkpoint *checkpoint, const struct checkpoint_source *source,
                              struct error *error)
{
    struct optimizer_file optimizer = {.prefixed = source->prefixed, .table = &checkpoint->table};
    char path[FILE_PATH_BYTES];
    int code = file_join(path, source->directory, CHECKPOINT_OPTIMIZER_FILE, error);
    if (code != 0 || !file_exists(path))
        return code;
    code = safetensors_open(&optimizer.file, path, 0, error);
    if (code != 0)
        return code;
    code = load_opened(&optimizer, checkpoint, source, error);
    if (code == ERROR_INVALID)
        error_wrap(error, "%s", source->directory);
    memory_free(optimizer.known);
    safetensors_close(&optimizer.file);
    return code;
}
