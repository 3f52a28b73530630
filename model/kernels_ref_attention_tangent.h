/* Part of the reference body (kernels_ref.c): the tangents of attention. A name that begins with t_ is the tangent of
 * what follows. With s the scores and p = softmax(s): t_p = p (t_s - p . t_s), and t_lse = p . t_s. */

static double attention_score_tangent(const struct attention *a, const struct attention_row *at, const real *const q[2],
                                      const real *const k[2], const real *t_bias_table, int s)
{
    size_t key = at->kv + (size_t)s * (size_t)a->kv_stride;
    double score = dot(q[1] + at->q, k[0] + key, a->head_size) + dot(q[0] + at->q, k[1] + key, a->head_size);
    return a->scale * score + (t_bias_table != NULL ? t_bias_table[attention_bias_at(a, at, s)] : 0);
}

static void attention_query_tangent(const struct attention *a, const struct attention_forward *f,
                                    const struct attention_forward *t, const struct attention_row *at)
{
    const real *const q[] = {f->q, t->q}, *const k[] = {f->k, t->k};
    const real *values = (const real *)f->v + at->kv, *t_values = (const real *)t->v + at->kv;
    real *p = f->scratch, *t_scores = t->scratch, *t_out = (real *)t->out + at->out;
    double lse = ((const real *)f->lse)[at->lse], t_lse = 0;
    for (int s = 0; s < a->keys; s++) {
        if (!attention_sees(a, at, s))
            continue;
        p[s] = (real)exp(attention_score(a, at, f->q, f->k, f->bias_table, s) - lse);
        t_scores[s] = (real)attention_score_tangent(a, at, q, k, t->bias_table, s);
        t_lse += (double)p[s] * t_scores[s];
    }
    for (size_t d = 0; d < (size_t)a->head_size; d++) {
        double sum = 0;
        for (int s = 0; s < a->keys; s++)
            if (attention_sees(a, at, s)) {
                size_t value = (size_t)s * (size_t)a->kv_stride + d;
                sum += p[s] * ((t_scores[s] - t_lse) * values[value] + t_values[value]);
            }
        t_out[d] = (real)sum;
    }
    ((real *)t->lse)[at->lse] = (real)t_lse;
}

static void attention_tangent(const struct attention *a, const struct attention_forward *f,
                              const struct attention_forward *t)
{
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int query = 0; query < a->queries; query++) {
                struct attention_row at = attention_at(a, b, h, query);
                attention_query_tangent(a, f, t, &at);
            }
}

/* One probability and the gradient of its score, with their tangents. */
struct attention_place { double p, t_p, d, t_d; };

static void attention_place_collect(const struct attention *a, const struct attention_backward *g,
                                    const struct attention_backward *t, const struct attention_row *at, int s,
                                    const struct attention_place *place)
{
    size_t key = at->kv + (size_t)s * (size_t)a->kv_stride;
    double p = place->p, t_p = place->t_p, d = a->scale * place->d, t_d = a->scale * place->t_d;
    for (size_t i = 0; i < (size_t)a->head_size; i++) {
        double q = ((const real *)g->q)[at->q + i], t_q = ((const real *)t->q)[at->q + i];
        double k = ((const real *)g->k)[key + i], t_k = ((const real *)t->k)[key + i];
        double d_out = ((const real *)g->d_out)[at->out + i], t_d_out = ((const real *)t->d_out)[at->out + i];
        real *d_q = (real *)g->d_q + at->q + i, *t_d_q = (real *)t->d_q + at->q + i;
        real *d_k = (real *)g->d_k + key + i, *t_d_k = (real *)t->d_k + key + i;
        real *d_v = (real *)g->d_v + key + i, *t_d_v = (real *)t->d_v + key + i;
        *d_q = (real)(*d_q + d * k);
        *d_k = (real)(*d_k + d * q);
        *d_v = (real)(*d_v + p * d_out);
        *t_d_q = (real)(*t_d_q + t_d * k + d * t_k);
        *t_d_k = (real)(*t_d_k + t_d * q + d * t_q);
        *t_d_v = (real)(*t_d_v + t_p * d_out + p * t_d_out);
    }
    if (t->d_bias_table != NULL) {
        real *t_d_bias = (real *)t->d_bias_table + attention_bias_at(a, at, s);
        *t_d_bias = (real)(*t_d_bias + place->t_d);
    }
}

static void attention_query_backward_tangent(const struct attention *a, const struct attention_backward *g,
                                             const struct attention_backward *t, const struct attention_row *at)
{
    const real *const q[] = {g->q, t->q}, *const k[] = {g->k, t->k};
    const real *d_out = (const real *)g->d_out + at->out, *t_d_out = (const real *)t->d_out + at->out;
    const real *out = (const real *)g->out + at->out, *t_out = (const real *)t->out + at->out;
    double lse = ((const real *)g->lse)[at->lse], t_lse = ((const real *)t->lse)[at->lse];
    double expected = dot(d_out, out, a->head_size);
    double t_expected = dot(t_d_out, out, a->head_size) + dot(d_out, t_out, a->head_size);
    for (int s = 0; s < a->keys; s++) {
        if (!attention_sees(a, at, s))
            continue;
        size_t key = at->kv + (size_t)s * (size_t)a->kv_stride;
        const real *v = (const real *)g->v + key, *t_v = (const real *)t->v + key;
        double away = dot(d_out, v, a->head_size) - expected;
        double t_away = dot(t_d_out, v, a->head_size) + dot(d_out, t_v, a->head_size) - t_expected;
        struct attention_place place = {.p = exp(attention_score(a, at, g->q, g->k, g->bias_table, s) - lse)};
        place.t_p = place.p * (attention_score_tangent(a, at, q, k, t->bias_table, s) - t_lse);
        place.d = place.p * away;
        place.t_d = place.t_p * away + place.p * t_away;
        attention_place_collect(a, g, t, at, s, &place);
    }
}

static void attention_backward_tangent(const struct attention *a, const struct attention_backward *g,
                                       const struct attention_backward *t)
{
    attention_backward_zero(a, g);
    attention_backward_zero(a, t);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int query = 0; query < a->queries; query++) {
                struct attention_row at = attention_at(a, b, h, query);
                attention_query_backward_tangent(a, g, t, &at);
            }
}
