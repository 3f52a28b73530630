/* Part of the cpu body: the backward pass of attention, over the same blocks. See kernels_cpu_attention.h. Probabilities
 * are computed again from lse; one sweep over the blocks gives all gradients. */

static float attention_dot(const float *a, const float *b, size_t n)
{
    floats sum = {0};
    EACH_VECTOR(c, left, n)
        sum += vector_load_part(a + c, left) * vector_load_part(b + c, left);
    return vector_sum(sum);
}

/* lse and d_out . out of each query. */
static void attention_queries_recall(const struct attention *a, const struct attention_backward *g,
                                     const struct attention_head *head, struct attention_queries *queries)
{
    size_t query = (size_t)head->b * (size_t)a->queries + (size_t)queries->first, size = (size_t)a->head_size;
    size_t at = query * (size_t)a->out_stride + (size_t)head->h * size;
    const float *out = (const float *)g->out + at, *d_out = (const float *)g->d_out + at;
    const float *lse = (const float *)g->lse + (size_t)queries->first +
                       ((size_t)head->b * (size_t)a->heads + (size_t)head->h) * (size_t)a->queries;
    for (int i = 0; i < ATTENTION_BLOCK; i++) {
        queries->lse[i] = i < queries->count && lse[i] != -INFINITY ? lse[i] : INFINITY;
        queries->total[i] = 0;
    }
    for (int i = 0; i < queries->count; i++, out += a->out_stride, d_out += a->out_stride) {
        for (size_t c = 0; c < size; c += LANES)
            vector_expect(out + ROWS_AHEAD * a->out_stride + c);
        queries->total[i] = attention_dot(d_out, out, size);
    }
}

/* p = exp(p - lse), d = p (d - d_out . out): the gradients of the scores from those of the probabilities. */
static void attention_group_gradient(const struct attention *a, const struct attention_head *head,
                                     const struct attention_queries *queries, struct attention_range range, int s,
                                     float *p, float *d)
{
    for (int j = 0; j < PANEL_GROUP; j++, p += ATTENTION_BLOCK, d += ATTENTION_BLOCK)
        for (size_t i = range.from; i < range.to; i += LANES) {
            floats value = vector_exp(vector_load(p + i) - vector_load(queries->lse + i));
            vector_store(p + i, value);
            vector_store(d + i, value * (vector_load(d + i) - vector_load(queries->total + i)));
        }
    if (head->d_bias == NULL)
        return;
    d -= PANEL_GROUP * ATTENTION_BLOCK;
    for (int j = 0; j < PANEL_GROUP && s + j < a->keys; j++, d += ATTENTION_BLOCK) {
        float *line = head->d_bias + (size_t)(s + j) % LANES * attention_bias_numbers(a) +
                      attention_bias_at(a, queries, s + j);
        for (size_t i = range.from; i < range.to; i += LANES)
            vector_store(line + i, vector_load(line + i) + vector_load(d + i));
    }
}

/* to (group, width) += weights (group, range) rows (range, width). */
static void attention_group_collect(const struct attention_head *head, struct attention_range range, int s,
                                    const float *weights, const float *rows, float *to)
{
    const struct panel panel = {
        .left = weights + range.from, .row_step = ATTENTION_BLOCK, .terms = range.to - range.from,
        .right = rows + range.from * head->width, .right_stride = head->width,
        .out = to + (size_t)s * head->width, .out_stride = head->width,
    };
    panel_add_rows(&panel, head->width / LANES);
}

/* d_v += p^T d_out; d_p = d_out v^T; d_s = p (d_p - d_out . out); d_k += d_s^T (scale q); sum = d_s k. */
static void attention_keys_backward(const struct attention *a, const struct attention_head *head,
                                    const struct attention_queries *queries, const struct attention_keys *keys)
{
    for (int s = keys->low; s < keys->end; s += PANEL_GROUP) {
        struct attention_range range = keys->ranges[(s - keys->low) / PANEL_GROUP];
        float *p = head->p + (s - keys->low) * ATTENTION_BLOCK, *d = head->d + (s - keys->low) * ATTENTION_BLOCK;
        attention_group_scores(a, head, queries, range, s, p);
        attention_group_product(a, head, head->v, head->d_out_columns, range, s, d);
        attention_group_gradient(a, head, queries, range, s, p, d);
        attention_group_collect(head, range, s, p, head->d_out, head->d_v);
        attention_group_collect(head, range, s, d, head->q, head->d_k);
    }
    attention_mix(head, queries, keys, head->d, head->k, NULL);
}

/* to = scale * from (count, width), `stride` numbers from one row of to to the next. */
static void attention_unpack(const float *from, size_t count, size_t width, float scale, size_t size, float *to,
                             size_t stride)
{
    for (size_t i = 0; i < count; i++, from += width, to += stride)
        EACH_VECTOR(c, left, size) {
            vector_expect(to + ROWS_AHEAD * stride + c);
            vector_store_part(to + c, scale * vector_load(from + c), left);
        }
}

static void attention_queries_backward(const struct attention *a, const struct attention_backward *g,
                                       const struct attention_head *head, int first)
{
    struct attention_queries queries;
    size_t query = (size_t)head->b * (size_t)a->queries + (size_t)first, size = (size_t)a->head_size;
    attention_queries_fill(a, head->b, first, &queries);
    attention_queries_pack(a, head, &queries, g->q, a->q_stride, a->scale, head->q, head->q_columns);
    attention_queries_pack(a, head, &queries, g->d_out, a->out_stride, 1, head->d_out, head->d_out_columns);
    attention_queries_recall(a, g, head, &queries);
    memset(head->sum, 0, ATTENTION_BLOCK * head->width * sizeof(float));
    EACH_ATTENTION_KEYS(a, head->b, &queries, keys)
        attention_keys_backward(a, head, &queries, &keys);
    attention_unpack(head->sum, (size_t)queries.count, head->width, (float)a->scale, size,
                     (float *)g->d_q + query * (size_t)a->q_stride + (size_t)head->h * size, (size_t)a->q_stride);
}

/* The gradients of the keys and values of a group of heads. */
static void attention_keys_write(const struct attention *a, const struct attention_backward *g,
                                 const struct attention_head *head)
{
    size_t stride = (size_t)a->kv_stride, size = (size_t)a->head_size, keys = (size_t)a->keys;
    size_t at = (size_t)head->b * keys * stride + (size_t)head->group * size;
    attention_unpack(head->d_k, keys, head->width, 1, size, (float *)g->d_k + at, stride);
    attention_unpack(head->d_v, keys, head->width, 1, size, (float *)g->d_v + at, stride);
}

static void attention_backward(const struct attention *a, const struct attention_backward *g)
{
    struct attention_head head = attention_head_of(a, g->scratch, g->bias_table != NULL, g->d_bias_table != NULL);
    int group = a->heads / a->kv_heads;
    for (head.b = 0; head.b < a->batch; head.b++)
        for (head.h = 0; head.h < a->heads; head.h++) {
            head.group = head.h / group;
            if (head.h % group == 0) {
                attention_keys_pack(a, &head, g->k, g->v);
                memset(head.d_k, 0, attention_padded_keys(a) * head.width * sizeof(float));
                memset(head.d_v, 0, attention_padded_keys(a) * head.width * sizeof(float));
            }
            attention_bias_fill(a, &head, g->bias_table);
            for (int first = 0; first < a->queries; first += ATTENTION_BLOCK)
                attention_queries_backward(a, g, &head, first);
            attention_bias_collect(a, &head, g->d_bias_table);
            if (head.h % group == group - 1)
                attention_keys_write(a, g, &head);
        }
}
