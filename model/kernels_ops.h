/* The operations of a network: what the `ops` of a kernel body point to.
 *
 * Every operation has a forward and a backward; a product's backward is a product again. Numbers are of the body's
 * element (float, or double for the reference), rows are contiguous unless a stride says otherwise. An operation that
 * writes (=) never reads what was there, one that accumulates (+=) does. Token ids, targets and losses lie in host
 * memory. Token ids and targets are within the vocabulary (callers check); any other value may be Inf or NaN and
 * passes through. Fixed order of every sum: equal inputs give equal bits, wherever the buffers lie and whatever other
 * threads do. Nothing allocates. Thread rule: any thread, on buffers of its own.
 * (B batch rows, T positions, C width, H heads, G kv heads, D head size, V vocabulary, N rows = B T.) */
#ifndef MODEL_KERNELS_OPS_H
#define MODEL_KERNELS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/shape.h"

/* What the factors are rounded to before they are multiplied; sums are of the body's element. */
enum product_type { PRODUCT_F32, PRODUCT_BF16, PRODUCT_TYPE_COUNT };

/* c (m, n) = alpha * op(a) op(b) + beta * c, op(a) (m, k), op(b) (k, n), row-major with leading dimensions.
 * A weight of a Conv1D is stored [in, out] (op(b) = b), one of a Linear [out, in] (transpose_b). */
struct product {
    int m, n, k;
    bool transpose_a, transpose_b;    /* a is stored (k, m); b is stored (n, k) */
    int lda, ldb, ldc;                /* numbers from one stored row to the next */
    double alpha, beta;               /* beta 0: c is not read */
    enum product_type type;
    void *scratch;                    /* product_scratch(type) bytes, 64-byte aligned; NULL: the body does without */
};

struct embedding {
    int rows, context, width;         /* B, T, C */
};

struct norm {
    int rows, width;                  /* N, C */
    double epsilon;
    const void *shares;               /* (C) s of units that are grown in: statistics are sums with the weights s over the
                                       * sum of s, and out is multiplied by s (arXiv 2305.02869); NULL: all 1 */
    double shares_sum;
    bool rms;                         /* no mean, no bias: out = x / sqrt(mean(x^2) + epsilon) * gain
                                       * (Zhang & Sennrich, 2019: root mean square normalisation) */
};

/* sum = x + branch + branch_bias, out = (sum - mean) * rstd * gain + bias (Ba et al., 2016: layer normalisation; the
 * variance is the biased one). Joined because the sum is in registers when the norm needs it. branch NULL: the sum is
 * x, and `sum` is not written. sum may be x, out may be branch. */
struct norm_forward {
    const void *x, *branch;           /* (N, C) */
    const void *branch_bias;          /* (C), NULL: none */
    const void *gain, *bias;          /* (C); bias NULL: none */
    void *sum, *out;                  /* (N, C) */
    void *statistics;                 /* (N, 2): mean (0 if rms), 1 / standard deviation (root mean square) */
};

struct norm_backward {
    const void *sum;                  /* (N, C) */
    const void *statistics;           /* (N, 2) */
    const void *gain;                 /* (C) */
    const void *d_out;                /* (N, C) */
    void *d_sum;                      /* (N, C), += */
    void *d_gain, *d_bias;            /* (C), +=; d_bias NULL: none */
};

/* Softmax attention (Vaswani et al., 2017). Number d of head h of position t of batch row b lies at
 * ((b * T + t) * stride + h * D + d); query head h reads kv head h / (H / G). Query t sees key s if all of these hold:
 *   causal false, or s <= t, or prefix not NULL and s < prefix[b] (a bidirectional prefix)
 *   window 0, or t - s < window (sliding window; only with causal)
 *   key_mask NULL, or key_mask[b * keys + s] != 0 (padding)
 * A query that sees no key has out = 0, lse = -Inf, and sends no gradient. bias_table (buckets, H) not NULL: the scaled
 * score of (t, s) gets bias_table[bias_buckets[s - t + queries - 1] * H + h] added (T5's relative position bias, Raffel
 * et al., 2020). */
