/* Part of the cpu body: attention, one batch row and head at a time, in blocks of queries by blocks of keys, with an
 * online softmax (Dao et al., 2022). See kernels_cpu.c.
 *
 * A block's scores are stored key by key, so that a vector holds the scores of LANES queries with one key: maxima, sums,
 * lse and the rest are vectors over queries and need no sums across lanes. Keys are walked in groups of PANEL_GROUP; of a
 * group only the queries that see one of its keys are computed, in whole units (below), and what is hidden among them
 * gets the score -Inf. Keys and values of a head are copied to rows of whole vectors, a block's queries also as columns;
 * the gradients of keys and values are summed in rows like theirs and written once. */

enum {
    ATTENTION_BLOCK = 64,                                             /* queries of a block, keys of a block */
    ATTENTION_UNIT = LANES > 8 ? LANES : 8,                         /* queries are left out by this many */
    ATTENTION_VECTORS = ATTENTION_BLOCK / LANES,
};

/* The scratch of one head, and what is the same for all its blocks. Rows of keys and queries are `width` numbers, the
 * head size in whole vectors. */
struct attention_head {
    int b, h, group;
    size_t width;
    float *k, *v, *d_k, *d_v;         /* (keys in whole groups, width) */
    float *q, *d_out, *sum;           /* (ATTENTION_BLOCK, width): scaled queries, gradients, what is being summed */
    float *q_columns, *d_out_columns; /* (width, ATTENTION_BLOCK) */
    float *p, *d;                     /* (ATTENTION_BLOCK keys, ATTENTION_BLOCK): scores, then probabilities; gradients */
    float *bias;                      /* by query - key + keys - 1; NULL: none */
    float *d_bias;                    /* LANES such lines, key s adds to line s mod LANES, so that vectors that meet are
                                       * the same ones; NULL: not wanted */
};

/* A block of queries: the first and what each sees. */
struct attention_queries {
    int first, count;
    int32_t start[ATTENTION_BLOCK], end[ATTENTION_BLOCK];    /* keys start .. end - 1; none beyond count */
    float largest[ATTENTION_BLOCK];   /* forward: largest score so far */
    float total[ATTENTION_BLOCK];     /* forward: sum of exp(score - largest); backward: d_out . out */
    float lse[ATTENTION_BLOCK];       /* backward: +Inf where no key is seen */
};

static size_t attention_width(const struct attention *a)
{
    return ((size_t)a->head_size + LANES - 1) / LANES * LANES;
}

static size_t attention_padded_keys(const struct attention *a)
{
    return ((size_t)a->keys + PANEL_GROUP - 1) / PANEL_GROUP * PANEL_GROUP;
}

/* Vectors are loaded whole from any place of a line, up to a block beyond its end. */
static size_t attention_bias_numbers(const struct attention *a)
{
    return ((size_t)a->queries + (size_t)a->keys) / LANES * LANES + 2 * ATTENTION_BLOCK;
}

static size_t attention_block_numbers(const struct attention *a)
{
    return attention_width(a) * (4 * attention_padded_keys(a) + 5 * (size_t)ATTENTION_BLOCK) +
           2 * (size_t)ATTENTION_BLOCK * ATTENTION_BLOCK + (1 + LANES) * attention_bias_numbers(a);
}

static struct attention_head attention_head_of(const struct attention *a, float *scratch, bool bias, bool d_bias)
{
    size_t width = attention_width(a), keys = attention_padded_keys(a) * width;
    size_t block = (size_t)ATTENTION_BLOCK * width, scores = (size_t)ATTENTION_BLOCK * ATTENTION_BLOCK;
    struct attention_head head = {.width = width, .k = scratch};
    head.v = head.k + keys;
    head.d_k = head.v + keys;
    head.d_v = head.d_k + keys;
    head.q = head.d_v + keys;
    head.d_out = head.q + block;
    head.sum = head.d_out + block;
    head.q_columns = head.sum + block;
    head.d_out_columns = head.q_columns + block;
    head.p = head.d_out_columns + block;
    head.d = head.p + scores;
    head.bias = bias ? head.d + scores : NULL;
    head.d_bias = d_bias ? head.d + scores + attention_bias_numbers(a) : NULL;
    return head;
}

/* Keys from the returned one on are hidden from query t by their order. */
static inline int attention_end(const struct attention *a, int b, int t)
{
    int prefix = a->prefix != NULL ? a->prefix[b] : 0;
    if (!a->causal || prefix > a->keys)
        return a->keys;
    return t + 1 > prefix ? t + 1 : prefix;
}

/* Keys before the returned one are hidden from query t by the window. */
static inline int attention_start(const struct attention *a, int t)
{
    return a->causal && a->window > 0 && t >= a->window ? t - a->window + 1 : 0;
}

