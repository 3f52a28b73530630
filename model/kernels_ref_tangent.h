/* Part of the reference body (kernels_ref.c): tangents. A name that begins with t_ is the tangent of what follows. */

static double activation_curvature(enum activation activation, double x)
{
    switch (activation) {
    case ACTIVATION_GELU_TANH: {
        double inner = sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x), inner_slope = sqrt(2 / M_PI) * 6 * 0.044715 * x;
        double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)), t_slope = 1 - t * t;
        return t_slope * inner + 0.5 * x * t_slope * (inner_slope - 2 * t * inner * inner);
    }
    case ACTIVATION_GELU_ERF: return (2 - x * x) * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    case ACTIVATION_RELU: return isnan(x) ? x : 0;
    case ACTIVATION_SILU: {
        double s = 1 / (1 + exp(-x));
        return s * (1 - s) * (2 + x * (1 - 2 * s));
    }
    case ACTIVATION_COUNT: break;
    }
    return NAN;
}

/* With n = (sum - mean) rstd: t_n = rstd (t_sum - mean(t_sum) - n mean(t_sum n)); without a mean the middle term is 0.
 */
static void layer_norm_tangent(const struct norm *norm, const struct norm_forward *f, const struct norm_forward *t)
{
    if (norm->shares != NULL) {
        masked_norm_tangent(norm, f, t);
        return;
    }
    size_t width = (size_t)norm->width;
    const real *gain = f->gain, *t_gain = t->gain, *t_bias = t->bias, *t_branch_bias = t->branch_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *sum = (const real *)(f->branch != NULL ? f->sum : f->x) + i * width;
        const real *t_sum = (const real *)t->x + i * width, *t_branch = (const real *)t->branch;
        real *t_out = (real *)t->out + i * width, *t_statistics = (real *)t->statistics + 2 * i;
        double mean = ((const real *)f->statistics)[2 * i], rstd = ((const real *)f->statistics)[2 * i + 1];
        double t_mean = 0, along = 0;
        if (f->branch != NULL) {
            real *written = (real *)t->sum + i * width;
            for (size_t c = 0; c < width; c++)
                written[c] = t_sum[c] + t_branch[i * width + c] + (t_branch_bias != NULL ? t_branch_bias[c] : 0);
            t_sum = written;
        }
        for (size_t c = 0; c < width; c++) {
            t_mean += norm->rms ? 0 : t_sum[c] / (double)width;
            along += t_sum[c] * (sum[c] - mean) * rstd / (double)width;
        }
        for (size_t c = 0; c < width; c++) {
            double n = (sum[c] - mean) * rstd, t_n = rstd * (t_sum[c] - t_mean - n * along);
            t_out[c] = (real)(t_n * gain[c] + n * t_gain[c] + (t_bias != NULL ? t_bias[c] : 0));
        }
        t_statistics[0] = (real)t_mean;
        t_statistics[1] = (real)(-rstd * rstd * along);
    }
}

/* One row of the norm's backward pass and its tangent: the means of d and of d n, and what they are made of. */
struct norm_row {
    const real *sum, *t_sum, *d_out, *t_d_out, *gain, *t_gain;
    double mean, rstd, t_mean, t_rstd;
};

struct norm_place { double n, t_n, d, t_d; };

static struct norm_place norm_place_at(const struct norm_row *row, size_t c)
{
    return (struct norm_place){
        .n = (row->sum[c] - row->mean) * row->rstd,
        .t_n = (row->t_sum[c] - row->t_mean) * row->rstd + (row->sum[c] - row->mean) * row->t_rstd,
        .d = (double)row->d_out[c] * row->gain[c],
        .t_d = (double)row->t_d_out[c] * row->gain[c] + (double)row->d_out[c] * row->t_gain[c],
    };
}

static void norm_row_backward_tangent(const struct norm *norm, const struct norm_row *row, real *d_sum, real *t_d_sum)
{
    size_t width = (size_t)norm->width;
    double mean_d = 0, mean_dn = 0, t_mean_d = 0, t_mean_dn = 0;
    for (size_t c = 0; c < width; c++) {
        struct norm_place at = norm_place_at(row, c);
        mean_d += norm->rms ? 0 : at.d / (double)width;
        t_mean_d += norm->rms ? 0 : at.t_d / (double)width;
        mean_dn += at.d * at.n / (double)width;
        t_mean_dn += (at.t_d * at.n + at.d * at.t_n) / (double)width;
    }
    for (size_t c = 0; c < width; c++) {
        struct norm_place at = norm_place_at(row, c);
        double inner = at.d - mean_d - at.n * mean_dn;
        double t_inner = at.t_d - t_mean_d - at.t_n * mean_dn - at.n * t_mean_dn;
        d_sum[c] = (real)(d_sum[c] + row->rstd * inner);
        t_d_sum[c] = (real)(t_d_sum[c] + row->t_rstd * inner + row->rstd * t_inner);
    }
}

