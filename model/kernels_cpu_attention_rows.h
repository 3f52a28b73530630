/* Part of the cpu body: blocks of queries with all scores of a query in one row, by products of BLAS: what the tangents
 * of attention are made of, where speed matters less than in attention itself. See kernels_cpu_attention_tangent.h.
 *
 * The keys of a block are one run: causal blocks stop at their last query's key (or at the prefix's end), windows begin
 * at their first query's first key, padding at either end is left out. What is hidden within the run gets the score
 * -Inf. */

enum { ATTENTION_QUERIES = 32 };

/* One block of queries of one head of one batch row. */
struct query_block {
    int b, first, count;          /* queries first .. first + count - 1 */
    int low, visible;             /* see keys within low .. low + visible - 1: the columns of their scores */
    int row_numbers;              /* numbers from one row of scores to the next */
    size_t q, kv, out, lse;       /* where the block's first query, the head's key `low`, … lie */
};

/* What is added to the scores of one head, and the gradient of it; parts of the scratch, NULL where there is none. */
struct attention_lines {
    float *mask;                  /* by key: 0, or -1 where padding hides it */
    float *bias, *d_bias;         /* by key - query + queries - 1 */
};

static size_t attention_row_numbers(const struct attention *a)
{
    return ((size_t)a->keys + LANES - 1) / LANES * LANES;
}

/* Vectors are loaded whole from any place of a line. */
static size_t attention_line_numbers(const struct attention *a)
{
    return ((size_t)a->queries + (size_t)a->keys) / LANES * LANES + 2 * LANES;
}

static size_t attention_row_scratch(const struct attention *a)
{
    return 2 * (size_t)ATTENTION_QUERIES * attention_row_numbers(a) + 3 * attention_line_numbers(a);
}

static struct attention_lines attention_lines_of(const struct attention *a, float *scratch, const float *bias_table,
                                                 const float *d_bias_table)
{
    float *mask = scratch + 2 * (size_t)ATTENTION_QUERIES * attention_row_numbers(a);
    float *bias = mask + attention_line_numbers(a);
    return (struct attention_lines){
        .mask = a->key_mask != NULL ? mask : NULL,
        .bias = bias_table != NULL ? bias : NULL,
        .d_bias = d_bias_table != NULL ? bias + attention_line_numbers(a) : NULL,
    };
}

static void attention_lines_fill(const struct attention *a, const struct attention_lines *lines,
                                 const float *bias_table, int b, int h)
{
    if (lines->mask != NULL)
        for (size_t s = 0; s < attention_line_numbers(a); s++)
            lines->mask[s] = s < (size_t)a->keys && a->key_mask[(size_t)b * (size_t)a->keys + s] == 0 ? -1 : 0;
    for (int i = 0; lines->bias != NULL && i < a->queries + a->keys - 1; i++)
        lines->bias[i] = bias_table[(size_t)a->bias_buckets[i] * (size_t)a->heads + (size_t)h];
    if (lines->d_bias != NULL)
        memset(lines->d_bias, 0, attention_line_numbers(a) * sizeof(float));
}

static struct query_block query_block_at(const struct attention *a, int b, int h, int first)
{
    int count = a->queries - first < ATTENTION_QUERIES ? a->queries - first : ATTENTION_QUERIES;
    int low = attention_start(a, first), end = attention_end(a, b, first + count - 1);
    size_t query = (size_t)b * (size_t)a->queries + (size_t)first, size = (size_t)a->head_size;
    size_t group = (size_t)(h / (a->heads / a->kv_heads)), key = (size_t)b * (size_t)a->keys;
    if (a->key_mask != NULL) {    /* at least one column stays */
        while (end > low + 1 && a->key_mask[key + (size_t)end - 1] == 0)
            end--;
        while (low < end - 1 && a->key_mask[key + (size_t)low] == 0)
            low++;
    }
    return (struct query_block){
        .b = b,
        .first = first,
        .count = count,
        .low = low,
        .visible = end - low,
        .row_numbers = (int)attention_row_numbers(a),
        .q = query * (size_t)a->q_stride + (size_t)h * size,
        .kv = (key + (size_t)low) * (size_t)a->kv_stride + group * size,
        .out = query * (size_t)a->out_stride + (size_t)h * size,
        .lse = ((size_t)b * (size_t)a->heads + (size_t)h) * (size_t)a->queries + (size_t)first,
    };
}

