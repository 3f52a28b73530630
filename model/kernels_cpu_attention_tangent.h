/* Part of the cpu body: the tangents of attention, over blocks of queries with whole rows of scores. See
 * kernels_cpu_attention_rows.h. A name
 * that begins with t_ is the tangent of what follows. With s the scores and p = softmax(s): t_p = p (t_s - t_lse),
 * t_lse = p . t_s. Each of the two scratches holds the scores, the gradients of the scores and the lines of its own. */

/* Scores and gradients of scores of a block, with their tangents. */
struct attention_duals { float *p, *d, *t_p, *t_d; };

static struct attention_duals attention_duals_of(const struct query_block *block, float *scratch, float *t_scratch)
{
    size_t numbers = (size_t)ATTENTION_QUERIES * (size_t)block->row_numbers;
    return (struct attention_duals){scratch, scratch + numbers, t_scratch, t_scratch + numbers};
}

/* out (count, visible) += alpha * left (count, D) right (visible, D)^T */
static void query_block_scores_add(const struct attention *a, const struct query_block *block, double alpha,
                                 const float *left, int left_stride, const float *right, float *out)
{
    struct product product = {.m = block->count, .n = block->visible, .k = a->head_size, .transpose_b = true,
                              .lda = left_stride, .ldb = a->kv_stride, .ldc = block->row_numbers, .alpha = alpha,
                              .beta = 1};
    kernels_blas_product(&product, left, right, out);
}

/* out (count, D) += alpha * weights (count, visible) right (visible, D) */
static void query_block_mix_add(const struct attention *a, const struct query_block *block, double alpha,
                              const float *weights, const float *right, float *out, int out_stride)
{
    struct product product = {.m = block->count, .n = a->head_size, .k = block->visible, .lda = block->row_numbers,
                              .ldb = a->kv_stride, .ldc = out_stride, .alpha = alpha, .beta = 1};
    kernels_blas_product(&product, weights, right, out);
}

/* Scores and their tangents: p = scale q k, t_p = scale (t_q k + q t_k). */
static void query_block_scores_tangent(const struct attention *a, const struct query_block *block,
                                       const float *const q[2], const float *const k[2],
                                       const struct attention_duals *duals)
{
    query_block_scores(a, block, a->scale, q[0] + block->q, a->q_stride, k[0] + block->kv, duals->p);
    query_block_scores(a, block, a->scale, q[1] + block->q, a->q_stride, k[0] + block->kv, duals->t_p);
    query_block_scores_add(a, block, a->scale, q[0] + block->q, a->q_stride, k[1] + block->kv, duals->t_p);
}

/* Turns row i of the scores into probabilities and adds the bias's tangent to t_p, which stays a score's. Returns false
 * where the query sees no key: the row is 0. */
static bool query_row_probabilities(const struct attention *a, const struct query_block *block,
                                    const struct attention_lines *lines, const struct attention_lines *t_lines, int i,
                                    float lse, float *p, float *t_p)
{
    size_t visible = attention_row_visible(a, block, i);
    if (!attention_row_sees(a, block, i, visible)) {
        attention_row_clear(p, (size_t)block->visible);
        attention_row_clear(t_p, (size_t)block->visible);
        return false;
    }
    attention_row_mask(a, block, lines, i, visible, p);
    attention_exp_row(p, lse, visible, (size_t)block->visible);
    if (t_lines->bias != NULL)
        add_into(t_p, t_lines->bias + attention_line_start(a, block, i), visible);
    return true;
}

