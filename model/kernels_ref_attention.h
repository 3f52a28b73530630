/* Part of the reference body (kernels_ref.c): attention, one query at a time. */

/* One query and where its vectors lie. */
struct attention_row {
    int b, h, t;
    size_t q, kv, out, lse;    /* first number of: the query; the head's first key; the output; the query's lse */
};

static struct attention_row attention_at(const struct attention *a, int b, int h, int t)
{
    size_t query = (size_t)b * (size_t)a->queries + (size_t)t, group = (size_t)(h / (a->heads / a->kv_heads));
    size_t size = (size_t)a->head_size;
    return (struct attention_row){
        .b = b, .h = h, .t = t,
        .q = query * (size_t)a->q_stride + (size_t)h * size,
        .kv = (size_t)b * (size_t)a->keys * (size_t)a->kv_stride + group * size,
        .out = query * (size_t)a->out_stride + (size_t)h * size,
        .lse = ((size_t)b * (size_t)a->heads + (size_t)h) * (size_t)a->queries + (size_t)t,
    };
}

static bool attention_sees(const struct attention *a, const struct attention_row *at, int s)
{
    bool in_order = !a->causal || s <= at->t || (a->prefix != NULL && s < a->prefix[at->b]);
    bool is_near = !a->causal || a->window == 0 || at->t - s < a->window;
    bool is_there = a->key_mask == NULL || a->key_mask[(size_t)at->b * (size_t)a->keys + (size_t)s] != 0;
    return in_order && is_near && is_there;
}

static double dot(const real *a, const real *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* Where the bias of a score lies in the table. */
static size_t attention_bias_at(const struct attention *a, const struct attention_row *at, int s)
{
    return (size_t)a->bias_buckets[s - at->t + a->queries - 1] * (size_t)a->heads + (size_t)at->h;
}

static double attention_score(const struct attention *a, const struct attention_row *at, const real *q, const real *k,
                              const real *bias_table, int s)
{
    double score = a->scale * dot(q + at->q, k + at->kv + (size_t)s * (size_t)a->kv_stride, a->head_size);
    return bias_table != NULL ? score + bias_table[attention_bias_at(a, at, s)] : score;
}

static size_t attention_scratch(const struct attention *a)
{
    return (size_t)a->keys;
}

static void attention_query(const struct attention *a, const struct attention_forward *f,
                            const struct attention_row *at)
{
    const real *values = (const real *)f->v + at->kv;
    real *scores = f->scratch, *out = (real *)f->out + at->out;
    bool sees_any = false;
    for (int s = 0; s < a->keys; s++) {
        bool sees = attention_sees(a, at, s);
        scores[s] = sees ? (real)attention_score(a, at, f->q, f->k, f->bias_table, s) : (real)-INFINITY;
        sees_any |= sees;
    }
    double lse = sees_any ? log_sum_exp(scores, (size_t)a->keys) : -INFINITY;
    for (int d = 0; d < a->head_size; d++) {
        double sum = 0;
        for (int s = 0; s < a->keys; s++)
            if (attention_sees(a, at, s))
                sum += exp(scores[s] - lse) * values[(size_t)s * (size_t)a->kv_stride + (size_t)d];
        out[d] = (real)sum;
    }
    ((real *)f->lse)[at->lse] = (real)lse;
}

static void attention(const struct attention *a, const struct attention_forward *f)
{
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->queries; t++) {
                struct attention_row at = attention_at(a, b, h, t);
                attention_query(a, f, &at);
            }
}

/* With p = softmax(s), s = scale q . k + bias, out = p v: d_v = p d_out, d_s = p (d_out . v - d_out . out). */
static void attention_query_backward(const struct attention *a, const struct attention_backward *g,
                                           const struct attention_row *at)
{
    const real *q = (const real *)g->q + at->q, *d_out = (const real *)g->d_out + at->out;
    real *d_q = (real *)g->d_q + at->q, *d_bias_table = g->d_bias_table;
    double lse = ((const real *)g->lse)[at->lse];
    double expected = dot(d_out, (const real *)g->out + at->out, a->head_size);
    for (int s = 0; s < a->keys; s++) {
        if (!attention_sees(a, at, s))
            continue;
        size_t offset = at->kv + (size_t)s * (size_t)a->kv_stride;
        const real *k = (const real *)g->k + offset, *v = (const real *)g->v + offset;
        real *d_k = (real *)g->d_k + offset, *d_v = (real *)g->d_v + offset;
        double p = exp(attention_score(a, at, g->q, g->k, g->bias_table, s) - lse);
        double d_score = p * (dot(d_out, v, a->head_size) - expected);
        if (d_bias_table != NULL) {
            real *d_bias = d_bias_table + attention_bias_at(a, at, s);
            *d_bias = (real)(*d_bias + d_score);
        }
        for (int d = 0; d < a->head_size; d++) {
            d_q[d] = (real)(d_q[d] + a->scale * d_score * k[d]);
            d_k[d] = (real)(d_k[d] + a->scale * d_score * q[d]);
            d_v[d] = (real)(d_v[d] + p * d_out[d]);
        }
    }
}

static void attention_zero(real *x, int positions, int stride, int heads, int head_size)
{
    for (size_t t = 0; t < (size_t)positions; t++)
        zero(x + t * (size_t)stride, (size_t)heads * (size_t)head_size);
}

static void attention_backward_zero(const struct attention *a, const struct attention_backward *g)
{
    attention_zero(g->d_q, a->batch * a->queries, a->q_stride, a->heads, a->head_size);
    attention_zero(g->d_k, a->batch * a->keys, a->kv_stride, a->kv_heads, a->head_size);
    attention_zero(g->d_v, a->batch * a->keys, a->kv_stride, a->kv_heads, a->head_size);
}

static void attention_backward(const struct attention *a, const struct attention_backward *g)
{
    attention_backward_zero(a, g);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->queries; t++) {
                struct attention_row at = attention_at(a, b, h, t);
                attention_query_backward(a, g, &at);
            }
}
