/* lag_report.json as input: what `lag eval` takes its defaults from. */
#ifndef API_REPORT_H
#define API_REPORT_H

#include "study/spec.h"

struct report_data {
    enum corpus_format format;
    int context;
    uint64_t valid_tokens, seed;
    struct objective_spec objective;
};

/* The defaults of a study for a model of `shape`; then, with a text, what its `data` object says. A context that the
 * model doesn't have is ERROR_INVALID. `text` NULL: only the defaults. */
int report_parse(const char *text, size_t length, const struct shape *shape, struct report_data *data,
                 struct error *error);

#endif