static void attention_queries_fill(const struct attention *a, int b, int first, struct attention_queries *queries)
{
    queries->first = first;
    queries->count = a->queries - first < ATTENTION_BLOCK ? a->queries - first : ATTENTION_BLOCK;
    for (int i = 0; i < ATTENTION_BLOCK; i++) {
        bool exists = i < queries->count;
        queries->start[i] = exists ? attention_start(a, first + i) : 0;
        queries->end[i] = exists ? attention_end(a, b, first + i) : 0;
    }
}

/* Keys and values of the head's group, as rows. */
static void attention_keys_pack(const struct attention *a, const struct attention_head *head, const float *k,
                                const float *v)
{
    size_t stride = (size_t)a->kv_stride, size = (size_t)a->head_size, keys = (size_t)a->keys;
    size_t at = (size_t)head->b * keys * stride + (size_t)head->group * size;
    panel_pack(k + at, stride, keys, size, 1, head->k, attention_padded_keys(a), head->width);
    panel_pack(v + at, stride, keys, size, 1, head->v, attention_padded_keys(a), head->width);
}

/* Rows of one head of a block's queries, lying `stride` apart from each other, as rows and as columns. */
static void attention_queries_pack(const struct attention *a, const struct attention_head *head,
                                   const struct attention_queries *queries, const float *from, int stride, double scale,
                                   float *rows, float *columns)
{
    size_t row = (size_t)head->b * (size_t)a->queries + (size_t)queries->first;
    panel_pack(from + row * (size_t)stride + (size_t)head->h * (size_t)a->head_size, (size_t)stride,
              (size_t)queries->count, (size_t)a->head_size, (float)scale, rows, ATTENTION_BLOCK, head->width);
    panel_pack_transposed(rows, ATTENTION_BLOCK, head->width, columns);
}

static void attention_bias_fill(const struct attention *a, const struct attention_head *head, const float *table)
{
    int last = a->queries + a->keys - 2;
    for (int i = 0; head->bias != NULL && i <= last; i++)
        head->bias[last - i] = table[(size_t)a->bias_buckets[i] * (size_t)a->heads + (size_t)head->h];
    if (head->d_bias != NULL)
        memset(head->d_bias, 0, LANES * attention_bias_numbers(a) * sizeof(float));
}

static void attention_bias_collect(const struct attention *a, const struct attention_head *head, float *d_table)
{
    int last = a->queries + a->keys - 2;
    for (int i = 0; head->d_bias != NULL && i <= last; i++) {
        float sum = 0;
        for (size_t line = 0; line < LANES; line++)
            sum += head->d_bias[line * attention_bias_numbers(a) + (size_t)(last - i)];
        d_table[(size_t)a->bias_buckets[i] * (size_t)a->heads + (size_t)head->h] += sum;
    }
}

/* Where the bias of the block's first query with key s lies. */
static inline size_t attention_bias_at(const struct attention *a, const struct attention_queries *queries, int s)
{
    return (size_t)(queries->first - s + a->keys - 1);
}

/* Of the block's queries, those that see a key of the group that begins with key s: [from, to), whole units. */
struct attention_range { size_t from, to; };

static struct attention_range attention_group_range(const struct attention *a, const struct attention_queries *queries,
                                                    int s)
{
    int last = s + PANEL_GROUP - 1, from = queries->end[0] > s ? 0 : s - queries->first, to = queries->count;
    if (a->causal && a->window > 0 && last + a->window - queries->first < to)
        to = last + a->window - queries->first;
    if (to <= from)
        return (struct attention_range){0, 0};
    return (struct attention_range){
        (size_t)from / ATTENTION_UNIT * ATTENTION_UNIT,
        ((size_t)to + ATTENTION_UNIT - 1) / ATTENTION_UNIT * ATTENTION_UNIT,
    };
}

/* Does each query of the range see each key of the group? */
static bool attention_group_is_full(const struct attention *a, const struct attention_queries *queries,
                                    struct attention_range range, int s)
{
    return a->key_mask == NULL && range.to <= (size_t)queries->count && queries->end[range.from] >= s + PANEL_GROUP &&
           queries->start[range.to - 1] <= s;
}

/* Adds the bias to a row of scores, of key s, and sets those that are hidden to -Inf. */
static void attention_row_hide(const struct attention *a, const struct attention_head *head,
                               const struct attention_queries *queries, struct attention_range range, int s, float *row)
{
    bool shown = s < a->keys &&
                 (a->key_mask == NULL || a->key_mask[(size_t)head->b * (size_t)a->keys + (size_t)s] != 0);
    for (size_t i = range.from; i < range.to; i += LANES) {
        masks start, end;
        memcpy(&start, queries->start + i, sizeof start);
        memcpy(&end, queries->end + i, sizeof end);
        floats score = vector_load(row + i);
        if (head->bias != NULL && s < a->keys)
            score += vector_load(head->bias + attention_bias_at(a, queries, s) + i);
        masks sees = (start <= (masks){0} + s) & (end > (masks){0} + (shown ? s : a->keys));
        vector_store(row + i, vector_select(sees, score, vector_of(-INFINITY)));
    }
}

