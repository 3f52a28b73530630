/* lag logits: f32 tensor `logits` (B, T, V) for the tensors of a token file; of an encoder-decoder T is the decoder's
 * length. One row at a time: memory is that of a row. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "server/command.h"
#include "server/token_file.h"

struct asking {
    struct checkpoint checkpoint;
    struct token_file tokens;
};

/* Positions of a row that logits are computed for. */
static int positions_of(const struct token_file *tokens)
{
    return tokens->decoder_context > 0 ? tokens->decoder_context : tokens->context;
}

static int write_rows(struct asking *asking, struct network *network, struct safetensors_writer *writer, float *logits,
                      struct error *error)
{
    size_t count = (size_t)positions_of(&asking->tokens) * (size_t)asking->checkpoint.table.shape.vocabulary;

    for (int row = 0; row < asking->tokens.rows && !error->code; row++) {
        struct batch batch = token_file_row(&asking->tokens, row);
        network_logits(network, asking->checkpoint.weights, &batch, logits);
        safetensors_writer_floats(writer, logits, count, error);
    }
    return (int)error->code;
}

static int write_logits(struct asking *asking, const char *path, struct error *error)
{
    const struct tensor_table *table = &asking->checkpoint.table;
    const struct token_file *tokens = &asking->tokens;
    int positions = positions_of(tokens);
    const struct network_sizes sizes = {
        .rows = 1, .context = tokens->context, .decoder_context = tokens->decoder_context,
    };
    uint64_t dims[3] = { (uint64_t)tokens->rows, (uint64_t)positions, (uint64_t)table->shape.vocabulary };
    float *logits = memory_array((size_t)positions * (size_t)table->shape.vocabulary, sizeof *logits);
    struct safetensors_writer writer;
    struct network *network = NULL;

    safetensors_writer_init(&writer);
    if (!logits)
        error_set(error, ERROR_NO_MEMORY, "computing logits: out of memory");
    else if (network_new_sized(&network, kernels_cpu(), table, &sizes, error) == 0
             && safetensors_writer_add(&writer, "logits", DTYPE_F32, 3, dims, error) == 0
             && safetensors_writer_begin(&writer, path, error) == 0
             && write_rows(asking, network, &writer, logits, error) == 0)
        safetensors_writer_commit(&writer, error);
    safetensors_writer_fini(&writer);
    network_free(network);
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
        if (token_file_read(&asking.tokens, options->values[OPTION_TOKENS], &asking.checkpoint.table.shape, error) == 0)
            write_logits(&asking, options->values[OPTION_OUT], error);
        token_file_free(&asking.tokens);
        checkpoint_fini(&asking.checkpoint);
    }
    return 0;
}
