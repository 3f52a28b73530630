/* What `lag transfer` says: a table for a terminal, JSON, a plot. Thread rule: pure functions of values. */
#ifndef API_TRANSFER_H
#define API_TRANSFER_H

#include "base/buffer.h"
#include "study/transfer.h"

struct transfer_view {
    const struct transfer_sweep *sweep;
    const struct transfer_verdict *verdict;
    const char *small, *grown;          /* the sizes in words: "2 layers, width 64" */
    const char *parametrization;
    uint64_t steps;
};

/* At most 80 columns. Running out of memory shows in out->failed. */
void response_transfer_text(struct buffer *out, const struct transfer_view *view);
void response_transfer_json(struct buffer *out, const struct transfer_view *view);
/* Loss and sharpness of both sizes over the rates, logarithmic; the best rates with their intervals. */
void response_transfer_plot(struct buffer *out, const struct transfer_view *view);

#endif
