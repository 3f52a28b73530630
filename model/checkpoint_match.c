/* Do config.json and the tensors of a directory agree? Every tensor of the table gets its place in a file; what is
 * missing, unexpected or of another shape or dtype is named. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/checkpoint_files.h"

void disagreements_add(struct disagreements *found, const char *name, const char *format, ...)
{
    int index = found->count++;
    if (index >= ERROR_DETAILS_MAX)
        return;
    struct error_detail *detail = &found->first[index];
    va_list arguments;
    snprintf(detail->pointer, sizeof detail->pointer, "%s", name);
    int used = snprintf(detail->text, sizeof detail->text, "%.100s: ", name);
    va_start(arguments, format);
    vsnprintf(detail->text + used, sizeof detail->text - (size_t)used, format, arguments);
    va_end(arguments);
}

int disagreements_report(const struct disagreements *found, const char *what, struct error *error)
{
    if (found->count == 0)
        return 0;
    int code = error_set(error, ERROR_INVALID, "%.200s disagree in %d place%s, first %.400s.", what, found->count,
                         found->count == 1 ? "" : "s", found->first[0].text);
    for (int i = 0; error != NULL && i < found->count && i < ERROR_DETAILS_MAX; i++)
        error_add_detail(error, found->first[i].pointer, "%s", found->first[i].text);
    return code;
}

/* What the names of a directory have shown so far. */
struct matching {
    struct checkpoint_source *source;
    struct disagreements found;
    const char *with_prefix, *without_prefix;    /* one name of each kind, NULL: none yet */
    bool mixed_dtypes, any_dtype;
};

static void write_dims(char *text, size_t room, const uint64_t *dims, int rank)
{
    size_t used = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < rank && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%llu", i > 0 ? ", " : "", (unsigned long long)dims[i]);
    if (used < room)
        snprintf(text + used, room - used, "]");
}

static void check_dims(struct disagreements *found, enum family family, const struct tensor *tensor,
                       const struct safetensors_entry *entry)
{
    const uint64_t wanted[2] = {(uint64_t)tensor->dims[0], (uint64_t)tensor->dims[1]};
    char in_file[192], in_config[64];
    int rank = tensor->row->rank, axis = -1;
    for (int i = rank - 1; i >= 0 && entry->rank == rank; i--)
        if (entry->dims[i] != wanted[i])
            axis = i;
    if (entry->rank == rank && axis < 0)
        return;
    write_dims(in_file, sizeof in_file, entry->dims, entry->rank);
    write_dims(in_config, sizeof in_config, wanted, rank);
    disagreements_add(found, entry->name, "shape %s in the file, config.json says %s; fix %s or export again", in_file,
                      in_config, axis < 0 ? "the file" : config_axis_key(family, tensor->row->axes[axis]));
}

static void note_dtype(struct matching *matching, const struct safetensors_entry *entry)
{
    struct checkpoint_source *source = matching->source;
    if (!dtype_is_trainable(entry->dtype)) {
        disagreements_add(&matching->found, entry->name, "dtype %s can not be trained; export as F32, F16 or BF16",
                          dtype_name(entry->dtype));
        return;
    }
    if (matching->any_dtype && source->dtype != entry->dtype)
        matching->mixed_dtypes = true;
    source->dtype = entry->dtype;
    matching->any_dtype = true;
}