/* rows (group, range) = keys (group, D) columns (D, block), for the group that begins with key s. */
static void attention_group_product(const struct attention *a, const struct attention_head *head, const float *keys,
                                    const float *columns, struct attention_range range, int s, float *rows)
{
    const struct panel panel = {
        .left = keys + (size_t)s * head->width, .row_step = head->width, .terms = (size_t)a->head_size,
        .right = columns + range.from, .right_stride = ATTENTION_BLOCK,
        .out = rows + range.from, .out_stride = ATTENTION_BLOCK,
    };
    panel_write_rows(&panel, (range.to - range.from) / LANES);
}

static void attention_group_scores(const struct attention *a, const struct attention_head *head,
                                   const struct attention_queries *queries, struct attention_range range, int s,
                                   float *rows)
{
    if (range.from == range.to)
        return;
    attention_group_product(a, head, head->k, head->q_columns, range, s, rows);
    if (head->bias != NULL || !attention_group_is_full(a, queries, range, s))
        for (int j = 0; j < PANEL_GROUP; j++)
            attention_row_hide(a, head, queries, range, s + j, rows + (size_t)j * ATTENTION_BLOCK);
}

/* A block of keys: [low, end), low at a block's begin, whole groups; and of each group the queries that see it. */
struct attention_keys {
    int low, end;
    struct attention_range ranges[ATTENTION_BLOCK / PANEL_GROUP];
};

static struct attention_keys attention_keys_at(const struct attention *a, const struct attention_queries *queries,
                                               int low)
{
    int end = queries->end[queries->count - 1];
    struct attention_keys keys = {.low = low, .end = end - low < ATTENTION_BLOCK ? end : low + ATTENTION_BLOCK};
    keys.end = (keys.end + PANEL_GROUP - 1) / PANEL_GROUP * PANEL_GROUP;
    for (int s = low; s < keys.end; s += PANEL_GROUP)
        keys.ranges[(s - low) / PANEL_GROUP] = attention_group_range(a, queries, s);
    return keys;
}

/* Is a key of the block seen at all? Blocks of padding are passed over. */
static bool attention_keys_seen(const struct attention *a, int b, const struct attention_keys *keys)
{
    if (a->key_mask == NULL)
        return true;
    const unsigned char *mask = a->key_mask + (size_t)b * (size_t)a->keys;
    for (int s = keys->low; s < keys->end && s < a->keys; s++)
        if (mask[s] != 0)
            return true;
    return false;
}

/* For each block of keys that a query of the block may see. */
#define EACH_ATTENTION_KEYS(a, b, queries, keys) \
    for (struct attention_keys keys = \
             attention_keys_at(a, queries, (queries)->start[0] / ATTENTION_BLOCK * ATTENTION_BLOCK); \
         keys.low < (queries)->end[(queries)->count - 1]; \
         keys = attention_keys_at(a, queries, keys.low + ATTENTION_BLOCK)) \
        if (attention_keys_seen(a, b, &keys))

/* For each row of scores of a block that holds those of the queries from `i` on. */
#define EACH_ATTENTION_ROW(keys, i, row, rows) \
    for (int group_ = 0; group_ < ((keys)->end - (keys)->low) / PANEL_GROUP; group_++) \
        if ((keys)->ranges[group_].from <= (i) && (i) < (keys)->ranges[group_].to) \
            for (float *row = (rows) + group_ * PANEL_GROUP * ATTENTION_BLOCK, \
                       *last_ = row + PANEL_GROUP * ATTENTION_BLOCK; row < last_; row += ATTENTION_BLOCK)

/* sum (queries, width) = keep * sum + weights^T rows, weights (keys, block); keep NULL: 1. */
static void attention_mix(const struct attention_head *head, const struct attention_queries *queries,
                          const struct attention_keys *keys, const float *weights, const float *rows, const float *keep)
{
    for (int i = 0; i < queries->count; i += PANEL_GROUP) {
        int last = i + PANEL_GROUP <= queries->count ? i + PANEL_GROUP - 1 : queries->count - 1;
        int from = queries->start[i] > keys->low ? queries->start[i] : keys->low;
        int to = queries->end[last] < keys->end ? queries->end[last] : keys->end;
        const struct panel panel = {
            .left = weights + (from - keys->low) * ATTENTION_BLOCK + i, .term_step = ATTENTION_BLOCK,
            .terms = (size_t)(to > from ? to - from : 0),
            .right = rows + (size_t)from * head->width, .right_stride = head->width,
            .out = head->sum + (size_t)i * head->width, .out_stride = head->width, .keep = keep + i,
        };
        if (keep != NULL)
            panel_scale_columns(&panel, head->width / LANES);
        else
            panel_add_columns(&panel, head->width / LANES);
    }
}

