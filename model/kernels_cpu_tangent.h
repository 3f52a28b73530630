/* Part of the cpu body: tangents. See kernels_cpu.c. A name that begins with t_ is the tangent of what follows. */

static inline floats gelu_tanh_curvature(floats x)
{
    floats bounded = vector_clamp(x, -12.0f, 12.0f);
    struct sigmoid sigmoid = sigmoid_of(gelu_argument(bounded));
    floats inner = 1.595769122f * (1.0f + 0.134145f * bounded * bounded), inner_slope = 0.428124898f * bounded;
    floats slope = sigmoid.g * (sigmoid.e * sigmoid.g), turn = sigmoid.e * sigmoid.g - sigmoid.g;    /* 1 - 2 g */
    return slope * (2.0f * inner + bounded * (turn * inner * inner + inner_slope));
}

static inline floats gelu_erf_curvature(floats x)
{
    floats density, bounded = vector_clamp(x, -13.0f, 13.0f);
    vector_normal(x, &density);
    return (2.0f - bounded * bounded) * density;
}

static inline floats silu_curvature(floats x)
{
    struct sigmoid sigmoid = sigmoid_of(x);
    floats bounded = vector_clamp(x, -1e4f, 1e4f);
    return sigmoid.g * (sigmoid.e * sigmoid.g) * (2.0f + bounded * (sigmoid.e * sigmoid.g - sigmoid.g));
}

static inline floats activation_curvature(enum activation activation, floats x)
{
    switch (activation) {
    case ACTIVATION_GELU_TANH: return gelu_tanh_curvature(x);
    case ACTIVATION_GELU_ERF: return gelu_erf_curvature(x);
    case ACTIVATION_SILU: return silu_curvature(x);
    case ACTIVATION_RELU: return x * 0.0f;
    default: return x;
    }
}

/* t_out = f'(x) t_x */
static inline void activate_tangent_all(enum activation activation, const float *x, const float *t_x, float *t_out,
                                        size_t n)
{
    EACH_VECTOR(c, left, n) {
        floats slope = activation_slope(activation, vector_load_part(x + c, left));
        vector_store_part(t_out + c, slope * vector_load_part(t_x + c, left), left);
    }
}

static void activate_tangent(enum activation activation, const void *x, void *t_x, const void *t_bias, void *t_out,
                             int rows, int width)
{
    if (t_bias != NULL)
        bias_add(t_x, t_bias, rows, width);
#define CALL(constant) activate_tangent_all(constant, x, t_x, t_out, (size_t)rows * (size_t)width)
    switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
}

static inline void activate_backward_tangent_all(enum activation activation, const float *x, const float *t_x,
                                                 float *d, float *t_d, size_t n)
{
    EACH_VECTOR(c, left, n) {
        floats at = vector_load_part(x + c, left), slope = activation_slope(activation, at);
        floats gradient = vector_load_part(d + c, left), along = vector_load_part(t_x + c, left);
        floats bent = gradient * activation_curvature(activation, at) * along;
        vector_store_part(t_d + c, vector_load_part(t_d + c, left) * slope + bent, left);
        vector_store_part(d + c, gradient * slope, left);
    }
}

static void activate_backward_tangent(enum activation activation, const void *x, const void *t_x, void *d, void *t_d,
                                      int rows, int width)
{
#define CALL(constant) activate_backward_tangent_all(constant, x, t_x, d, t_d, (size_t)rows * (size_t)width)
    switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
}

/* One row of a gate's buffers from number `at` on; those of out and d_out from `out_at` on. */
static inline void gate_row_tangent(enum activation activation, const struct gate_forward *f,
                                    const struct gate_forward *t, size_t at, size_t out_at, size_t width)
{
    const float *gates = (const float *)f->gate + at, *t_gate = (const float *)t->gate + at;
    const float *up = (const float *)f->up + at, *t_up = (const float *)t->up + at;
    EACH_VECTOR(c, left, width) {
        floats x = vector_load_part(gates + c, left);
        floats bent = activation_slope(activation, x) * vector_load_part(t_gate + c, left);
        floats sum = bent * vector_load_part(up + c, left) +
                     activation_value(activation, x) * vector_load_part(t_up + c, left);
        vector_store_part((float *)t->out + out_at + c, sum, left);
    }
}

