#include "growth/stream.h"

#include <stdio.h>
#include <string.h>

#include "base/ahead.h"
#include "base/memory.h"
#include "growth/stage.h"
#include "growth/transform.h"
#include "model/dtype.h"

enum { PIECE_FLOATS = 1 << 18, RAW_BYTES = 1 << 20 };

/* Floats that are kept from one piece to the next, and which tensor they are. */
struct kept { float *values; size_t capacity; const struct tensor *tensor; };

struct level {                       /* a stage and what growing through it needs */
    struct growth_transform transform;
    struct tensor_table table;       /* after the stage */
    struct kept block, own, second;  /* of the stage before: some rows; whole tensors */
    struct clone_power power;
    const struct tensor *power_of;
};

struct growth_stream {
    const struct growth_plan *plan;
    const struct checkpoint_source *source;
    const struct growth_list *list;
    struct level *levels;            /* owned, one per stage */
    int level_count;
    int piece_floats;
    char *raw;                       /* owned, RAW_BYTES */
};

static const struct tensor_table *table_before(const struct growth_stream *stream, int stage)
{
    return stage == 0 ? &stream->source->table : &stream->levels[stage - 1].table;
}

const struct tensor_table *growth_stream_table(const struct growth_stream *stream)
{
    return table_before(stream, stream->level_count);
}

/* ---- memory ---- */