/* Turns scores into exp(score - largest), and sets by what has been summed so far is to be multiplied. */
static void attention_softmax(const struct attention_head *head, struct attention_queries *queries,
                              const struct attention_keys *keys, float *keep)
{
    for (size_t i = 0; i < ATTENTION_BLOCK; i += LANES) {
        floats before = vector_load(queries->largest + i), largest = before;
        EACH_ATTENTION_ROW(keys, i, row, head->p + i)
            largest = vector_max(vector_load(row), largest);
        floats shift = vector_select(largest == vector_of(-INFINITY), vector_of(0), largest);
        floats kept = vector_exp(before - shift), total = vector_load(queries->total + i) * kept;
        EACH_ATTENTION_ROW(keys, i, row, head->p + i) {
            floats value = vector_exp(vector_load(row) - shift);
            total += value;
            vector_store(row, value);
        }
        vector_store(queries->largest + i, largest);
        vector_store(queries->total + i, total);
        vector_store(keep + i, kept);
    }
}

/* A query that sees no key has out = 0, lse = -Inf. */
static bool attention_query_sees(const struct attention *a, int b, const struct attention_queries *queries, int i)
{
    if (a->key_mask == NULL)
        return true;
    for (int s = queries->start[i]; s < queries->end[i]; s++)
        if (a->key_mask[(size_t)b * (size_t)a->keys + (size_t)s] != 0)
            return true;
    return false;
}

static void attention_queries_finish(const struct attention *a, const struct attention_head *head,
                                     const struct attention_queries *queries, float *out, float *lse)
{
    size_t query = (size_t)head->b * (size_t)a->queries + (size_t)queries->first, size = (size_t)a->head_size;
    out += query * (size_t)a->out_stride + (size_t)head->h * size;
    lse += ((size_t)head->b * (size_t)a->heads + (size_t)head->h) * (size_t)a->queries + (size_t)queries->first;
    for (int i = 0; i < queries->count; i++, out += a->out_stride) {
        float total = queries->total[i];
        bool sees = total > 0 || attention_query_sees(a, head->b, queries, i);
        float inverse = sees ? 1.0f / total : 0;
        lse[i] = sees ? queries->largest[i] + logf(total) : -INFINITY;
        EACH_VECTOR(c, left, size)
            vector_store_part(out + c, vector_load(head->sum + (size_t)i * head->width + c) * inverse, left);
    }
}

static void attention_queries_forward(const struct attention *a, const struct attention_forward *f,
                                      const struct attention_head *head, int first)
{
    struct attention_queries queries;
    float keep[ATTENTION_BLOCK];
    attention_queries_fill(a, head->b, first, &queries);
    attention_queries_pack(a, head, &queries, f->q, a->q_stride, a->scale, head->q, head->q_columns);
    memset(head->sum, 0, ATTENTION_BLOCK * head->width * sizeof(float));
    for (int i = 0; i < ATTENTION_BLOCK; i++) {
        queries.largest[i] = -INFINITY;
        queries.total[i] = 0;
    }
    EACH_ATTENTION_KEYS(a, head->b, &queries, keys) {
        for (int s = keys.low; s < keys.end; s += PANEL_GROUP)
            attention_group_scores(a, head, &queries, keys.ranges[(s - keys.low) / PANEL_GROUP], s,
                                   head->p + (s - keys.low) * ATTENTION_BLOCK);
        attention_softmax(head, &queries, &keys, keep);
        attention_mix(head, &queries, &keys, head->p, head->v, keep);
    }
    attention_queries_finish(a, head, &queries, f->out, f->lse);
}

static void attention(const struct attention *a, const struct attention_forward *f)
{
    struct attention_head head = attention_head_of(a, f->scratch, f->bias_table != NULL, false);
    int group = a->heads / a->kv_heads;
    for (head.b = 0; head.b < a->batch; head.b++)
        for (head.h = 0; head.h < a->heads; head.h++) {
            head.group = head.h / group;
            if (head.h % group == 0)
                attention_keys_pack(a, &head, f->k, f->v);
            attention_bias_fill(a, &head, f->bias_table);
            for (int first = 0; first < a->queries; first += ATTENTION_BLOCK)
                attention_queries_forward(a, f, &head, first);
        }
}
