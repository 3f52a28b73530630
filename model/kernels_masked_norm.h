/* Part of both bodies (kernels_ref.c, kernels_cpu.c), in numbers of type `real`: norms of a stream some of whose units are
 * being grown in. One text: during a ramp only, and next to the products nothing. Sums in double, in the order of the units.
 * With shares s of sum S, n = (sum - mean) rstd and d = s d_out gain:
 *   mean = sum(s x) / S, 1 / rstd^2 = sum(s (x - mean)^2) / S + epsilon, out = s (n gain + bias)
 *   d_sum_i = rstd (d_i - s_i / S (sum(d) + n_i sum(d n))); without a mean sum(d) is left out
 * A name that begins with t_ is the tangent of what follows. */

static real masked_rstd(const struct norm *norm, const real *x, double mean)
{
    const real *shares = norm->shares;
    double squares = 0;
    for (size_t c = 0; c < (size_t)norm->width; c++)
        squares += (double)shares[c] * ((double)x[c] - mean) * ((double)x[c] - mean);
    return (real)(1 / sqrt(squares / norm->shares_sum + norm->epsilon));
}

/* Sum of the shares times x, over their sum; 0 without a mean. */
static double masked_mean(const struct norm *norm, const real *x)
{
    const real *shares = norm->shares;
    double sum = 0;
    for (size_t c = 0; c < (size_t)norm->width && !norm->rms; c++)
        sum += (double)shares[c] * (double)x[c];
    return sum / norm->shares_sum;
}

static const real *masked_sum_row(const struct norm *norm, const struct norm_forward *f, size_t i)
{
    size_t width = (size_t)norm->width;
    const real *x = (const real *)f->x + i * width, *branch = f->branch, *branch_bias = f->branch_bias;
    if (branch == NULL)
        return x;
    real *sum = (real *)f->sum + i * width;
    for (size_t c = 0; c < width; c++)
        sum[c] = x[c] + branch[i * width + c] + (branch_bias != NULL ? branch_bias[c] : 0);
    return sum;
}

static void masked_norm(const struct norm *norm, const struct norm_forward *f)
{
    size_t width = (size_t)norm->width;
    const real *gain = f->gain, *bias = f->bias, *shares = norm->shares;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *x = masked_sum_row(norm, f, i);
        real *out = (real *)f->out + i * width, *statistics = (real *)f->statistics + 2 * i;
        double mean = masked_mean(norm, x);
        statistics[0] = (real)mean;
        statistics[1] = masked_rstd(norm, x, mean);
        for (size_t c = 0; c < width; c++)
            out[c] = shares[c] * ((x[c] - (real)mean) * statistics[1] * gain[c] + (bias != NULL ? bias[c] : 0));
    }
}

static void masked_norm_backward(const struct norm *norm, const struct norm_backward *b)
{
    size_t width = (size_t)norm->width;
    const real *gain = b->gain, *shares = norm->shares;
    real *d_gain = b->d_gain, *d_bias = b->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *sum = (const real *)b->sum + i * width, *d_out = (const real *)b->d_out + i * width;
        real *d_sum = (real *)b->d_sum + i * width;
        double mean = (double)((const real *)b->statistics)[2 * i], rstd = (double)((const real *)b->statistics)[2 * i + 1];
        double sum_d = 0, sum_dn = 0;
        for (size_t c = 0; c < width; c++) {
            double n = ((double)sum[c] - mean) * rstd, d = (double)shares[c] * (double)d_out[c] * (double)gain[c];
            sum_d += norm->rms ? 0 : d;
            sum_dn += d * n;
        }
        for (size_t c = 0; c < width; c++) {
            double n = ((double)sum[c] - mean) * rstd, up = (double)shares[c] * (double)d_out[c];
            double taken = (double)shares[c] / norm->shares_sum * (sum_d + n * sum_dn);
            d_sum[c] = (real)((double)d_sum[c] + rstd * (up * (double)gain[c] - taken));
            d_gain[c] = (real)((double)d_gain[c] + up * n);
            if (d_bias != NULL)
                d_bias[c] = (real)((double)d_bias[c] + up);
        }
    }
}

