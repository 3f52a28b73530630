/* lag logits: f32 tensor `logits` (B, T, V) for I64 tensors `input_ids` (B, T). One row at a time: memory is that of a row. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "server/command.h"

struct asking {
    struct checkpoint checkpoint;
    struct safetensors tokens;
    int64_t *ids;
    int rows, context;
    bool has_checkpoint, has_tokens;
};

static int check_ids(const struct asking *asking, const char *name, struct error *error)
{
    int vocabulary = asking->checkpoint.table.shape.vocabulary;

    for (size_t i = 0; i < (size_t)asking->rows * (size_t)asking->context; i++)
        if (asking->ids[i] < 0 || asking->ids[i] >= vocabulary)
            return error_set(error, ERROR_INVALID, "%s[%zu] is %lld; tokens are 0 to %d here", name, i,
                             (long long)asking->ids[i], vocabulary - 1);
    return 0;
}

/* A mask of ones says nothing; padding would change the answer and is not computed in this release. */
static int check_mask(const struct asking *asking, const char *path, struct error *error)
{
    const struct safetensors_entry *entry = safetensors_find(&asking->tokens, "attention_mask");
    uint64_t count = entry ? safetensors_entry_elements(entry) : 0;
    int64_t *mask = entry && entry->dtype == DTYPE_I64 ? memory_array((size_t)count, sizeof *mask) : NULL;

    if (!entry)
        return 0;
    if (entry->dtype != DTYPE_I64)
        return error_set(error, ERROR_INVALID, "attention_mask in %s must be I64", path);
    if (!mask)
        return error_set(error, ERROR_NO_MEMORY, "reading %s: out of memory", path);
    if (safetensors_read_raw(&asking->tokens, entry, mask, error) == 0)
        for (uint64_t i = 0; i < count && !error->code; i++)
            if (mask[i] != 1)
                error_set(error, ERROR_NOT_YET, "attention_mask in %s has padding, which arrives in a later release; ask row by "
                          "row without padding", path);
    memory_free(mask);
    return (int)error->code;
}

static int read_ids(struct asking *asking, const char *path, struct error *error)
{
    const struct safetensors_entry *entry;
    const struct shape *shape = &asking->checkpoint.table.shape;

    if (safetensors_open(&asking->tokens, path, 0, error))
        return (int)error->code;
    asking->has_tokens = true;
    entry = safetensors_find(&asking->tokens, "input_ids");
    if (!entry || entry->dtype != DTYPE_I64 || entry->rank != 2 || entry->dims[0] < 1 || entry->dims[1] < 1)
        return error_set(error, ERROR_INVALID, "%s needs an I64 tensor input_ids of shape (rows, positions)", path);
    if (entry->dims[1] > (uint64_t)shape->context)
        return error_set(error, ERROR_INVALID, "input_ids has %llu positions, the model has %d; cut the rows",
                         (unsigned long long)entry->dims[1], shape->context);
    if (entry->dims[0] > 1 << 20)
        return error_set(error, ERROR_INVALID, "input_ids has over a million rows; split the file");
    asking->rows = (int)entry->dims[0];
    asking->context = (int)entry->dims[1];
    asking->ids = memory_array((size_t)asking->rows * (size_t)asking->context, sizeof *asking->ids);
    if (!asking->ids)
        return error_set(error, ERROR_NO_MEMORY, "reading %s: out of memory", path);
    if (safetensors_read_raw(&asking->tokens, entry, asking->ids, error) || check_ids(asking, "input_ids", error))
        return (int)error->code;
    return check_mask(asking, path, error);
}

static int write_rows(struct asking *asking, struct network *network, struct safetensors_writer *writer, int32_t *inputs,
                      float *logits, struct error *error)
{
    size_t context = (size_t)asking->context;
    size_t count = context * (size_t)asking->checkpoint.table.shape.vocabulary;
    struct batch batch = { .rows = 1, .context = asking->context, .inputs = inputs, .targets = inputs };

    for (int row = 0; row < asking->rows && !error->code; row++) {
        for (size_t i = 0; i < context; i++)
            inputs[i] = (int32_t)asking->ids[(size_t)row * context + i];
        network_logits(network, asking->checkpoint.weights, &batch, logits);
        safetensors_writer_floats(writer, logits, count, error);
    }
    return (int)error->code;
}

static int write_logits(struct asking *asking, const char *path, struct error *error)
{
    const struct tensor_table *table = &asking->checkpoint.table;
    uint64_t dims[3] = { (uint64_t)asking->rows, (uint64_t)asking->context, (uint64_t)table->shape.vocabulary };
    int32_t *inputs = memory_array((size_t)asking->context, sizeof *inputs);
    float *logits = memory_array((size_t)asking->context * (size_t)table->shape.vocabulary, sizeof *logits);
    struct safetensors_writer writer;
    struct network *network = NULL;

    safetensors_writer_init(&writer);
    if (!inputs || !logits)
        error_set(error, ERROR_NO_MEMORY, "computing logits: out of memory");
    else if (network_new(&network, kernels_cpu(), table, 1, asking->context, false, error) == 0
             && safetensors_writer_add(&writer, "logits", DTYPE_F32, 3, dims, error) == 0
             && safetensors_writer_begin(&writer, path, error) == 0
             && write_rows(asking, network, &writer, inputs, logits, error) == 0)
        safetensors_writer_commit(&writer, error);
    safetensors_writer_fini(&writer);
    network_free(network);
    memory_free(inputs);
    memory_free(logits);
    return (int)error->code;
}

int command_logits(const struct options *options, struct error *error)
{
    struct asking asking = { 0 };
    struct checkpoint_load load = { 0 };

    if (option_required(options, OPTION_CHECKPOINT, error) || option_required(options, OPTION_TOKENS, error)
        || option_required(options, OPTION_OUT, error))
        return 0;
    if (checkpoint_load(&asking.checkpoint, options->values[OPTION_CHECKPOINT], &load, error) == 0) {
        asking.has_checkpoint = true;
        if (read_ids(&asking, options->values[OPTION_TOKENS], error) == 0)
            write_logits(&asking, options->values[OPTION_OUT], error);
    }
    if (asking.has_tokens)
        safetensors_close(&asking.tokens);
    if (asking.has_checkpoint)
        checkpoint_fini(&asking.checkpoint);
    memory_free(asking.ids);
    return 0;
}