static void layer_norm_backward_tangent(const struct norm *norm, const struct norm_backward *b,
                                        const struct norm_backward *t)
{
    if (norm->shares != NULL) {
        masked_norm_backward_tangent(norm, b, t);
        return;
    }
    size_t width = (size_t)norm->width;
    const real *statistics = b->statistics, *t_statistics = t->statistics;
    real *t_d_gain = t->d_gain, *t_d_bias = t->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        struct norm_row row = {
            .sum = (const real *)b->sum + i * width, .t_sum = (const real *)t->sum + i * width,
            .d_out = (const real *)b->d_out + i * width, .t_d_out = (const real *)t->d_out + i * width,
            .gain = b->gain, .t_gain = t->gain, .mean = statistics[2 * i], .rstd = statistics[2 * i + 1],
            .t_mean = t_statistics[2 * i], .t_rstd = t_statistics[2 * i + 1],
        };
        norm_row_backward_tangent(norm, &row, (real *)b->d_sum + i * width, (real *)t->d_sum + i * width);
        for (size_t c = 0; c < width; c++) {
            struct norm_place at = norm_place_at(&row, c);
            if (t_d_gain != NULL)
                t_d_gain[c] = (real)(t_d_gain[c] + row.t_d_out[c] * at.n + row.d_out[c] * at.t_n);
            if (t_d_bias != NULL)
                t_d_bias[c] += row.t_d_out[c];
        }
    }
}

static void activate_tangent(enum activation activation, const void *x_, void *t_x_, const void *t_bias_, void *t_out_,
                             int rows, int width)
{
    const real *x = x_, *t_bias = t_bias_;
    real *t_x = t_x_, *t_out = t_out_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++) {
            size_t at = i * (size_t)width + c;
            if (t_bias != NULL)
                t_x[at] += t_bias[c];
            t_out[at] = (real)(activation_slope(activation, x[at]) * t_x[at]);
        }
}

static void activate_backward_tangent(enum activation activation, const void *x_, const void *t_x_, void *d_,
                                      void *t_d_, int rows, int width)
{
    const real *x = x_, *t_x = t_x_;
    real *d = d_, *t_d = t_d_;
    for (size_t i = 0; i < (size_t)rows * (size_t)width; i++) {
        double slope = activation_slope(activation, x[i]);
        t_d[i] = (real)(t_d[i] * slope + d[i] * activation_curvature(activation, x[i]) * t_x[i]);
        d[i] = (real)(d[i] * slope);
    }
}

static void gate_tangent(const struct gate_sizes *sizes, const struct gate_forward *f, const struct gate_forward *t)
{
    const real *gates = f->gate, *up = f->up, *t_gate = t->gate, *t_up = t->up;
    for (size_t i = 0; i < (size_t)sizes->rows; i++)
        for (size_t c = 0; c < (size_t)sizes->width; c++) {
            size_t at = i * (size_t)sizes->stride + c;
            double value = activation_value(sizes->activation, gates[at]);
            double slope = activation_slope(sizes->activation, gates[at]);
            ((real *)t->out)[i * (size_t)sizes->width + c] = (real)(slope * t_gate[at] * up[at] + value * t_up[at]);
        }
}

static void gate_backward_tangent(const struct gate_sizes *sizes, const struct gate_backward *b,
                                  const struct gate_backward *t)
{
    const real *gates = b->gate, *ups = b->up, *t_gate = t->gate, *t_up = t->up;
    for (size_t i = 0; i < (size_t)sizes->rows; i++)
        for (size_t c = 0; c < (size_t)sizes->width; c++) {
            size_t at = i * (size_t)sizes->stride + c, from = i * (size_t)sizes->width + c;
            double d = ((const real *)b->d_out)[from], t_d = ((const real *)t->d_out)[from], up = ups[at];
            double value = activation_value(sizes->activation, gates[at]);
            double slope = activation_slope(sizes->activation, gates[at]);
            double curvature = activation_curvature(sizes->activation, gates[at]);
            ((real *)b->d_gate)[at] = (real)(d * up * slope);
            ((real *)b->d_up)[at] = (real)(d * value);
            ((real *)t->d_gate)[at] = (real)((t_d * up + d * t_up[at]) * slope + d * up * curvature * t_gate[at]);
            ((real *)t->d_up)[at] = (real)(t_d * value + d * slope * t_gate[at]);
        }
}

/* With p = softmax(logits): t_p = p (t_logits - p . t_logits). */
static void cross_entropy_gradient_tangent(void *logits, void *t_logits, const int32_t *targets, int rows,
                                           int vocabulary, double scale, double *losses)
{
    for (size_t i = 0; i < (size_t)rows; i++) {
        const real *row = (const real *)logits + i * (size_t)vocabulary;
        real *t_row = (real *)t_logits + i * (size_t)vocabulary;
        double lse = log_sum_exp(row, (size_t)vocabulary), expected = 0;
        for (int v = 0; v < vocabulary; v++)
            expected += exp(row[v] - lse) * t_row[v];
        for (int v = 0; v < vocabulary; v++)
            t_row[v] = targets[i] == TARGET_IGNORED ? 0 : (real)(scale * exp(row[v] - lse) * (t_row[v] - expected));
    }
    cross_entropy_gradient(logits, targets, rows, vocabulary, scale, losses);
}