/* Statistics of the tangents: mean, and how 1 / rstd moves with it. */
static void masked_norm_tangent(const struct norm *norm, const struct norm_forward *f, const struct norm_forward *t)
{
    size_t width = (size_t)norm->width;
    const real *gain = f->gain, *t_gain = t->gain, *t_bias = t->bias, *shares = norm->shares;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const real *sum = (const real *)(f->branch != NULL ? f->sum : f->x) + i * width, *t_sum = masked_sum_row(norm, t, i);
        real *t_out = (real *)t->out + i * width, *t_statistics = (real *)t->statistics + 2 * i;
        double mean = (double)((const real *)f->statistics)[2 * i], rstd = (double)((const real *)f->statistics)[2 * i + 1];
        double t_mean = masked_mean(norm, t_sum), along = 0;
        for (size_t c = 0; c < width; c++)
            along += (double)shares[c] * (double)t_sum[c] * ((double)sum[c] - mean) * rstd / norm->shares_sum;
        for (size_t c = 0; c < width; c++) {
            double n = ((double)sum[c] - mean) * rstd, t_n = rstd * ((double)t_sum[c] - t_mean - n * along);
            t_out[c] = (real)((double)shares[c] * (t_n * (double)gain[c] + n * (double)t_gain[c]
                                                   + (t_bias != NULL ? (double)t_bias[c] : 0)));
        }
        t_statistics[0] = (real)t_mean;
        t_statistics[1] = (real)(-rstd * rstd * along);
    }
}

/* One row of the way back and its tangent, unit by unit. */
struct masked_row {
    const real *sum, *t_sum, *d_out, *t_d_out, *gain, *t_gain, *shares;
    double mean, rstd, t_mean, t_rstd;
};

struct masked_unit { double n, t_n, up, t_up, d, t_d; };     /* up = s d_out */

static struct masked_unit masked_unit_at(const struct masked_row *row, size_t c)
{
    double away = (double)row->sum[c] - row->mean, share = (double)row->shares[c];
    struct masked_unit at = {
        .n = away * row->rstd,
        .t_n = ((double)row->t_sum[c] - row->t_mean) * row->rstd + away * row->t_rstd,
        .up = share * (double)row->d_out[c],
        .t_up = share * (double)row->t_d_out[c],
    };
    at.d = at.up * (double)row->gain[c];
    at.t_d = at.t_up * (double)row->gain[c] + at.up * (double)row->t_gain[c];
    return at;
}

static void masked_row_back(const struct norm *norm, const struct masked_row *row, real *d_sum, real *t_d_sum)
{
    double sum_d = 0, sum_dn = 0, t_sum_d = 0, t_sum_dn = 0;
    for (size_t c = 0; c < (size_t)norm->width; c++) {
        struct masked_unit at = masked_unit_at(row, c);
        sum_d += norm->rms ? 0 : at.d;
        t_sum_d += norm->rms ? 0 : at.t_d;
        sum_dn += at.d * at.n;
        t_sum_dn += at.t_d * at.n + at.d * at.t_n;
    }
    for (size_t c = 0; c < (size_t)norm->width; c++) {
        struct masked_unit at = masked_unit_at(row, c);
        double weight = (double)row->shares[c] / norm->shares_sum;
        double inner = at.d - weight * (sum_d + at.n * sum_dn);
        double t_inner = at.t_d - weight * (t_sum_d + at.t_n * sum_dn + at.n * t_sum_dn);
        d_sum[c] = (real)((double)d_sum[c] + row->rstd * inner);
        t_d_sum[c] = (real)((double)t_d_sum[c] + row->t_rstd * inner + row->rstd * t_inner);
    }
}

static void masked_norm_backward_tangent(const struct norm *norm, const struct norm_backward *b,
                                         const struct norm_backward *t)
{
    size_t width = (size_t)norm->width;
    const real *statistics = b->statistics, *t_statistics = t->statistics;
    real *t_d_gain = t->d_gain, *t_d_bias = t->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        struct masked_row row = {
            .sum = (const real *)b->sum + i * width, .t_sum = (const real *)t->sum + i * width,
            .d_out = (const real *)b->d_out + i * width, .t_d_out = (const real *)t->d_out + i * width,
            .gain = b->gain, .t_gain = t->gain, .shares = norm->shares, .mean = (double)statistics[2 * i],
            .rstd = (double)statistics[2 * i + 1], .t_mean = (double)t_statistics[2 * i],
            .t_rstd = (double)t_statistics[2 * i + 1],
        };
        masked_row_back(norm, &row, (real *)b->d_sum + i * width, (real *)t->d_sum + i * width);
        for (size_t c = 0; c < width; c++) {
            struct masked_unit at = masked_unit_at(&row, c);
            if (t_d_gain != NULL)
                t_d_gain[c] = (real)((double)t_d_gain[c] + at.t_up * at.n + at.up * at.t_n);
            if (t_d_bias != NULL)
                t_d_bias[c] = (real)((double)t_d_bias[c] + at.t_up);
        }
    }
}