static void query_block_tangent(const struct attention *a, const struct attention_forward *f,
                                const struct attention_forward *t, const struct attention_lines lines[2],
                                const struct query_block *block)
{
    const float *const q[] = {f->q, t->q}, *const k[] = {f->k, t->k};
    struct attention_duals duals = attention_duals_of(block, f->scratch, t->scratch);
    float *t_out = (float *)t->out + block->out;
    query_block_scores_tangent(a, block, q, k, &duals);
    for (int i = 0; i < block->count; i++) {
        float *p = duals.p + (size_t)i * (size_t)block->row_numbers;
        float *t_p = duals.t_p + (size_t)i * (size_t)block->row_numbers;
        float lse = ((const float *)f->lse)[block->lse + (size_t)i], t_lse = 0;
        size_t visible = attention_row_visible(a, block, i);
        if (query_row_probabilities(a, block, &lines[0], &lines[1], i, lse, p, t_p)) {
            t_lse = attention_dot(p, t_p, visible);
            attention_score_gradient(p, t_p, t_lse, visible, (size_t)block->visible);
        }
        ((float *)t->lse)[block->lse + (size_t)i] = t_lse;
    }
    query_block_mix(a, block, 1, duals.t_p, (const float *)f->v + block->kv, t_out, a->out_stride);
    query_block_mix_add(a, block, 1, duals.p, (const float *)t->v + block->kv, t_out, a->out_stride);
}

static void attention_tangent(const struct attention *a, const struct attention_forward *f,
                              const struct attention_forward *t)
{
    struct attention_lines lines[] = {
        attention_lines_of(a, f->scratch, f->bias_table, NULL), attention_lines_of(a, t->scratch, t->bias_table, NULL),
    };
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++) {
            attention_lines_fill(a, &lines[0], f->bias_table, b, h);
            attention_lines_fill(a, &lines[1], t->bias_table, b, h);
            for (int first = attention_last_block(a); first >= 0; first -= ATTENTION_QUERIES) {
                struct query_block block = query_block_at(a, b, h, first);
                query_block_tangent(a, f, t, lines, &block);
            }
        }
}

/* d = p (d - expected), t_d = t_p (d - expected) + p (t_d - t_expected). */
static void attention_score_gradient_tangent(const float *p, const float *t_p, float *d, float *t_d, float expected,
                                             float t_expected, size_t visible, size_t total)
{
    EACH_VECTOR(j, left, visible) {
        floats value = vector_load(p + j), t_value = vector_load(t_p + j), away = vector_load(d + j) - expected;
        floats gradient = value * away, bent = t_value * away + value * (vector_load(t_d + j) - t_expected);
        if (left < LANES) {
            gradient = vector_select(vector_first(left), gradient, vector_of(0));
            bent = vector_select(vector_first(left), bent, vector_of(0));
        }
        vector_store(d + j, gradient);
        vector_store(t_d + j, bent);
    }
    for (size_t j = (visible + LANES - 1) / LANES * LANES; j < total; j += LANES) {
        vector_store(d + j, vector_of(0));
        vector_store(t_d + j, vector_of(0));
    }
}

/* Probabilities from the scores, gradients of scores from those of probabilities, and the tangents of both. */
static void query_block_scores_backward_tangent(const struct attention *a, const struct attention_backward *g,
                                                const struct attention_backward *t,
                                                const struct attention_lines lines[2],
                                                const struct query_block *block, const struct attention_duals *duals)
{
    size_t size = (size_t)a->head_size;
    for (int i = 0; i < block->count; i++) {
        size_t row = (size_t)i * (size_t)block->row_numbers, visible = attention_row_visible(a, block, i);
        size_t at = block->out + (size_t)i * (size_t)a->out_stride, query = block->lse + (size_t)i;
        const float *out = (const float *)g->out + at, *d_out = (const float *)g->d_out + at;
        const float *t_out = (const float *)t->out + at, *t_d_out = (const float *)t->d_out + at;
        float *p = duals->p + row, *t_p = duals->t_p + row, *d = duals->d + row, *t_d = duals->t_d + row;
        if (!query_row_probabilities(a, block, &lines[0], &lines[1], i, ((const float *)g->lse)[query], p, t_p)) {
            attention_row_clear(d, (size_t)block->visible);
            attention_row_clear(t_d, (size_t)block->visible);
            continue;
        }
        attention_score_gradient(p, t_p, ((const float *)t->lse)[query], visible, (size_t)block->visible);
        float expected = attention_dot(d_out, out, size);
        float t_expected = attention_dot(t_d_out, out, size) + attention_dot(d_out, t_out, size);
        attention_score_gradient_tangent(p, t_p, d, t_d, expected, t_expected, visible, (size_t)block->visible);
        if (lines[1].d_bias != NULL)
            add_into(lines[1].d_bias + attention_line_start(a, block, i), t_d, visible);
    }
}

