/* Part of the cpu body: attention, one batch row and head at a time, in blocks of queries. See kernels_cpu.c.
 *
 * A block's scores against the keys it may see are held whole (ATTENTION_QUERIES x keys numbers, in cache), so the
 * softmax needs no running maximum; causal blocks stop at their last query's key, which skips what lies above the
 * diagonal. The backward pass computes the probabilities again from lse. Blocks go from the last to the first: the
 * last sees every key, so it writes d_k and d_v and the others add. */

enum { ATTENTION_QUERIES = 32 };

/* One block of queries of one head of one batch row. */
struct query_block {
    int first, count, visible;    /* queries first .. first + count - 1 see keys below `visible` */
    int row_numbers;              /* numbers from one row of scores to the next */
    size_t q, kv, out, lse;       /* where the block's first query, the head's first key, … lie */
};

static size_t attention_row_numbers(const struct attention *a)
{
    return ((size_t)a->keys + LANES - 1) / LANES * LANES;
}

static size_t attention_scratch(const struct attention *a)
{
    return 2 * (size_t)ATTENTION_QUERIES * attention_row_numbers(a);
}

static struct query_block query_block_at(const struct attention *a, int b, int h, int first)
{
    int count = a->queries - first < ATTENTION_QUERIES ? a->queries - first : ATTENTION_QUERIES;
    size_t query = (size_t)b * (size_t)a->queries + (size_t)first, size = (size_t)a->head_size;
    size_t group = (size_t)(h / (a->heads / a->kv_heads));
    return (struct query_block){
        .first = first,
        .count = count,
        .visible = a->causal ? first + count : a->keys,
        .row_numbers = (int)attention_row_numbers(a),
        .q = query * (size_t)a->q_stride + (size_t)h * size,
        .kv = (size_t)b * (size_t)a->keys * (size_t)a->kv_stride + group * size,
        .out = query * (size_t)a->out_stride + (size_t)h * size,
        .lse = ((size_t)b * (size_t)a->heads + (size_t)h) * (size_t)a->queries + (size_t)first,
    };
}

static int attention_last_block(const struct attention *a)
{
    return (a->queries - 1) / ATTENTION_QUERIES * ATTENTION_QUERIES;
}

static inline size_t attention_row_visible(const struct attention *a, const struct query_block *block, int row)
{
    return (size_t)(a->causal ? block->first + row + 1 : block->visible);
}

/* out (count, visible) = alpha * left (count, D) right (visible, D)^T */
static void attention_scores(const struct attention *a, const struct query_block *block, double alpha,
                             const float *left, int left_stride, const float *right, float *out)
{
    struct product product = {.m = block->count, .n = block->visible, .k = a->head_size, .transpose_b = true,
                              .lda = left_stride, .ldb = a->kv_stride, .ldc = block->row_numbers, .alpha = alpha};
    kernels_blas_product(&product, left, right, out);
}

/* out (count, D) = alpha * weights (count, visible) right (visible, D) */
static void attention_mix(const struct attention *a, const struct query_block *block, double alpha,
                          const float *weights, const float *right, float *out, int out_stride)
{
    struct product product = {.m = block->count, .n = a->head_size, .k = block->visible, .lda = block->row_numbers,
                              .ldb = a->kv_stride, .ldc = out_stride, .alpha = alpha};
    kernels_blas_product(&product, weights, right, out);
}

/* out (visible, D) = alpha * weights (count, visible)^T left (count, D) + beta * out */
static void attention_collect(const struct attention *a, const struct query_block *block, double alpha, double beta,
                              const float *weights, const float *left, int left_stride, float *out)
{
    struct product product = {.m = block->visible, .n = a->head_size, .k = block->count, .transpose_a = true,
                              .lda = block->row_numbers, .ldb = left_stride, .ldc = a->kv_stride, .alpha = alpha,
                              .beta = beta};
    kernels_blas_product(&product, weights, left, out);
}

/* p = exp(p - shift) in the first `visible` numbers, 0 in the rest of the block's `total`; returns the sum. */
static float attention_exp_row(float *p, float shift, size_t visible, size_t total)
{
    floats sum = {0};
    EACH_VECTOR(j, left, visible) {
        floats value = vector_exp(vector_load(p + j) - shift);
        if (left < LANES)
            value = vector_select(vector_first(left), value, vector_of(0));
        sum += value;
        vector_store(p + j, value);
    }
    for (size_t j = (visible + LANES - 1) / LANES * LANES; j < total; j += LANES)
        vector_store(p + j, vector_of(0));
    return vector_sum(sum);
}