static int keep_room(struct kept *kept, size_t count, struct error *error)
{
    if (count <= kept->capacity)
        return 0;
    memory_free(kept->values);
    *kept = (struct kept){.values = memory_array(count, sizeof *kept->values)};
    if (kept->values == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %zu values of a tensor that is grown", count);
    kept->capacity = count;
    return 0;
}

static int level_init(struct growth_stream *stream, int stage, uint64_t seed, uint64_t hash, struct error *error)
{
    struct level *level = &stream->levels[stage];
    const struct growth_plan_stage *planned = &stream->plan->stages[stage];
    int code = tensor_table_init(&level->table, &planned->to, error);
    if (code != 0)
        return code;
    stream->level_count = stage + 1;
    return growth_transform_init(&level->transform, planned, table_before(stream, stage), seed, hash, stage, error);
}

static int stream_init(struct growth_stream *stream, uint64_t seed, struct error *error)
{
    uint64_t hash = 0;
    if (!shape_equal(&stream->plan->from, &stream->source->table.shape))
        return error_set(error, ERROR_INTERNAL, "the growth plan was made for another model: plan it anew");
    if (growth_plan_learns(stream->plan) >= 0)
        return error_set(error, ERROR_INTERNAL, "a growth that learns from data is made in memory");
    int code = growth_list_hash(stream->list, &hash, error);
    stream->levels = memory_array((size_t)stream->plan->stage_count, sizeof *stream->levels);
    stream->raw = memory_new(RAW_BYTES);
    if (code == 0 && (stream->levels == NULL || stream->raw == NULL))
        code = error_set(error, ERROR_NO_MEMORY, "no memory to grow a checkpoint of %d stages",
                         stream->plan->stage_count);
    for (int stage = 0; stage < stream->plan->stage_count && code == 0; stage++)
        code = level_init(stream, stage, seed, hash, error);
    return code == 0 ? checkpoint_source_check_copies(stream->source, error) : code;
}

int growth_stream_new(struct growth_stream **stream, const struct growth_plan *plan, const struct growth_list *list,
                      const struct checkpoint_source *source, uint64_t seed, struct error *error)
{
    struct growth_stream *made = memory_new(sizeof *made);
    *stream = NULL;
    if (made == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory to grow a checkpoint");
    *made = (struct growth_stream){.plan = plan, .source = source, .list = list, .piece_floats = PIECE_FLOATS};
    int code = stream_init(made, seed, error);
    if (code != 0)
        growth_stream_free(made);
    else
        *stream = made;
    return code;
}

void growth_stream_free(struct growth_stream *stream)
{
    if (stream == NULL)
        return;
    for (int stage = 0; stage < stream->level_count; stage++) {
        struct level *level = &stream->levels[stage];
        growth_transform_fini(&level->transform);
        tensor_table_fini(&level->table);
        memory_free(level->block.values);
        memory_free(level->own.values);
        memory_free(level->second.values);
    }
    memory_free(stream->levels);
    memory_free(stream->raw);
    memory_free(stream);
}

void growth_stream_set_piece(struct growth_stream *stream, int floats)
{
    stream->piece_floats = floats;
}

/* ---- rows ---- */

/* Does the stage leave the values of `from` as they are? */
static bool is_copied(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to)
{
    const struct growth_plan_stage *stage = transform->stage;
    bool zeroed = to->layer >= 0 && stage->identity != NULL && stage->identity[to->layer] &&
                  growth_role_is_output(to->row->role);
    return from != NULL && !zeroed && stage->partner == NULL && stage->blend == 0 &&
           (!stage->noisy || !role_is_hidden(to->row->role)) &&
           growth_tensor_second(transform, transform->before, to) == NULL &&
           growth_role_factor(transform, to->row->role) == 1 && !transform->axes[to->row->axes[0]].changed &&
           (to->row->rank == 1 || !transform->axes[to->row->axes[1]].changed);
}

/* The tensor of the file whose values are the grown tensor's; NULL if it is no copy. */
static const struct tensor *copied_from(const struct growth_stream *stream, const struct tensor *to)
{
    for (int stage = stream->level_count - 1; stage >= 0 && to != NULL; stage--) {
        const struct growth_transform *transform = &stream->levels[stage].transform;
        const struct tensor *from = growth_tensor_source(transform, transform->before, to);
        to = is_copied(transform, from, to) ? from : NULL;
    }
    return to;
}

/* Can it be made some rows at a time, down to the file or to a tensor that is kept whole? */
static bool takes_rows(const struct growth_stream *stream, const struct tensor *to)
{
    for (int stage = stream->level_count - 1; stage >= 0; stage--) {
        const struct growth_transform *transform = &stream->levels[stage].transform;
        const struct tensor *from = growth_tensor_source(transform, transform->before, to);
        if (!growth_tensor_takes_rows(transform, from, to))
            return false;
        if (from == NULL || transform->axes[to->row->axes[0]].changed)
            return true;
        to = from;
    }
    return true;
}

static int refuse_nonfinite(const char *name, size_t first, size_t total, struct error *error)
{
    return error_set_at(error, ERROR_INVALID, name, "Tensor \"%s\" holds NaN or Inf: the first at index %zu of the rows "
                        "read, %zu of them there; use a checkpoint from before it diverged.", name, first, total);
}

static int read_rows(const struct growth_stream *stream, const struct tensor *tensor, int first, int rows, float *out,
                     struct error *error)
{
    const struct source_place *place = &stream->source->places[tensor - stream->source->table.tensors];
    uint64_t columns = (uint64_t)tensor->dims[1], count = (uint64_t)rows * columns;
    size_t bad, total;
    int code = safetensors_read_floats(place->file, place->entry, (uint64_t)first * columns, count, out, error);
    if (code == 0 && checkpoint_find_nonfinite(out, (size_t)count, &bad, &total))
        code = refuse_nonfinite(place->entry->name, bad, total, error);
    return code;
}

static int make_rows(struct growth_stream *stream, int stage, const struct tensor *to, int first, int rows, float *out,
                     struct error *error);

/* A whole tensor of the stage before, once for all pieces that ask for it. */
static int keep_whole(struct growth_stream *stream, int stage, const struct tensor *tensor, struct kept *kept,
                      struct error *error)
{
    if (kept->tensor == tensor)
        return 0;
    kept->tensor = NULL;
    int code = keep_room(kept, tensor->count, error);
    if (code == 0)
        code = make_rows(stream, stage - 1, tensor, 0, tensor->dims[0], kept->values, error);
    if (code == 0)
        kept->tensor = tensor;
    return code;
}

static int grow_rows(struct growth_stream *stream, int stage, const struct tensor *to, struct growth_values values,
                     float *out, struct error *error)
{
    struct level *level = &stream->levels[stage];
    const struct growth_transform *transform = &level->transform;
    const struct tensor *from = growth_tensor_source(transform, transform->before, to);
    const struct tensor *second = growth_tensor_second(transform, transform->before, to);
    int code = 0;
    bool rows_stay = from != NULL && second == NULL && !transform->axes[to->row->axes[0]].changed;
    if (rows_stay) {
        size_t count = (size_t)values.rows * (size_t)from->dims[1];
        if ((code = keep_room(&level->block, count, error)) == 0)
            code = make_rows(stream, stage - 1, from, values.first_row, values.rows, level->block.values, error);
        values.own = level->block.values;
        values.base_row = values.first_row;
    } else if (from != NULL) {
        code = keep_whole(stream, stage, from, &level->own, error);
        values.own = level->own.values;
    }
    if (code == 0 && second != NULL) {
        code = keep_whole(stream, stage, second, &level->second, error);
        values.second = level->second.values;
    }
    if (level->power_of != to)
        level->power = (struct clone_power){0};
    level->power_of = to;
    values.power = &level->power;
    if (code == 0)
        growth_tensor_weights(transform, from, to, values, out);
    return code;
}

/* Rows of a tensor after `stage`, -1: as they lie in the file. */
static int make_rows(struct growth_stream *stream, int stage, const struct tensor *to, int first, int rows, float *out,
                     struct error *error)
{
    if (stage < 0)
        return read_rows(stream, to, first, rows, out, error);
    const struct growth_transform *transform = &stream->levels[stage].transform;
    const struct tensor *from = growth_tensor_source(transform, transform->before, to);
    if (is_copied(transform, from, to))
        return make_rows(stream, stage - 1, from, first, rows, out, error);
    const struct growth_values values = {.first_row = first, .rows = rows};
    return grow_rows(stream, stage, to, values, out, error);
}

/* ---- out ---- */

static int give_raw(struct growth_stream *stream, const struct source_place *place, struct safetensors_writer *writer,
                    struct error *error)
{
    uint64_t length = place->entry->end - place->entry->begin, from = place->file->data_offset + place->entry->begin;
    size_t bytes = (size_t)dtype_bytes(place->entry->dtype);
    int code = 0;
    for (uint64_t done = 0; done < length && code == 0;) {
        size_t now = length - done < RAW_BYTES ? (size_t)(length - done) : RAW_BYTES;
        code = file_reader_read(&place->file->reader, from + done, stream->raw, now, error);
        size_t bad = code == 0 ? dtype_find_nonfinite(place->entry->dtype, stream->raw, now / bytes) : 0;
        if (code == 0 && bad < now / bytes)
            code = refuse_nonfinite(place->entry->name, bad, 1, error);
        if (code == 0)
            code = safetensors_writer_raw(writer, stream->raw, now, error);
        done += now;
    }
    return code;
}

/* A tensor in pieces of whole rows: one is grown while the one before is converted and written. */
struct giving {
    struct growth_stream *stream;
    const struct tensor *to;
    struct safetensors_writer *writer;
    int rows;                    /* of a piece but the last */
};

static int piece_rows(const struct giving *giving, int piece)
{
    int left = giving->to->dims[0] - piece * giving->rows;
    return left < giving->rows ? left : giving->rows;
}

static int make_piece(void *owner, int piece, void *values, struct error *error)
{
    struct giving *giving = owner;
    return make_rows(giving->stream, giving->stream->level_count - 1, giving->to, piece * giving->rows,
                     piece_rows(giving, piece), values, error);
}

static int write_piece(void *owner, int piece, const void *values, struct error *error)
{
    struct giving *giving = owner;
    return safetensors_writer_floats(giving->writer, values,
                                     (size_t)piece_rows(giving, piece) * (size_t)giving->to->dims[1], error);
}

int growth_stream_give(void *owner, int tensor, struct safetensors_writer *writer, struct error *error)
{
    struct growth_stream *stream = owner;
    const struct tensor *to = &growth_stream_table(stream)->tensors[tensor], *copied = copied_from(stream, to);
    const struct source_place *place =
        copied == NULL ? NULL : &stream->source->places[copied - stream->source->table.tensors];
    if (place != NULL && place->entry->dtype == writer->entries[0].dtype)
        return give_raw(stream, place, writer, error);
    struct giving giving = {.stream = stream, .to = to, .writer = writer, .rows = to->dims[0]};
    if (takes_rows(stream, to) && to->count > (size_t)stream->piece_floats)
        giving.rows = to->dims[1] < stream->piece_floats ? stream->piece_floats / to->dims[1] : 1;
    const struct ahead ahead = {
        .count = (to->dims[0] + giving.rows - 1) / giving.rows,
        .bytes = (size_t)giving.rows * (size_t)to->dims[1] * sizeof(float),
        .make = make_piece, .take = write_piece, .owner = &giving,
    };
    return ahead_run(&ahead, error);
}

int growth_stream_save(struct growth_stream *stream, const char *directory, const struct checkpoint_save *options,
                       struct error *error)
{
    const struct checkpoint_source *source = stream->source;
    const struct checkpoint_supply supply = {.owner = stream, .give = growth_stream_give};
    struct checkpoint_save with = *options;
    /* all of a checkpoint but its values */
    struct checkpoint grown = {
        .table = *growth_stream_table(stream), .dtype = source->dtype, .prefixed = source->prefixed,
        .config_text = source->config.text, .dropout = source->config.dropout,
    };
    with.supply = &supply;
    with.moments = NULL;
    snprintf(grown.directory, sizeof grown.directory, "%s", source->directory);
    return checkpoint_save(&grown, directory, &with, error);
}