static void gate_tangent(const struct gate_sizes *sizes, const struct gate_forward *f, const struct gate_forward *t)
{
    for (size_t i = 0; i < (size_t)sizes->rows; i++) {
        size_t at = i * (size_t)sizes->stride, out_at = i * (size_t)sizes->width;
#define CALL(constant) gate_row_tangent(constant, f, t, at, out_at, (size_t)sizes->width)
        switch (sizes->activation) { ACTIVATION_CASES(CALL) }
#undef CALL
    }
}

static inline void gate_row_backward_tangent(enum activation activation, const struct gate_backward *b,
                                             const struct gate_backward *t, size_t at, size_t out_at, size_t width)
{
    EACH_VECTOR(c, left, width) {
        floats x = vector_load_part((const float *)b->gate + at + c, left);
        floats up = vector_load_part((const float *)b->up + at + c, left);
        floats d = vector_load_part((const float *)b->d_out + out_at + c, left);
        floats t_x = vector_load_part((const float *)t->gate + at + c, left);
        floats t_up = vector_load_part((const float *)t->up + at + c, left);
        floats t_d = vector_load_part((const float *)t->d_out + out_at + c, left);
        floats value = activation_value(activation, x), slope = activation_slope(activation, x);
        floats t_slope = activation_curvature(activation, x) * t_x;
        vector_store_part((float *)b->d_gate + at + c, d * up * slope, left);
        vector_store_part((float *)b->d_up + at + c, d * value, left);
        vector_store_part((float *)t->d_gate + at + c, (t_d * up + d * t_up) * slope + d * up * t_slope, left);
        vector_store_part((float *)t->d_up + at + c, t_d * value + d * slope * t_x, left);
    }
}

static void gate_backward_tangent(const struct gate_sizes *sizes, const struct gate_backward *b,
                                  const struct gate_backward *t)
{
    for (size_t i = 0; i < (size_t)sizes->rows; i++) {
        size_t at = i * (size_t)sizes->stride, out_at = i * (size_t)sizes->width;
#define CALL(constant) gate_row_backward_tangent(constant, b, t, at, out_at, (size_t)sizes->width)
        switch (sizes->activation) { ACTIVATION_CASES(CALL) }
#undef CALL
    }
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
    const float *gain = f->gain, *t_gain = t->gain, *t_bias = t->bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        bool joined = f->branch != NULL;
        const float *sum = (const float *)(joined ? f->sum : f->x) + i * width;
        const float *t_x = (const float *)t->x + i * width, *t_branch = (const float *)t->branch;
        float *t_joined = joined ? (float *)t->sum + i * width : NULL, *t_out = (float *)t->out + i * width;
        float mean = ((const float *)f->statistics)[2 * i], rstd = ((const float *)f->statistics)[2 * i + 1];
        float t_mean = norm_sum_row(t_x, joined ? t_branch + i * width : NULL, t->branch_bias, t_joined, width);
        const float *t_sum = joined ? t_joined : t_x;
        floats sum_along = {0};
        if (norm->rms)
            t_mean = 0;
        EACH_VECTOR(c, left, width)    /* lanes beyond the row: t_sum is 0 */
            sum_along += vector_load_part(t_sum + c, left) * ((vector_load_part(sum + c, left) - mean) * rstd);
        float along = vector_sum(sum_along) / (float)width;
        EACH_VECTOR(c, left, width) {
            floats n = (vector_load_part(sum + c, left) - mean) * rstd;
            floats t_n = rstd * (vector_load_part(t_sum + c, left) - t_mean - n * along);
            floats value = t_n * vector_load_part(gain + c, left) + n * vector_load_part(t_gain + c, left);
            vector_store_part(t_out + c, t_bias != NULL ? value + vector_load_part(t_bias + c, left) : value, left);
        }
        ((float *)t->statistics)[2 * i] = t_mean;
        ((float *)t->statistics)[2 * i + 1] = -rstd * rstd * along;
    }
}

