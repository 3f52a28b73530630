/* Part of the cpu body: operations on rows of numbers. See kernels_cpu.c. */

/* for each vector of a row: `c` is its first number, `left` how many of it exist */
#define EACH_VECTOR(c, left, width) \
    for (size_t c = 0, left = (width); c < (width); c += LANES, left -= left < LANES ? left : LANES)

static void add_into(float *to, const float *from, size_t width)
{
    EACH_VECTOR(c, left, width)
        vector_store_part(to + c, vector_load_part(to + c, left) + vector_load_part(from + c, left), left);
}

static void embed(const struct embedding *e, const int32_t *tokens, const void *table, const void *positions, void *x)
{
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++) {
        const float *token = (const float *)table + (size_t)tokens[i] * width;
        float *out = (float *)x + i * width;
        memcpy(out, token, width * sizeof(float));
        if (positions != NULL)
            add_into(out, (const float *)positions + i % context * width, width);
    }
}

static void embed_backward(const struct embedding *e, const int32_t *tokens, const void *d_x, void *d_table,
                           void *d_positions)
{
    size_t width = (size_t)e->width, context = (size_t)e->context, rows = (size_t)e->rows * context;
    for (size_t i = 0; i < rows; i++) {
        const float *d = (const float *)d_x + i * width;
        add_into((float *)d_table + (size_t)tokens[i] * width, d, width);
        if (d_positions != NULL)
            add_into((float *)d_positions + i % context * width, d, width);
    }
}

static void bias_add(void *x, const void *bias, int rows, int width)
{
    for (size_t i = 0; i < (size_t)rows; i++)
        add_into((float *)x + i * (size_t)width, bias, (size_t)width);
}

/* Column by column in registers: one vector of columns down all rows, four vectors at a time where there are four. */
static void bias_backward(const void *d_x, void *d_bias, int rows, int width_)
{
    enum { BLOCK = 4 * LANES };
    size_t width = (size_t)width_, c = 0;
    float *total = d_bias;
    for (; c + BLOCK <= width; c += BLOCK) {
        floats sum[4] = {{0}};
        for (size_t i = 0; i < (size_t)rows; i++)
            for (size_t v = 0; v < 4; v++)
                sum[v] += vector_load((const float *)d_x + i * width + c + v * LANES);
        for (size_t v = 0; v < 4; v++)
            vector_store(total + c + v * LANES, vector_load(total + c + v * LANES) + sum[v]);
    }
    for (; c < width; c += LANES) {
        floats sum = {0};
        for (size_t i = 0; i < (size_t)rows; i++)
            sum += vector_load_part((const float *)d_x + i * width + c, width - c);
        vector_store_part(total + c, vector_load_part(total + c, width - c) + sum, width - c);
    }
}

/* sum = x + branch + bias for one row, returning the mean of sum. */
static float norm_sum_row(const float *x, const float *branch, const float *bias, float *sum, size_t width)
{
    floats total = {0};
    EACH_VECTOR(c, left, width) {
        floats value = vector_load_part(x + c, left);
        if (branch != NULL) {
            value += vector_load_part(branch + c, left);
            if (bias != NULL)
                value += vector_load_part(bias + c, left);
            vector_store_part(sum + c, value, left);
        }
        total += value;
    }
    return vector_sum(total) / (float)width;
}

static void layer_norm(const struct norm *norm, const struct norm_forward *f)
{
    size_t width = (size_t)norm->width;
    const float *gain = f->gain, *bias = f->bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const float *x = (const float *)f->x + i * width;
        const float *branch = f->branch != NULL ? (const float *)f->branch + i * width : NULL;
        float *sum = branch != NULL ? (float *)f->sum + i * width : NULL, *out = (float *)f->out + i * width;
        float mean = norm_sum_row(x, branch, f->branch_bias, sum, width);
        const float *from = branch != NULL ? sum : x;
        floats squares = {0};
        EACH_VECTOR(c, left, width) {
            floats away = vector_load_part(from + c, left) - mean;
            if (left < LANES)
                away = vector_select(vector_first(left), away, vector_of(0));
            squares += away * away;
        }
        float rstd = 1.0f / sqrtf(vector_sum(squares) / (float)width + (float)norm->epsilon);
        EACH_VECTOR(c, left, width) {
            floats n = (vector_load_part(from + c, left) - mean) * rstd;
            vector_store_part(out + c, n * vector_load_part(gain + c, left) + vector_load_part(bias + c, left), left);
        }
        ((float *)f->statistics)[2 * i] = mean;
        ((float *)f->statistics)[2 * i + 1] = rstd;
    }
}