struct attention {
    int batch, heads, kv_heads, head_size;
    int queries, keys;                /* positions of each; equal when causal */
    bool causal;
    double scale;                     /* of q . k */
    int q_stride, kv_stride, out_stride;
    int window;                       /* 0: none */
    const int32_t *prefix;            /* (B) host memory; NULL: none */
    const unsigned char *key_mask;    /* (B, keys) host memory; NULL: all are there */
    const int32_t *bias_buckets;      /* (queries + keys - 1) host memory */
    int buckets;
};

struct attention_forward {
    const void *q, *k, *v;
    const void *bias_table;           /* (buckets, H); NULL: none */
    void *out;
    void *lse;                        /* (B, H, queries): ln of the sum of exp(scale q . k), for the backward pass */
    void *scratch;                    /* attention_scratch numbers */
};

/* Gradients have the strides of what they are gradients of. Probabilities are computed again from lse. */
struct attention_backward {
    const void *q, *k, *v, *out, *lse, *d_out;
    const void *bias_table;           /* as forward */
    void *d_q, *d_k, *d_v;            /* = */
    void *d_bias_table;               /* (buckets, H), +=; NULL: not wanted */
    void *scratch;
};

/* Rotary positions (Su et al., 2021) in the layout of Hugging Face's llama: number d of a head turns with d + D / 2. */
struct rotation {
    int batch, positions, heads, head_size, stride;   /* x as attention's q or k */
    bool inverse;                                      /* the backward pass: rotates by the negative angle */
};

/* Routing of positions to experts (Shazeer et al., 2017; Mixtral, Jiang et al., 2024): probabilities = softmax(logits)
 * over the experts; the top_k largest logits are chosen, the lower number of equal ones; the shares of the chosen are
 * their probabilities over the sum of these. */
struct routing {
    int rows, experts, top_k;         /* N, E, K */
    const unsigned char *mask;        /* (N) host memory; 0: the position takes no part in sums and balance; NULL: all do */
};

struct routing_forward {
    void *probabilities;              /* (N, E): the logits, in place */
    void *shares;                     /* (N, K), = */
    int32_t *chosen;                  /* (N, K) host memory, =: experts, the most probable first; always 0 .. E - 1 */
    double *sums;                     /* (E) host memory, += of probabilities; NULL: not wanted */
};

/* d_shares holds the products of shares and their gradients: what dot_rows gives when the rows have been multiplied by
 * the shares, with no division. d(logit) of a chosen one is its product less its share of the sum of all; to that is added
 * the gradient of balance . probabilities. */
struct routing_backward {
    const void *probabilities, *shares;
    const int32_t *chosen;
    const void *d_shares;             /* (N, K) */
    const double *balance;            /* (E) host memory: derivative by each probability; NULL: none */
    void *d_logits;                   /* (N, E), = */
};

/* Rows taken out of a matrix and put back: row slots[i * top_k + j] of `rows` (N K, C) belongs to choice j of position i of
 * x (N, C). Every row belongs to one choice. */
struct row_exchange {
    int positions, top_k, width;      /* N, K, C */
    const int32_t *slots;             /* (N, K) host memory */
    bool add;                         /* += instead of = */
};

struct kernel_ops {
    void (*product)(const struct product *product, const void *a, const void *b, void *c);
    /* Bytes of scratch with which products of a type run best; does not depend on their sizes. */
    size_t (*product_scratch)(enum product_type type);

    /* x (B, T, C) = table (V, C)[token] + positions (T.., C)[t]; positions NULL: none. Backward: +=, in the order of
     * x. */
    void (*embed)(const struct embedding *embedding, const int32_t *tokens, const void *table, const void *positions,
                  void *x);
    void (*embed_backward)(const struct embedding *embedding, const int32_t *tokens, const void *d_x, void *d_table,
                           void *d_positions);

