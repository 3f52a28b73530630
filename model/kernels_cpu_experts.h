/* Part of the cpu body: routing of positions to experts. There are few experts: of a row only the exponentials are
 * vectors; what is wide are the rows. See kernels_cpu.c. */
#define ROUTED float
#include "model/kernels_experts.h"

static void route(const struct routing *routing, const struct routing_forward *f)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        float *row = (float *)f->probabilities + i * experts, *shares = (float *)f->shares + i * top_k;
        int32_t *chosen = f->chosen + i * top_k;
        choose_experts(row, routing->experts, routing->top_k, chosen);
        float scale = (float)(1 / logits_exp_sum(row, logits_largest(row, experts), experts, row)), sum = 0;
        for (size_t e = 0; e < experts; e++)
            row[e] *= scale;
        for (size_t j = 0; j < top_k; j++)
            sum += row[chosen[j]];
        for (size_t j = 0; j < top_k; j++)
            shares[j] = row[chosen[j]] / sum;
        for (size_t e = 0; e < experts && f->sums != NULL && position_counts(routing, i); e++)
            f->sums[e] += (double)row[e];
    }
}

static void route_backward(const struct routing *routing, const struct routing_backward *b)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const float *p = (const float *)b->probabilities + i * experts, *shares = (const float *)b->shares + i * top_k;
        const float *d_shares = (const float *)b->d_shares + i * top_k;
        const int32_t *chosen = b->chosen + i * top_k;
        float *d = (float *)b->d_logits + i * experts, sum = 0;
        bool balanced = b->balance != NULL && position_counts(routing, i);
        double mean = 0;
        for (size_t e = 0; e < experts && balanced; e++)
            mean += (double)p[e] * b->balance[e];
        for (size_t e = 0; e < experts; e++)
            d[e] = balanced ? (float)((double)p[e] * (b->balance[e] - mean)) : 0;
        for (size_t j = 0; j < top_k; j++)
            sum += d_shares[j];
        for (size_t j = 0; j < top_k; j++)
            d[chosen[j]] += d_shares[j] - shares[j] * sum;
    }
}

/* With p = softmax(l): t_p = p (t_l - p . t_l); so with the shares over the chosen. */
static void route_tangent(const struct routing *routing, const struct routing_forward *f,
                          const struct routing_forward *t)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const float *p = (const float *)f->probabilities + i * experts, *shares = (const float *)f->shares + i * top_k;
        const int32_t *chosen = f->chosen + i * top_k;
        float *t_p = (float *)t->probabilities + i * experts, *t_shares = (float *)t->shares + i * top_k;
        float expected = 0, along = 0;
        for (size_t e = 0; e < experts; e++)
            expected += p[e] * t_p[e];
        for (size_t j = 0; j < top_k; j++)
            along += shares[j] * t_p[chosen[j]];
        for (size_t j = 0; j < top_k; j++)
            t_shares[j] = shares[j] * (t_p[chosen[j]] - along);
        for (size_t e = 0; e < experts; e++)
            t_p[e] = p[e] * (t_p[e] - expected);
    }
}

static void route_backward_tangent(const struct routing *routing, const struct routing_backward *b,
                                   const struct routing_backward *t)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    route_backward(routing, b);
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const float *p = (const float *)b->probabilities + i * experts, *t_p = (const float *)t->probabilities + i * experts;
        const float *shares = (const float *)b->shares + i * top_k, *t_shares = (const float *)t->shares + i * top_k;
        const float *d_shares = (const float *)b->d_shares + i * top_k, *t_d_shares = (const float *)t->d_shares + i * top_k;
        const int32_t *chosen = b->chosen + i * top_k;
        float *t_d = (float *)t->d_logits + i * experts, sum = 0, t_sum = 0;
        bool balanced = b->balance != NULL && position_counts(routing, i);
        double mean = 0, t_mean = 0;
        for (size_t e = 0; e < experts && balanced; e++) {
            mean += (double)p[e] * b->balance[e];
            t_mean += (double)t_p[e] * b->balance[e];
        }
        for (size_t e = 0; e < experts; e++)
            t_d[e] = balanced ? (float)((double)t_p[e] * (b->balance[e] - mean) - (double)p[e] * t_mean) : 0;
        for (size_t j = 0; j < top_k; j++) {
            sum += d_shares[j];
            t_sum += t_d_shares[j];
        }
        for (size_t j = 0; j < top_k; j++)
            t_d[chosen[j]] += t_d_shares[j] - t_shares[j] * sum - shares[j] * t_sum;
    }
}

/* ---- rows of experts ---- */

/* to = or += weight * from */
static void row_scaled(bool add, float weight, const float *from, float *to, size_t width)
{
    EACH_VECTOR(c, left, width) {
        floats value = weight * vector_load_part(from + c, left);
        vector_store_part(to + c, add ? vector_load_part(to + c, left) + value : value, left);
    }
}

static void gather_rows(const struct row_exchange *exchange, const void *weights, const void *x, void *rows)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    for (size_t choice = 0; choice < (size_t)exchange->positions * top_k; choice++)
        row_scaled(exchange->add, weights != NULL ? ((const float *)weights)[choice] : 1.0f,
                   (const float *)x + choice / top_k * width,
                   (float *)rows + (size_t)exchange->slots[choice] * width, width);
}

static void combine_rows(const struct row_exchange *exchange, const void *weights, const void *rows, void *x)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    for (size_t choice = 0; choice < (size_t)exchange->positions * top_k; choice++)
        row_scaled(exchange->add || choice % top_k > 0, weights != NULL ? ((const float *)weights)[choice] : 1.0f,
                   (const float *)rows + (size_t)exchange->slots[choice] * width,
                   (float *)x + choice / top_k * width, width);
}

static void dot_rows(const struct row_exchange *exchange, const void *a_, const void *b_, void *dots_)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    float *dots = dots_;
    for (size_t choice = 0; choice < (size_t)exchange->positions * top_k; choice++) {
        const float *a = (const float *)a_ + (size_t)exchange->slots[choice] * width;
        const float *b = (const float *)b_ + (size_t)exchange->slots[choice] * width;
        floats sum = {0};
        EACH_VECTOR(c, left, width)
            sum += vector_load_part(a + c, left) * vector_load_part(b + c, left);
        dots[choice] = vector_sum(sum) + (exchange->add ? dots[choice] : 0);
    }
}