/* With n = (sum - mean) rstd and d = d_out gain: d_sum = rstd (d - mean(d) - n mean(d n)). */
static void layer_norm_backward(const struct norm *norm, const struct norm_backward *b)
{
    size_t width = (size_t)norm->width;
    const float *gain = b->gain;
    float *d_gain = b->d_gain, *d_bias = b->d_bias;
    for (size_t i = 0; i < (size_t)norm->rows; i++) {
        const float *sum = (const float *)b->sum + i * width, *d_out = (const float *)b->d_out + i * width;
        float *d_sum = (float *)b->d_sum + i * width;
        float mean = ((const float *)b->statistics)[2 * i], rstd = ((const float *)b->statistics)[2 * i + 1];
        floats sum_d = {0}, sum_dn = {0};
        EACH_VECTOR(c, left, width) {
            floats up = vector_load_part(d_out + c, left), d = up * vector_load_part(gain + c, left);
            floats n = (vector_load_part(sum + c, left) - mean) * rstd;
            sum_d += d;
            sum_dn += d * n;    /* lanes beyond the row: d is 0 */
            vector_store_part(d_gain + c, vector_load_part(d_gain + c, left) + up * n, left);
            vector_store_part(d_bias + c, vector_load_part(d_bias + c, left) + up, left);
        }
        float mean_d = vector_sum(sum_d) / (float)width, mean_dn = vector_sum(sum_dn) / (float)width;
        EACH_VECTOR(c, left, width) {
            floats d = vector_load_part(d_out + c, left) * vector_load_part(gain + c, left);
            floats n = (vector_load_part(sum + c, left) - mean) * rstd;
            floats step = rstd * (d - mean_d - n * mean_dn);
            vector_store_part(d_sum + c, vector_load_part(d_sum + c, left) + step, left);
        }
    }
}

/* A sigmoid g = 1 / (1 + e), e = e^-u, with u bounded so that e stays finite: g is 0 or 1 in float beyond. Slopes
 * use 1 - g = e g, which keeps its accuracy where g is nearly 1. */
struct gate { floats g, e; };

static inline struct gate gate_of(floats u)
{
    floats e = vector_exp(-vector_clamp(u, -87.0f, 87.0f));
    return (struct gate){1.0f / (1.0f + e), e};
}

/* The tanh form of GELU is x sigmoid(u), u = 2 sqrt(2 / pi) (x + 0.044715 x^3); x is bounded to keep its cube finite.
 * */
static inline floats gelu_argument(floats bounded)
{
    return 1.595769122f * bounded * (1.0f + 0.044715f * bounded * bounded);
}

static inline floats activation_value(enum activation activation, floats x)
{
    floats unused;
    switch (activation) {
    case ACTIVATION_GELU_TANH: return x * gate_of(gelu_argument(vector_clamp(x, -12.0f, 12.0f))).g;
    case ACTIVATION_GELU_ERF: return x * vector_normal(x, &unused);
    case ACTIVATION_SILU: return x * gate_of(x).g;
    case ACTIVATION_RELU: return vector_select(x < vector_of(0), vector_of(0), x);
    default: return x;
    }
}

static inline floats gelu_tanh_slope(floats x)
{
    floats bounded = vector_clamp(x, -12.0f, 12.0f);
    struct gate gate = gate_of(gelu_argument(bounded));
    floats slope = 1.595769122f * (1.0f + 0.134145f * bounded * bounded);
    return gate.g * (1.0f + bounded * slope * (gate.e * gate.g));
}

static inline floats gelu_erf_slope(floats x)
{
    floats density, below = vector_normal(x, &density);
    return below + vector_clamp(x, -13.0f, 13.0f) * density;
}

static inline floats silu_slope(floats x)
{
    struct gate gate = gate_of(x);
    return gate.g * (1.0f + x * (gate.e * gate.g));
}

static inline floats activation_slope(enum activation activation, floats x)
{
    switch (activation) {
    case ACTIVATION_GELU_TANH: return gelu_tanh_slope(x);
    case ACTIVATION_GELU_ERF: return gelu_erf_slope(x);
    case ACTIVATION_SILU: return silu_slope(x);
    case ACTIVATION_RELU: return vector_select(x > vector_of(0), vector_of(1), x * 0.0f);
    default: return x;
    }
}

/* `activation` is a constant at each call below, so that each loop holds one function. */
static inline void activate_rows(enum activation activation, float *x, const float *bias, float *out, size_t rows,
                                 size_t width)
{
    for (size_t i = 0; i < rows; i++, x += width, out += width)
        EACH_VECTOR(c, left, width) {
            floats value = vector_load_part(x + c, left);
            if (bias != NULL) {
                value += vector_load_part(bias + c, left);
                vector_store_part(x + c, value, left);
            }
            vector_store_part(out + c, activation_value(activation, value), left);
        }
}

static inline void activate_backward_all(enum activation activation, const float *x, float *d, size_t n)
{
    EACH_VECTOR(c, left, n) {
        floats slope = activation_slope(activation, vector_load_part(x + c, left));
        vector_store_part(d + c, vector_load_part(d + c, left) * slope, left);
    }
}

#define ACTIVATION_CASES(call) \
    case ACTIVATION_GELU_TANH: call(ACTIVATION_GELU_TANH); break; \
    case ACTIVATION_GELU_ERF: call(ACTIVATION_GELU_ERF); break; \
    case ACTIVATION_RELU: call(ACTIVATION_RELU); break; \
    case ACTIVATION_SILU: call(ACTIVATION_SILU); break; \
    case ACTIVATION_COUNT: break;

static void activate(enum activation activation, void *x, const void *bias, void *out, int rows, int width)
{
#define CALL(constant) activate_rows(constant, x, bias, out, (size_t)rows, (size_t)width)
    switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
}

static void activate_backward(enum activation activation, const void *x, void *d, int rows, int width)
{
#define CALL(constant) activate_backward_all(constant, x, d, (size_t)rows * (size_t)width)
    switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
}
