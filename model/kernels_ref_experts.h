/* Part of the reference body (kernels_ref.c): routing of positions to experts. */
#define ROUTED real
#include "model/kernels_experts.h"

static void route(const struct routing *routing, const struct routing_forward *f)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        real *row = (real *)f->probabilities + i * experts, *shares = (real *)f->shares + i * top_k;
        int32_t *chosen = f->chosen + i * top_k;
        double lse = log_sum_exp(row, experts), sum = 0;
        choose_experts(row, routing->experts, routing->top_k, chosen);
        for (size_t e = 0; e < experts; e++)
            row[e] = (real)exp(row[e] - lse);
        for (size_t j = 0; j < top_k; j++)
            sum += row[chosen[j]];
        for (size_t j = 0; j < top_k; j++)
            shares[j] = (real)(row[chosen[j]] / sum);
        for (size_t e = 0; e < experts && f->sums != NULL && position_counts(routing, i); e++)
            f->sums[e] += row[e];
    }
}

static void route_backward(const struct routing *routing, const struct routing_backward *b)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const real *p = (const real *)b->probabilities + i * experts, *shares = (const real *)b->shares + i * top_k;
        const real *d_shares = (const real *)b->d_shares + i * top_k;
        const int32_t *chosen = b->chosen + i * top_k;
        real *d = (real *)b->d_logits + i * experts;
        bool balanced = b->balance != NULL && position_counts(routing, i);
        double mean = 0, sum = 0;
        for (size_t e = 0; e < experts && balanced; e++)
            mean += p[e] * b->balance[e];
        for (size_t e = 0; e < experts; e++)
            d[e] = balanced ? (real)(p[e] * (b->balance[e] - mean)) : 0;
        for (size_t j = 0; j < top_k; j++)
            sum += d_shares[j];
        for (size_t j = 0; j < top_k; j++)
            d[chosen[j]] = (real)(d[chosen[j]] + d_shares[j] - shares[j] * sum);
    }
}

/* With p = softmax(l): t_p = p (t_l - p . t_l); so with the shares over the chosen. */
static void route_tangent(const struct routing *routing, const struct routing_forward *f,
                          const struct routing_forward *t)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const real *p = (const real *)f->probabilities + i * experts, *shares = (const real *)f->shares + i * top_k;
        const int32_t *chosen = f->chosen + i * top_k;
        real *t_p = (real *)t->probabilities + i * experts, *t_shares = (real *)t->shares + i * top_k;
        double expected = 0, along = 0;
        for (size_t e = 0; e < experts; e++)
            expected += (double)p[e] * t_p[e];
        for (size_t j = 0; j < top_k; j++)
            along += (double)shares[j] * t_p[chosen[j]];
        for (size_t j = 0; j < top_k; j++)
            t_shares[j] = (real)(shares[j] * (t_p[chosen[j]] - along));
        for (size_t e = 0; e < experts; e++)
            t_p[e] = (real)(p[e] * (t_p[e] - expected));
    }
}

static void route_backward_tangent(const struct routing *routing, const struct routing_backward *b,
                                   const struct routing_backward *t)
{
    size_t experts = (size_t)routing->experts, top_k = (size_t)routing->top_k;
    route_backward(routing, b);
    for (size_t i = 0; i < (size_t)routing->rows; i++) {
        const real *p = (const real *)b->probabilities + i * experts, *t_p = (const real *)t->probabilities + i * experts;
        const real *shares = (const real *)b->shares + i * top_k, *t_shares = (const real *)t->shares + i * top_k;
        const real *d_shares = (const real *)b->d_shares + i * top_k, *t_d_shares = (const real *)t->d_shares + i * top_k;
        const int32_t *chosen = b->chosen + i * top_k;
        real *t_d = (real *)t->d_logits + i * experts;
        bool balanced = b->balance != NULL && position_counts(routing, i);
        double mean = 0, t_mean = 0, sum = 0, t_sum = 0;
        for (size_t e = 0; e < experts && balanced; e++) {
            mean += p[e] * b->balance[e];
            t_mean += t_p[e] * b->balance[e];
        }
        for (size_t e = 0; e < experts; e++)
            t_d[e] = balanced ? (real)(t_p[e] * (b->balance[e] - mean) - p[e] * t_mean) : 0;
        for (size_t j = 0; j < top_k; j++) {
            sum += d_shares[j];
            t_sum += t_d_shares[j];
        }
        for (size_t j = 0; j < top_k; j++)
            t_d[chosen[j]] = (real)(t_d[chosen[j]] + t_d_shares[j] - t_shares[j] * sum - shares[j] * t_sum);
    }
}

/* ---- rows of experts ---- */

static void gather_rows(const struct row_exchange *exchange, const void *weights, const void *x, void *rows)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    for (size_t choice = 0; choice < (size_t)exchange->positions * top_k; choice++) {
        const real *from = (const real *)x + choice / top_k * width;
        real *to = (real *)rows + (size_t)exchange->slots[choice] * width;
        double weight = weights != NULL ? ((const real *)weights)[choice] : 1;
        for (size_t c = 0; c < width; c++)
            to[c] = (real)(weight * from[c] + (exchange->add ? to[c] : 0));
    }
}

static void combine_rows(const struct row_exchange *exchange, const void *weights, const void *rows, void *x)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    for (size_t i = 0; i < (size_t)exchange->positions; i++)
        for (size_t c = 0; c < width; c++) {
            real *to = (real *)x + i * width + c;
            double sum = exchange->add ? *to : 0;
            for (size_t choice = i * top_k; choice < (i + 1) * top_k; choice++)
                sum += (weights != NULL ? (double)((const real *)weights)[choice] : 1) *
                       ((const real *)rows)[(size_t)exchange->slots[choice] * width + c];
            *to = (real)sum;
        }
}

static void dot_rows(const struct row_exchange *exchange, const void *a_, const void *b_, void *dots_)
{
    size_t width = (size_t)exchange->width, top_k = (size_t)exchange->top_k;
    real *dots = dots_;
    for (size_t choice = 0; choice < (size_t)exchange->positions * top_k; choice++) {
        const real *a = (const real *)a_ + (size_t)exchange->slots[choice] * width;
        const real *b = (const real *)b_ + (size_t)exchange->slots[choice] * width;
        double sum = exchange->add ? dots[choice] : 0;
        for (size_t c = 0; c < width; c++)
            sum += (double)a[c] * b[c];
        dots[choice] = (real)sum;
    }
}