/* One row of the norm's backward pass and its tangent. */
struct norm_row {
    const float *sum, *t_sum, *d_out, *t_d_out, *gain, *t_gain;
    float mean, rstd, t_mean, t_rstd;
};

struct norm_place { floats n, t_n, d, t_d; };    /* d and t_d are 0 beyond the row */

static inline struct norm_place norm_place_at(const struct norm_row *row, size_t c, size_t left)
{
    floats away = vector_load_part(row->sum + c, left) - row->mean, gain = vector_load_part(row->gain + c, left);
    floats d_out = vector_load_part(row->d_out + c, left);
    return (struct norm_place){
        .n = away * row->rstd,
        .t_n = (vector_load_part(row->t_sum + c, left) - row->t_mean) * row->rstd + away * row->t_rstd,
        .d = d_out * gain,
        .t_d = vector_load_part(row->t_d_out + c, left) * gain + d_out * vector_load_part(row->t_gain + c, left),
    };
}

static void norm_row_backward_tangent(const struct norm *norm, const struct norm_row *row, float *d_sum,
                                      float *t_d_sum)
{
    size_t width = (size_t)norm->width;
    floats sum_d = {0}, sum_dn = {0}, t_sum_d = {0}, t_sum_dn = {0};
    EACH_VECTOR(c, left, width) {
        struct norm_place at = norm_place_at(row, c, left);
        sum_d += at.d;
        t_sum_d += at.t_d;
        sum_dn += at.d * at.n;
        t_sum_dn += at.t_d * at.n + at.d * at.t_n;
    }
    float scale = 1.0f / (float)width, centred = norm->rms ? 0 : scale;
    float mean_d = vector_sum(sum_d) * centred, t_mean_d = vector_sum(t_sum_d) * centred;
    float mean_dn = vector_sum(sum_dn) * scale, t_mean_dn = vector_sum(t_sum_dn) * scale;
    EACH_VECTOR(c, left, width) {
        struct norm_place at = norm_place_at(row, c, left);
        floats inner = at.d - mean_d - at.n * mean_dn;
        floats t_inner = at.t_d - t_mean_d - at.t_n * mean_dn - at.n * t_mean_dn;
        vector_add_part(d_sum + c, row->rstd * inner, left);
        vector_add_part(t_d_sum + c, row->t_rstd * inner + row->rstd * t_inner, left);
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
    const float *statistics = b->statistics, *t_statistics = t->statistics;
    float *t_d_gain = t->d_gain, *t_d_bias = t->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        struct norm_row row = {
            .sum = (const float *)b->sum + i * width, .t_sum = (const float *)t->sum + i * width,
            .d_out = (const float *)b->d_out + i * width, .t_d_out = (const float *)t->d_out + i * width,
            .gain = b->gain, .t_gain = t->gain, .mean = statistics[2 * i], .rstd = statistics[2 * i + 1],
            .t_mean = t_statistics[2 * i], .t_rstd = t_statistics[2 * i + 1],
        };
        norm_row_backward_tangent(norm, &row, (float *)b->d_sum + i * width, (float *)t->d_sum + i * width);
        if (t_d_bias != NULL)
            add_into(t_d_bias, row.t_d_out, width);
        EACH_VECTOR(c, left, t_d_gain != NULL ? width : 0) {
            struct norm_place at = norm_place_at(&row, c, left);
            floats d_out = vector_load_part(row.d_out + c, left), t_d_out = vector_load_part(row.t_d_out + c, left);
            vector_add_part(t_d_gain + c, t_d_out * at.n + d_out * at.t_n, left);
        }
    }
}