/* The tangents of: d_v += p^T d_out; d_q = scale d k; d_k += scale d^T q. */
static void query_block_collect_tangent(const struct attention *a, const struct attention_backward *g,
                                        const struct attention_backward *t, const struct query_block *block,
                                        const struct attention_duals *duals)
{
    const float *q = (const float *)g->q + block->q, *t_q = (const float *)t->q + block->q;
    const float *k = (const float *)g->k + block->kv, *t_k = (const float *)t->k + block->kv;
    const float *d_out = (const float *)g->d_out + block->out, *t_d_out = (const float *)t->d_out + block->out;
    float *d_q = (float *)g->d_q + block->q, *t_d_q = (float *)t->d_q + block->q;
    float *d_k = (float *)g->d_k + block->kv, *t_d_k = (float *)t->d_k + block->kv;
    float *d_v = (float *)g->d_v + block->kv, *t_d_v = (float *)t->d_v + block->kv;
    query_block_collect(a, block, 1, 1, duals->p, d_out, a->out_stride, d_v);
    query_block_collect(a, block, 1, 1, duals->t_p, d_out, a->out_stride, t_d_v);
    query_block_collect(a, block, 1, 1, duals->p, t_d_out, a->out_stride, t_d_v);
    query_block_mix(a, block, a->scale, duals->d, k, d_q, a->q_stride);
    query_block_mix(a, block, a->scale, duals->t_d, k, t_d_q, a->q_stride);
    query_block_mix_add(a, block, a->scale, duals->d, t_k, t_d_q, a->q_stride);
    query_block_collect(a, block, a->scale, 1, duals->d, q, a->q_stride, d_k);
    query_block_collect(a, block, a->scale, 1, duals->t_d, q, a->q_stride, t_d_k);
    query_block_collect(a, block, a->scale, 1, duals->d, t_q, a->q_stride, t_d_k);
}

static void query_block_backward_tangent(const struct attention *a, const struct attention_backward *g,
                                         const struct attention_backward *t, const struct attention_lines lines[2],
                                         const struct query_block *block)
{
    const float *const q[] = {g->q, t->q}, *const k[] = {g->k, t->k};
    const float *d_out = (const float *)g->d_out + block->out, *t_d_out = (const float *)t->d_out + block->out;
    const float *v = (const float *)g->v + block->kv, *t_v = (const float *)t->v + block->kv;
    struct attention_duals duals = attention_duals_of(block, g->scratch, t->scratch);
    query_block_scores_tangent(a, block, q, k, &duals);
    query_block_scores(a, block, 1, d_out, a->out_stride, v, duals.d);
    query_block_scores(a, block, 1, t_d_out, a->out_stride, v, duals.t_d);
    query_block_scores_add(a, block, 1, d_out, a->out_stride, t_v, duals.t_d);
    query_block_scores_backward_tangent(a, g, t, lines, block, &duals);
    query_block_collect_tangent(a, g, t, block, &duals);
}

static void attention_backward_tangent(const struct attention *a, const struct attention_backward *g,
                                       const struct attention_backward *t)
{
    struct attention_lines lines[] = {
        attention_lines_of(a, g->scratch, g->bias_table, NULL),
        attention_lines_of(a, t->scratch, t->bias_table, t->d_bias_table),
    };
    attention_keys_zero(a, g->d_k);
    attention_keys_zero(a, g->d_v);
    attention_keys_zero(a, t->d_k);
    attention_keys_zero(a, t->d_v);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++) {
            attention_lines_fill(a, &lines[0], g->bias_table, b, h);
            attention_lines_fill(a, &lines[1], t->bias_table, b, h);
            for (int first = attention_last_block(a); first >= 0; first -= ATTENTION_QUERIES) {
                struct query_block block = query_block_at(a, b, h, first);
                query_block_backward_tangent(a, g, t, lines, &block);
            }
            attention_lines_collect(a, &lines[1], t->d_bias_table, h);
        }
}
