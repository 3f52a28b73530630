#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"

enum { COMPARE_BYTES = 16384 };

static int read_tensor(const struct source_place *place, const struct tensor *tensor, float *values,
                       struct error *error)
{
    size_t first, total;
    int code = safetensors_read_floats(place->file, place->entry, 0, tensor->count, values, error);
    if (code == 0 && checkpoint_find_nonfinite(values, tensor->count, &first, &total))
        code = error_set_at(error, ERROR_INVALID, place->entry->name, "Tensor \"%s\" holds NaN or Inf: the first at "
                            "index %zu, %zu of %zu values; use a checkpoint from before it diverged.",
                            place->entry->name, first, total, tensor->count);
    return code;
}

/* Piece by piece. */
int checkpoint_places_equal(const struct source_place *a, const struct source_place *b, bool *equal,
                            struct error *error)
{
    char left[COMPARE_BYTES], right[COMPARE_BYTES];
    uint64_t length = a->entry->end - a->entry->begin;
    *equal = length == b->entry->end - b->entry->begin;
    for (uint64_t done = 0; *equal && done < length;) {
        size_t now = length - done < COMPARE_BYTES ? (size_t)(length - done) : COMPARE_BYTES;
        int code = file_reader_read(&a->file->reader, a->file->data_offset + a->entry->begin + done, left, now, error);
        if (code == 0)
            code = file_reader_read(&b->file->reader, b->file->data_offset + b->entry->begin + done, right, now, error);
        if (code != 0)
            return code;
        *equal = memcmp(left, right, now) == 0;
        done += now;
    }
    return 0;
}

int checkpoint_source_check_copies(const struct checkpoint_source *source, struct error *error)
{
    int code = 0;
    for (int i = 0; i < source->copy_count && code == 0; i++) {
        const struct source_copy *copy = &source->copies[i];
        const struct source_place *place = &source->places[copy->of - source->table.tensors];
        const char *name = copy->place.entry->name;
        bool equal;
        code = checkpoint_places_equal(place, &copy->place, &equal, error);
        if (code == 0 && !equal)
            code = error_set_at(error, ERROR_INVALID, name, "\"%s\" is not equal to \"%s\" although "
                                "tie_word_embeddings is true; set it to false in config.json or remove \"%s\".", name,
                                place->entry->name, name);
    }
    return code;
}

static int load_weights(struct checkpoint *checkpoint, const struct checkpoint_source *source, struct error *error)
{
    const struct tensor_table *table = &checkpoint->table;
    int code = checkpoint_source_check_copies(source, error);
    for (int i = 0; i < table->count && code == 0; i++)
        code = read_tensor(&source->places[i], &table->tensors[i], checkpoint->weights + table->tensors[i].offset,
                           error);
    if (code == ERROR_INVALID)
        error_wrap(error, "%s", source->directory);
    if (code == 0)
        checkpoint_rehash(checkpoint);
    return code;
}

static int load_all(struct checkpoint *checkpoint, struct checkpoint_source *source,
                    const struct checkpoint_load *options, struct error *error)
{
    size_t length = strlen(source->directory);
    checkpoint->dtype = source->dtype;
    checkpoint->prefixed = source->prefixed;
    checkpoint->dropout = source->config.dropout;
    checkpoint->config_text = source->config.text;
    source->config.text = NULL;
    if (length >= sizeof checkpoint->directory)
        return error_set(error, ERROR_INVALID, "The path of the checkpoint has %zu bytes; at most %zu are supported.",
                         length, sizeof checkpoint->directory - 1);
    memcpy(checkpoint->directory, source->directory, length + 1);
    int code = load_weights(checkpoint, source, error);
    if (code == 0 && (options == NULL || !options->ignore_report))
        code = provenance_read(&checkpoint->provenance, source->directory, error);
    if (code == 0 && options != NULL && options->moments)
        code = checkpoint_optimizer_load(checkpoint, source, error);
    return code;
}

int checkpoint_load(struct checkpoint *checkpoint, const char *directory, const struct checkpoint_load *options,
                    struct error *error)
{
    struct checkpoint_source source;
    memset(checkpoint, 0, sizeof *checkpoint);
    int code = checkpoint_source_open(&source, directory, error);
    if (code != 0)
        return code;
    code = checkpoint_init(checkpoint, &source.config.shape, error);
    if (code == 0 && (code = load_all(checkpoint, &source, options, error)) != 0)
        checkpoint_fini(checkpoint);
    checkpoint_source_close(&source);
    return code;
}

int checkpoint_read_header(struct checkpoint_header *header, const char *directory, struct error *error)
{
    struct checkpoint_source source;
    char path[FILE_PATH_BYTES];
    memset(header, 0, sizeof *header);
    int code = checkpoint_source_open(&source, directory, error);
    if (code != 0)
        return code;
    code = file_join(path, directory, CHECKPOINT_OPTIMIZER_FILE, error);
    if (code == 0)
        *header = (struct checkpoint_header){source.config.shape, source.dtype, source.bytes, file_exists(path),
                                             source.config.dropout};
    checkpoint_source_close(&source);
    return code;
}
