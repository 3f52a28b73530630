#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/rng.h"
#include "trainer/corpus.h"

static const char *const sampler_names[SAMPLER_COUNT] = {
#define X(code, name) name,
    SAMPLERS(X)
#undef X
};

const char *sampler_name(enum sampler sampler)
{
    return (unsigned)sampler < SAMPLER_COUNT ? sampler_names[sampler] : "unknown";
}

int sampler_parse(const char *text, enum sampler *sampler)
{
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        if (strcmp(text, sampler_names[i]) == 0) {
            *sampler = (enum sampler)i;
            return 0;
        }
    }
    return -1;
}

struct windows windows_of(const struct corpus *corpus, int context, uint64_t wanted_tokens)
{
    const uint64_t length = (uint64_t)context;
    const uint64_t possible = corpus->tokens == 0 ? 0 : (corpus->tokens - 1) / length;
    uint64_t count = wanted_tokens / length > 0 ? wanted_tokens / length : 1;
    count = count < possible ? count : possible;
    return (struct windows){.possible = possible, .count = count < INT_MAX ? (int)count : INT_MAX, .context = context};
}

/* floor(i N / W) without the product i N, which may overflow: i (N / W) + floor(i (N mod W) / W). */
uint64_t windows_position(const struct windows *windows, int index)
{
    const uint64_t i = (uint64_t)index, n = windows->possible, w = (uint64_t)windows->count;
    return (i * (n / w) + i * (n % w) / w) * (uint64_t)windows->context;
}

/* Where the row with this number (step * batch + row) starts. Both are pure functions of the number. */
static uint64_t row_start(const struct sampling *sampling, const struct corpus *corpus, uint64_t number)
{
    if (sampling->sampler == SAMPLER_SEQUENTIAL) {
        return number % corpus->tokens * (uint64_t)sampling->context % corpus->tokens;
    }
    struct rng rng = rng_at(rng_stream(sampling->seed, sampling->seed_index, RNG_DATA), number);
    return rng_below(&rng, corpus->tokens - (uint64_t)sampling->context);
}

uint64_t sample_number(const struct sampling *sampling, uint64_t step, int row)
{
    return step * (uint64_t)sampling->batch + (uint64_t)row;
}

int sample_numbered(const struct sampling *sampling, const struct corpus *corpus, uint64_t number, int32_t *tokens,
                    struct error *error)
{
    const int context = sampling->context;
    if (corpus->tokens <= (uint64_t)context) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The data file %s holds %" PRIu64 " tokens, fewer than context + 1 = %d.",
                            corpus->file.path, corpus->tokens, context + 1);
    }
    return corpus_read(corpus, row_start(sampling, corpus, number), context + 1, tokens, error);
}

int sample_row(const struct sampling *sampling, const struct corpus *corpus, uint64_t step, int row, int32_t *tokens,
               struct error *error)
{
    return sample_numbered(sampling, corpus, sample_number(sampling, step, row), tokens, error);
}