    /* In place, rows of x (.., C) by their ascending numbers rows[0] < rows[1] < ...: select moves row rows[i] to row i;
     * restore moves row i to row rows[i] and makes the others of `total` rows 0. */
    void (*rows_select)(void *x, const int32_t *rows, int count, int width);
    void (*rows_restore)(void *x, const int32_t *rows, int count, int total, int width);

    /* x (N, C) += bias (C), and its backward: d_bias (C) += sum over rows of d_x (N, C). */
    void (*bias_add)(void *x, const void *bias, int rows, int width);
    void (*bias_backward)(const void *d_x, void *d_bias, int rows, int width);

    /* y (n) = a x + b y; b 0: y is not read. y may be x. Its backward is a blend again. */
    void (*blend)(double a, const void *x, double b, void *y, size_t n);
    /* x (N, C) *= shares (C), column by column. Its backward is itself. */
    void (*scale_columns)(void *x, const void *shares, int rows, int width);

    void (*layer_norm)(const struct norm *norm, const struct norm_forward *buffers);
    void (*layer_norm_backward)(const struct norm *norm, const struct norm_backward *buffers);

    /* x (N, C) += bias (C) (NULL: none), out = f(x); out may be x. Backward: d (N, C) = d * f'(x), x with its bias. */
    void (*activate)(enum activation activation, void *x, const void *bias, void *out, int rows, int width);
    void (*activate_backward)(enum activation activation, const void *x, void *d, int rows, int width);

    /* Gated MLP (Shazeer, 2020): out (N, F) = f(gate) * up. Backward: d_gate, d_up (=) from d_out. Rows of gate, up and
     * their gradients are `stride` numbers apart, those of out and d_out `width`. Where stride is width, out may be
     * gate or up, d_out may be d_gate or d_up. */
    void (*gate)(enum activation activation, const void *gate, const void *up, void *out, int rows, int width,
                 int stride);
    void (*gate_backward)(enum activation activation, const void *gate, const void *up, const void *d_out, void *d_gate,
                          void *d_up, int rows, int width, int stride);

    /* In place; cosines and sines (T, D / 2). */
    void (*rotate)(const struct rotation *rotation, const void *cosines, const void *sines, void *x);

    void (*attention)(const struct attention *attention, const struct attention_forward *buffers);
    void (*attention_backward)(const struct attention *attention, const struct attention_backward *buffers);
    /* Numbers of scratch for either direction; grows with queries and keys, never with batch or heads. */
    size_t (*attention_scratch)(const struct attention *attention);

    void (*route)(const struct routing *routing, const struct routing_forward *buffers);
    void (*route_backward)(const struct routing *routing, const struct routing_backward *buffers);
    /* rows[slot] = weights * x, x = sum over a position's choices, in order, of weights * rows[slot], and
     * dots = a[slot] . b[slot] of two sets of rows. weights, dots: (N, K); weights NULL: 1. */
    void (*gather_rows)(const struct row_exchange *exchange, const void *weights, const void *x, void *rows);
    void (*combine_rows)(const struct row_exchange *exchange, const void *weights, const void *rows, void *x);
    void (*dot_rows)(const struct row_exchange *exchange, const void *a, const void *b, void *dots);

    /* losses[i] = -ln softmax(logits (N, V)[i])[targets[i]], 0 where the target is TARGET_IGNORED.
     * The second also turns the logits into scale * d(sum of losses)/d(logits) in place. */
    void (*cross_entropy)(const void *logits, const int32_t *targets, int rows, int vocabulary, double *losses);
    void (*cross_entropy_gradient)(void *logits, const int32_t *targets, int rows, int vocabulary, double scale,
                                   double *losses);
};

/* Pointer arithmetic on buffers whose element only the body knows. */
static inline void *numbers_at(size_t element, void *numbers, size_t index)
{
    return (unsigned char *)numbers + index * element;
}

static inline const void *numbers_at_const(size_t element, const void *numbers, size_t index)
{
    return (const unsigned char *)numbers + index * element;
}

#endif
