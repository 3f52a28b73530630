#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"

/* Files of a Hugging Face directory that belong to the text, not to the weights: copied as they are. */
static const char *const companions[] = {
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "generation_config.json", "spiece.model", "tokenizer.model", "vocab.txt", "chat_template.jinja",
};

static int copy_companions(const struct checkpoint *checkpoint, const char *directory, struct error *error)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    if (checkpoint->directory[0] == '\0' || strcmp(checkpoint->directory, directory) == 0)
        return 0;
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++) {
        int code = file_join(from, checkpoint->directory, companions[i], error);
        if (code == 0)
            code = file_join(to, directory, companions[i], error);
        if (code == 0 && file_exists(from))
            code = file_copy(from, to, error);
        if (code != 0)
            return code;
    }
    return 0;
}

/* A text under a name; NULL removes what an earlier save may have left there. */
static int put_text(const char *directory, const char *name, const char *text, struct error *error)
{
    char path[FILE_PATH_BYTES];
    int code = file_join(path, directory, name, error);
    if (code != 0)
        return code;
    return text == NULL ? file_remove(path, error) : file_write(path, text, strlen(text), error);
}

static int save_config(const struct checkpoint *checkpoint, enum dtype dtype, const char *directory,
                       struct error *error)
{
    char *patched;
    int code = config_patch(checkpoint->config_text, &checkpoint->table.shape, dtype, &patched, error);
    if (code == 0)
        code = put_text(directory, CHECKPOINT_CONFIG_FILE, patched, error);
    memory_free(patched);
    return code;
}

/* `part`: "" for weights, ".m" and so on for moments. */
static int check_finite(const struct tensor_table *table, const char *part, const float *values, struct error *error)
{
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        size_t first, total;
        if (checkpoint_find_nonfinite(values + tensor->offset, tensor->count, &first, &total))
            return error_set_at(error, ERROR_DIVERGED, tensor->name, "Tensor \"%s%s\" holds NaN or Inf: the first at "
                                "index %zu, %zu of %zu values; a diverged model is not saved.", tensor->name, part,
                                first, total, tensor->count);
    }
    return 0;
}

int checkpoint_declare_tensor(struct safetensors_writer *writer, const struct checkpoint *checkpoint,
                              const struct tensor *tensor, const char *part, enum dtype dtype, struct error *error)
{
    const uint64_t dims[2] = {(uint64_t)tensor->dims[0], (uint64_t)tensor->dims[1]};
    char base[CHECKPOINT_NAME_BYTES], name[CHECKPOINT_NAME_BYTES + 8];
    checkpoint_file_name(tensor, checkpoint->table.shape.family, checkpoint->prefixed, base);
    snprintf(name, sizeof name, "%s%s", base, part);
    return safetensors_writer_add(writer, name, dtype, dtype == DTYPE_I64 ? 0 : tensor->row->rank, dims, error);
}

static int write_weights(struct safetensors_writer *writer, const struct checkpoint *checkpoint, const float *weights,
                         enum dtype dtype, const char *path, struct error *error)
{
    const struct tensor_table *table = &checkpoint->table;
    int code = safetensors_writer_metadata(writer, "format", "pt", error);
    for (int i = 0; i < table->count && code == 0; i++)
        code = checkpoint_declare_tensor(writer, checkpoint, &table->tensors[i], "", dtype, error);
    if (code == 0)
        code = safetensors_writer_begin(writer, path, error);
    for (int i = 0; i < table->count && code == 0; i++)
        code = safetensors_writer_floats(writer, weights + table->tensors[i].offset, table->tensors[i].count, error);
    return code == 0 ? safetensors_writer_commit(writer, error) : code;
}

int checkpoint_save_weights(const struct checkpoint *checkpoint, const float *weights, enum dtype dtype,
                            const char *path, char hash[HASH_HEX_BYTES], struct error *error)
{
    struct safetensors_writer writer;
    int code;
    if (!dtype_is_trainable(dtype))
        return error_set(error, ERROR_INVALID, "Weights can not be saved as %s; use F32, F16 or BF16.",
                         dtype_name(dtype));
    if (weights == NULL)
        weights = checkpoint->weights;
    if ((code = check_finite(&checkpoint->table, "", weights, error)) != 0)
        return code;
    safetensors_writer_init(&writer);
    code = write_weights(&writer, checkpoint, weights, dtype, path, error);
    if (code == 0 && hash != NULL)
        memcpy(hash, writer.file_hash, HASH_HEX_BYTES);
    safetensors_writer_fini(&writer);
    return code;
}

/* The slabs of an optimizer file in the order of its data. */
struct part { char ending[16]; const float *slab; };

static int parts_of(const struct moments *moments, struct part parts[MOMENT_PART_COUNT + 1])
{
    int count = 0;
    for (int part = 0; part <= MOMENT_RAW; part++) {
        const float *slab = part == MOMENT_RAW ? moments->raw : moments->parts[part];
        if (slab == NULL)
            continue;
        snprintf(parts[count].ending, sizeof parts->ending, ".%s", moment_part_name(part));
        parts[count++].slab = slab;
    }
    return count;
}