static float attention_row_largest(const float *p, size_t visible)
{
    floats largest = vector_of(p[0]);
    EACH_VECTOR(j, left, visible) {
        floats value = vector_load(p + j);
        if (left < LANES)
            value = vector_select(vector_first(left), value, largest);
        largest = vector_max(value, largest);
    }
    return vector_largest(largest);
}

static void query_block_forward(const struct attention *a, const struct attention_forward *f,
                                    const struct query_block *block)
{
    float *scores = f->scratch, inverse[ATTENTION_QUERIES], *out = (float *)f->out + block->out;
    attention_scores(a, block, a->scale, (const float *)f->q + block->q, a->q_stride, (const float *)f->k + block->kv,
                     scores);
    for (int i = 0; i < block->count; i++) {
        float *p = scores + (size_t)i * (size_t)block->row_numbers;
        size_t visible = attention_row_visible(a, block, i);
        float largest = attention_row_largest(p, visible);
        float sum = attention_exp_row(p, largest, visible, (size_t)block->visible);
        inverse[i] = 1.0f / sum;
        ((float *)f->lse)[block->lse + (size_t)i] = largest + logf(sum);
    }
    attention_mix(a, block, 1, scores, (const float *)f->v + block->kv, out, a->out_stride);
    for (int i = 0; i < block->count; i++) {
        float *row = out + (size_t)i * (size_t)a->out_stride;
        EACH_VECTOR(d, left, (size_t)a->head_size)
            vector_store_part(row + d, vector_load_part(row + d, left) * inverse[i], left);
    }
}

static void attention(const struct attention *a, const struct attention_forward *f)
{
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int first = attention_last_block(a); first >= 0; first -= ATTENTION_QUERIES) {
                struct query_block block = query_block_at(a, b, h, first);
                query_block_forward(a, f, &block);
            }
}

static float attention_dot(const float *a, const float *b, size_t n)
{
    floats sum = {0};
    EACH_VECTOR(c, left, n)
        sum += vector_load_part(a + c, left) * vector_load_part(b + c, left);
    return vector_sum(sum);
}

/* d = p (d - expected): the gradient of the scores from that of the probabilities, 0 where p is 0 by the mask. */
static void attention_score_gradient(const float *p, float *d, float expected, size_t visible, size_t total)
{
    EACH_VECTOR(j, left, visible) {
        floats value = vector_load(p + j) * (vector_load(d + j) - expected);
        if (left < LANES)
            value = vector_select(vector_first(left), value, vector_of(0));
        vector_store(d + j, value);
    }
    for (size_t j = (visible + LANES - 1) / LANES * LANES; j < total; j += LANES)
        vector_store(d + j, vector_of(0));
}

/* d_v += p^T d_out; d_p = d_out v^T; d_s = p (d_p - d_out . out); d_q = scale d_s k; d_k += scale d_s^T q. */
static void query_block_backward(const struct attention *a, const struct attention_backward *g,
                                     const struct query_block *block, double beta)
{
    float *p = g->scratch, *d = p + (size_t)ATTENTION_QUERIES * (size_t)block->row_numbers;
    const float *q = (const float *)g->q + block->q, *k = (const float *)g->k + block->kv;
    const float *out = (const float *)g->out + block->out, *d_out = (const float *)g->d_out + block->out;
    attention_scores(a, block, a->scale, q, a->q_stride, k, p);
    attention_scores(a, block, 1, d_out, a->out_stride, (const float *)g->v + block->kv, d);
    for (int i = 0; i < block->count; i++) {
        size_t row = (size_t)i * (size_t)block->row_numbers, at = (size_t)i * (size_t)a->out_stride;
        size_t visible = attention_row_visible(a, block, i);
        float lse = ((const float *)g->lse)[block->lse + (size_t)i];
        attention_exp_row(p + row, lse, visible, (size_t)block->visible);
        float expected = attention_dot(d_out + at, out + at, (size_t)a->head_size);
        attention_score_gradient(p + row, d + row, expected, visible, (size_t)block->visible);
    }
    attention_collect(a, block, 1, beta, p, d_out, a->out_stride, (float *)g->d_v + block->kv);
    attention_mix(a, block, a->scale, d, k, (float *)g->d_q + block->q, a->q_stride);
    attention_collect(a, block, a->scale, beta, d, q, a->q_stride, (float *)g->d_k + block->kv);
}

static void attention_backward(const struct attention *a, const struct attention_backward *g)
{
    int group = a->heads / a->kv_heads;
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int first = attention_last_block(a); first >= 0; first -= ATTENTION_QUERIES) {
                struct query_block block = query_block_at(a, b, h, first);
                bool is_first_of_kv = first == attention_last_block(a) && h % group == 0;
                query_block_backward(a, g, &block, is_first_of_kv ? 0 : 1);
            }
}
