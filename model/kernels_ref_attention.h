/* Part of the reference body (kernels_ref.c): attention, one query at a time. */

/* Where one query's vectors lie. */
struct attention_row {
    size_t q, kv, out, lse;    /* first number of: the query; the head's first key; the output; the query's lse */
    int visible;               /* keys the query sees */
};

static struct attention_row attention_at(const struct attention *a, int b, int h, int t)
{
    size_t query = (size_t)b * (size_t)a->queries + (size_t)t, group = (size_t)(h / (a->heads / a->kv_heads));
    size_t size = (size_t)a->head_size;
    return (struct attention_row){
        .q = query * (size_t)a->q_stride + (size_t)h * size,
        .kv = (size_t)b * (size_t)a->keys * (size_t)a->kv_stride + group * size,
        .out = query * (size_t)a->out_stride + (size_t)h * size,
        .lse = ((size_t)b * (size_t)a->heads + (size_t)h) * (size_t)a->queries + (size_t)t,
        .visible = a->causal ? t + 1 : a->keys,
    };
}

static double dot(const real *a, const real *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static size_t attention_scratch(const struct attention *a)
{
    return (size_t)a->keys;
}

static void attention(const struct attention *a, const struct attention_forward *f)
{
    const real *keys = f->k, *values = f->v;
    real *scores = f->scratch;
    size_t stride = (size_t)a->kv_stride;
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->queries; t++) {
                struct attention_row at = attention_at(a, b, h, t);
                const real *q = (const real *)f->q + at.q;
                for (int j = 0; j < at.visible; j++)
                    scores[j] = (real)(a->scale * dot(q, keys + at.kv + (size_t)j * stride, a->head_size));
                double lse = log_sum_exp(scores, (size_t)at.visible);
                for (int d = 0; d < a->head_size; d++) {
                    double sum = 0;
                    for (int j = 0; j < at.visible; j++)
                        sum += exp(scores[j] - lse) * values[at.kv + (size_t)j * stride + (size_t)d];
                    ((real *)f->out)[at.out + (size_t)d] = (real)sum;
                }
                ((real *)f->lse)[at.lse] = (real)lse;
            }
}

/* With p = softmax(s), s = scale q . k, out = p v: d_v = p d_out, d_s = p (d_out . v - d_out . out). */
static void attention_query_backward(const struct attention *a, const struct attention_backward *g,
                                           const struct attention_row *at)
{
    const real *q = (const real *)g->q + at->q, *d_out = (const real *)g->d_out + at->out;
    real *d_q = (real *)g->d_q + at->q;
    double lse = ((const real *)g->lse)[at->lse];
    double expected = dot(d_out, (const real *)g->out + at->out, a->head_size);
    for (int j = 0; j < at->visible; j++) {
        size_t offset = at->kv + (size_t)j * (size_t)a->kv_stride;
        const real *k = (const real *)g->k + offset, *v = (const real *)g->v + offset;
        real *d_k = (real *)g->d_k + offset, *d_v = (real *)g->d_v + offset;
        double p = exp(a->scale * dot(q, k, a->head_size) - lse);
        double d_score = a->scale * p * (dot(d_out, v, a->head_size) - expected);
        for (int d = 0; d < a->head_size; d++) {
            d_q[d] = (real)(d_q[d] + d_score * k[d]);
            d_k[d] = (real)(d_k[d] + d_score * q[d]);
            d_v[d] = (real)(d_v[d] + p * d_out[d]);
        }
    }
}

static void attention_backward(const struct attention *a, const struct attention_backward *g)
{
    for (size_t t = 0; t < (size_t)a->batch * (size_t)a->queries; t++)
        zero((real *)g->d_q + t * (size_t)a->q_stride, (size_t)a->heads * (size_t)a->head_size);
    for (size_t t = 0; t < (size_t)a->batch * (size_t)a->keys; t++) {
        zero((real *)g->d_k + t * (size_t)a->kv_stride, (size_t)a->kv_heads * (size_t)a->head_size);
        zero((real *)g->d_v + t * (size_t)a->kv_stride, (size_t)a->kv_heads * (size_t)a->head_size);
    }
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->queries; t++) {
                struct attention_row at = attention_at(a, b, h, t);
                attention_query_backward(a, g, &at);
            }
}