static int declare_moments(struct safetensors_writer *writer, const struct checkpoint *checkpoint,
                           const struct part *parts, int part_count, struct error *error)
{
    const struct tensor_table *table = &checkpoint->table;
    int code = 0;
    for (int i = 0; i < table->count && code == 0; i++)    /* 8-byte numbers first: all stay aligned */
        code = checkpoint_declare_tensor(writer, checkpoint, &table->tensors[i], ".step", DTYPE_I64, error);
    for (int p = 0; p < part_count; p++)
        for (int i = 0; i < table->count && code == 0; i++)
            code = checkpoint_declare_tensor(writer, checkpoint, &table->tensors[i], parts[p].ending, DTYPE_F32, error);
    return code;
}

static int write_moments(struct safetensors_writer *writer, const struct checkpoint *checkpoint,
                         const struct moments *moments, const char *path, struct error *error)
{
    struct part all[MOMENT_PART_COUNT + 1];
    const struct tensor_table *table = &checkpoint->table;
    int part_count = parts_of(moments, all);
    int code = declare_moments(writer, checkpoint, all, part_count, error);
    for (int p = 0; p < part_count && code == 0; p++)
        code = check_finite(table, all[p].ending, all[p].slab, error);
    if (code == 0)
        code = safetensors_writer_begin(writer, path, error);
    for (int i = 0; i < table->count && code == 0; i++)
        code = safetensors_writer_raw(writer, &moments->steps[i], sizeof moments->steps[i], error);
    for (int p = 0; p < part_count; p++)
        for (int i = 0; i < table->count && code == 0; i++)
            code = safetensors_writer_floats(writer, all[p].slab + table->tensors[i].offset, table->tensors[i].count,
                                             error);
    return code == 0 ? safetensors_writer_commit(writer, error) : code;
}

/* 17 digits bring a double back as it was. */
static int write_averaging(struct safetensors_writer *writer, const struct averaging *averaging, struct error *error)
{
    char updates[32], sum[40], maximum[40];
    snprintf(updates, sizeof updates, "%llu", (unsigned long long)averaging->updates);
    snprintf(sum, sizeof sum, "%.17g", averaging->weight_sum);
    snprintf(maximum, sizeof maximum, "%.17g", averaging->rate_maximum);
    int code = safetensors_writer_metadata(writer, CHECKPOINT_UPDATES_KEY, updates, error);
    if (code == 0)
        code = safetensors_writer_metadata(writer, CHECKPOINT_WEIGHT_SUM_KEY, sum, error);
    return code == 0 ? safetensors_writer_metadata(writer, CHECKPOINT_RATE_KEY, maximum, error) : code;
}

int checkpoint_optimizer_save(const struct checkpoint *checkpoint, const struct moments *moments,
                              const char *model_hash, const char *path, struct error *error)
{
    struct safetensors_writer writer;
    safetensors_writer_init(&writer);
    int code = safetensors_writer_metadata(&writer, "format", "pt", error);
    if (code == 0)
        code = safetensors_writer_metadata(&writer, CHECKPOINT_HASH_KEY, model_hash, error);
    if (code == 0 && moments->z != NULL)
        code = write_averaging(&writer, &moments->averaging, error);
    if (code == 0)
        code = write_moments(&writer, checkpoint, moments, path, error);
    safetensors_writer_fini(&writer);
    return code;
}

static int save_tensors(const struct checkpoint *checkpoint, const char *directory, enum dtype dtype,
                        const struct checkpoint_save *options, struct error *error)
{
    char path[FILE_PATH_BYTES], hash[HASH_HEX_BYTES];
    if (options->supply != NULL)
        return checkpoint_save_supplied(checkpoint, directory, dtype, options, error);
    int code = file_join(path, directory, CHECKPOINT_WEIGHTS_FILE, error);
    if (code == 0)
        code = checkpoint_save_weights(checkpoint, options->weights, dtype, path, hash, error);
    if (code != 0 || options->moments == NULL)
        return code;
    code = file_join(path, directory, CHECKPOINT_OPTIMIZER_FILE, error);
    return code == 0 ? checkpoint_optimizer_save(checkpoint, options->moments, hash, path, error) : code;
}

int checkpoint_save(const struct checkpoint *checkpoint, const char *directory, const struct checkpoint_save *options,
                    struct error *error)
{
    enum dtype dtype = options->dtype_given ? options->dtype : checkpoint->dtype;
    int code = file_make_directory(directory, error);
    if (code == 0)
        code = put_text(directory, CHECKPOINT_OPTIMIZER_FILE, NULL, error);
    if (code == 0)
        code = copy_companions(checkpoint, directory, error);
    if (code == 0)
        code = save_config(checkpoint, dtype, directory, error);
    if (code == 0 && options->card != NULL)
        code = put_text(directory, CHECKPOINT_CARD_FILE, options->card, error);
    if (code == 0)
        code = put_text(directory, CHECKPOINT_REPORT_FILE, options->report, error);
    if (code == 0)
        code = save_tensors(checkpoint, directory, dtype, options, error);
    if (code != 0)
        error_wrap(error, "%s could not be saved", directory);
    return code;
}