static bool is_listed(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* A head of its own in a model whose head is tied. */
static bool is_tied_head(const struct checkpoint_source *source, const char *name)
{
    const struct layout *layout = layout_of(source->table.shape.family);
    for (int i = 0; i < layout->row_count; i++)
        if (layout->rows[i].presence == PRESENT_UNTIED && source->table.shape.tied &&
            strcmp(layout->rows[i].name, name) == 0)
            return true;
    return false;
}

/* The tensor that one of this name, which is not of the table, is a copy of; NULL: of none. */
static const struct tensor *copy_of(const struct checkpoint_source *source, const char *name)
{
    const struct layout *layout = layout_of(source->table.shape.family);
    if (is_tied_head(source, name) || is_listed(layout->embedding_copies, name))
        return tensor_find_role(&source->table, ROLE_TOKEN_EMBEDDING, -1, 0);
    return is_listed(layout->head_bias_copies, name) ? tensor_find_role(&source->table, ROLE_HEAD_BIAS, -1, 0) : NULL;
}

/* A bare name with an old ending replaced by today's. */
static void todays_name(const struct layout *layout, const char *bare, char name[CHECKPOINT_NAME_BYTES])
{
    size_t length = strlen(bare);
    snprintf(name, CHECKPOINT_NAME_BYTES, "%s", bare);
    for (const char *const *pair = layout->renamed; pair != NULL && *pair != NULL; pair += 2) {
        size_t ending = strlen(pair[0]);
        if (length >= CHECKPOINT_NAME_BYTES || length < ending || strcmp(bare + length - ending, pair[0]) != 0)
            continue;
        snprintf(name + length - ending, CHECKPOINT_NAME_BYTES - (length - ending), "%s", pair[1]);
        return;
    }
}

static void place_tensor(struct matching *matching, const struct safetensors *file,
                         const struct safetensors_entry *entry, const struct tensor *tensor, bool prefixed)
{
    struct checkpoint_source *source = matching->source;
    struct source_place *place = &source->places[tensor - source->table.tensors];
    if (place->entry != NULL) {
        disagreements_add(&matching->found, entry->name, "is there twice (as %.100s too); export again",
                          place->entry->name);
        return;
    }
    *place = (struct source_place){file, entry};
    if (!layout_is_outside(layout_of(source->table.shape.family), tensor->row))
        *(prefixed ? &matching->with_prefix : &matching->without_prefix) = entry->name;
    check_dims(&matching->found, source->table.shape.family, tensor, entry);
    note_dtype(matching, entry);
}

static void place_entry(struct matching *matching, const struct safetensors *file,
                        const struct safetensors_entry *entry)
{
    struct checkpoint_source *source = matching->source;
    const struct layout *layout = layout_of(source->table.shape.family);
    size_t prefix = strlen(layout->prefix);
    bool prefixed = prefix > 0 && strncmp(entry->name, layout->prefix, prefix) == 0;
    const char *bare = entry->name + (prefixed ? prefix : 0);
    char name[CHECKPOINT_NAME_BYTES];
    todays_name(layout, bare, name);
    const struct tensor *tensor = tensor_find(&source->table, name), *of = copy_of(source, entry->name);
    if (tensor != NULL && !(prefixed && layout_is_outside(layout, tensor->row)))
        place_tensor(matching, file, entry, tensor, prefixed);
    else if (of != NULL && source->copy_count < CHECKPOINT_COPIES_MAX)
        source->copies[source->copy_count++] = (struct source_copy){{file, entry}, of};
    else if (!layout_ignores(layout, bare))
        disagreements_add(&matching->found, entry->name, "unexpected: config.json describes no such tensor; fix "
                          "config.json or export again");
}

/* Where only a copy ships, it is the tensor. */
static void place_copies(struct matching *matching)
{
    struct checkpoint_source *source = matching->source;
    for (int i = 0; i < source->copy_count; i++) {
        const struct source_copy *copy = &source->copies[i];
        struct source_place *place = &source->places[copy->of - source->table.tensors];
        if (place->entry != NULL)
            continue;
        *place = copy->place;
        check_dims(&matching->found, source->table.shape.family, copy->of, place->entry);
        note_dtype(matching, place->entry);
    }
}

static void find_missing(struct matching *matching)
{
    const struct checkpoint_source *source = matching->source;
    bool prefixed = matching->without_prefix == NULL;
    for (int i = 0; i < source->table.count; i++) {
        char name[CHECKPOINT_NAME_BYTES];
        if (source->places[i].entry != NULL)
            continue;
        checkpoint_file_name(&source->table.tensors[i], source->table.shape.family, prefixed, name);
        disagreements_add(&matching->found, name, "missing in the file; fix config.json or export again");
    }
}

/* A copy must be able to equal its original; their bytes are compared when weights are read. */
static void check_copies(struct matching *matching)
{
    const struct checkpoint_source *source = matching->source;
    for (int i = 0; i < source->copy_count; i++) {
        const struct safetensors_entry *copy = source->copies[i].place.entry;
        const struct safetensors_entry *of = source->places[source->copies[i].of - source->table.tensors].entry;
        if (copy->dtype != of->dtype || copy->rank != of->rank || memcmp(copy->dims, of->dims, sizeof copy->dims) != 0)
            disagreements_add(&matching->found, copy->name, "differs from %.100s although tie_word_embeddings is true; "
                              "set it to false or remove this tensor", of->name);
    }
}

int checkpoint_source_match(struct checkpoint_source *source, struct error *error)
{
    struct matching matching = {.source = source};
    for (int i = 0; i < source->file_count; i++)
        for (int j = 0; j < source->files[i].count; j++)
            place_entry(&matching, &source->files[i], &source->files[i].entries[j]);
    if (matching.with_prefix != NULL && matching.without_prefix != NULL)
        return error_set(error, ERROR_INVALID, "Names with and without the prefix \"%s\" are mixed (\"%.100s\" and "
                         "\"%.100s\"); export the model again.", layout_of(source->table.shape.family)->prefix,
                         matching.with_prefix, matching.without_prefix);
    place_copies(&matching);
    find_missing(&matching);
    check_copies(&matching);
    source->prefixed = matching.with_prefix != NULL;
    if (matching.mixed_dtypes)
        source->dtype = DTYPE_F32;
    return disagreements_report(&matching.found, "config.json and the tensors", error);
}