static int attention_last_block(const struct attention *a)
{
    return (a->queries - 1) / ATTENTION_QUERIES * ATTENTION_QUERIES;
}

/* Columns of a row before the first that its order hides; 0 for a query before whose window the block's keys end. */
static inline size_t attention_row_visible(const struct attention *a, const struct query_block *block, int row)
{
    int end = attention_end(a, block->b, block->first + row) - block->low;
    return (size_t)(end < 0 ? 0 : end < block->visible ? end : block->visible);
}

/* Numbers of a line for the columns of a row. */
static inline size_t attention_line_start(const struct attention *a, const struct query_block *block, int row)
{
    return (size_t)(block->low - (block->first + row) + a->queries - 1);
}

/* True if query `row` of the block sees a key among its `visible` columns. */
static bool attention_row_sees(const struct attention *a, const struct query_block *block, int row, size_t visible)
{
    int start = attention_start(a, block->first + row);
    if (a->key_mask == NULL)
        return true;
    const unsigned char *mask = a->key_mask + (size_t)block->b * (size_t)a->keys + (size_t)block->low;
    for (size_t j = (size_t)(start > block->low ? start - block->low : 0); j < visible; j++)
        if (mask[j] != 0)
            return true;
    return false;
}

/* Adds the bias to a row of scores and sets those that a mask or the window hides to -Inf. */
static void attention_row_mask(const struct attention *a, const struct query_block *block,
                               const struct attention_lines *lines, int row, size_t visible, float *p)
{
    if (lines->bias != NULL) {
        const float *bias = lines->bias + attention_line_start(a, block, row);
        for (size_t j = 0; j < visible; j += LANES)
            vector_store(p + j, vector_load(p + j) + vector_load(bias + j));
    }
    if (lines->mask != NULL) {
        const float *mask = lines->mask + block->low;
        for (size_t j = 0; j < visible; j += LANES)
            vector_store(p + j, vector_select(vector_load(mask + j) < vector_of(0), vector_of(-INFINITY),
                                              vector_load(p + j)));
    }
    int hidden = attention_start(a, block->first + row) - block->low;
    for (int j = 0; j < hidden && (size_t)j < visible; j++)
        p[j] = -INFINITY;
}

/* out (count, visible) = alpha * left (count, D) right (visible, D)^T */
static void query_block_scores(const struct attention *a, const struct query_block *block, double alpha,
                             const float *left, int left_stride, const float *right, float *out)
{
    struct product product = {.m = block->count, .n = block->visible, .k = a->head_size, .transpose_b = true,
                              .lda = left_stride, .ldb = a->kv_stride, .ldc = block->row_numbers, .alpha = alpha};
    kernels_blas_product(&product, left, right, out);
}

/* out (count, D) = alpha * weights (count, visible) right (visible, D) */
static void query_block_mix(const struct attention *a, const struct query_block *block, double alpha,
                          const float *weights, const float *right, float *out, int out_stride)
{
    struct product product = {.m = block->count, .n = a->head_size, .k = block->visible, .lda = block->row_numbers,
                              .ldb = a->kv_stride, .ldc = out_stride, .alpha = alpha};
    kernels_blas_product(&product, weights, right, out);
}

/* out (visible, D) = alpha * weights (count, visible)^T left (count, D) + beta * out */
static void query_block_collect(const struct attention *a, const struct query_block *block, double alpha, double beta,
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

/* A row whose query sees no key. */
static void attention_row_clear(float *p, size_t total)
{
    for (size_t j = 0; j < total; j += LANES)
        vector_store(p + j, vector_of(0));
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

/* Keys that no block reaches get a gradient of 0. */
static void attention_keys_zero(const struct attention *a, float *d)
{
    size_t bytes = (size_t)a->kv_heads * (size_t)a->head_size * sizeof(float);
    for (size_t s = 0; s < (size_t)a->batch * (size_t)a->keys; s++)
        memset(d + s * (size_t)a->kv_stride, 0, bytes);
}

static void attention_lines_collect(const struct attention *a, const struct attention_lines *lines,
                                   float *d_bias_table, int h)
{
    for (int i = 0; lines->d_bias != NULL && i < a->queries + a->keys - 1; i++)
        d_bias_table[(size_t)a->bias_buckets[i] * (size_t)a->heads + (size_t)h] += lines->d_bias[i];
}
