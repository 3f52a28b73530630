/* Part of the cpu body: activations and gates. See kernels_cpu.c. */

/* A sigmoid g = 1 / (1 + e), e = e^-u, with u bounded so that e stays finite: g is 0 or 1 in float beyond. Slopes
 * use 1 - g = e g, which keeps its accuracy where g is nearly 1. */
struct sigmoid { floats g, e; };

static inline struct sigmoid sigmoid_of(floats u)
{
    floats e = vector_exp(-vector_clamp(u, -87.0f, 87.0f));
    return (struct sigmoid){vector_reciprocal(1.0f + e), e};
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
    case ACTIVATION_GELU_TANH: return x * sigmoid_of(gelu_argument(vector_clamp(x, -12.0f, 12.0f))).g;
    case ACTIVATION_GELU_ERF: return x * vector_normal(x, &unused);
    case ACTIVATION_SILU: return x * sigmoid_of(x).g;
    case ACTIVATION_RELU: return vector_select(x < vector_of(0), vector_of(0), x);
    default: return x;
    }
}

static inline floats gelu_tanh_slope(floats x)
{
    floats bounded = vector_clamp(x, -12.0f, 12.0f);
    struct sigmoid sigmoid = sigmoid_of(gelu_argument(bounded));
    floats slope = 1.595769122f * (1.0f + 0.134145f * bounded * bounded);
    return sigmoid.g * (1.0f + bounded * slope * (sigmoid.e * sigmoid.g));
}

static inline floats gelu_erf_slope(floats x)
{
    floats density, below = vector_normal(x, &density);
    return below + vector_clamp(x, -13.0f, 13.0f) * density;
}

static inline floats silu_slope(floats x)
{
    struct sigmoid sigmoid = sigmoid_of(x);
    return sigmoid.g * (1.0f + x * (sigmoid.e * sigmoid.g));
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
            vector_expect(x + c + STREAM_AHEAD);
            vector_expect(out + c + STREAM_AHEAD);
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
        vector_expect(x + c + STREAM_AHEAD);
        vector_expect(d + c + STREAM_AHEAD);
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

/* One row: out = f(gate) * up. */
static inline void gate_row(enum activation activation, const float *gate, const float *up, float *out, size_t width)
{
    EACH_VECTOR(c, left, width) {
        vector_expect(gate + c + STREAM_AHEAD);
        vector_expect(up + c + STREAM_AHEAD);
        vector_expect(out + c + STREAM_AHEAD);
        vector_store_part(out + c, activation_value(activation, vector_load_part(gate + c, left)) *
                          vector_load_part(up + c, left), left);
    }
}

static inline void gate_row_backward(enum activation activation, const float *gate, const float *up,
                                     const float *d_out, float *d_gate, float *d_up, size_t width)
{
    EACH_VECTOR(c, left, width) {
        vector_expect(gate + c + STREAM_AHEAD);
        vector_expect(up + c + STREAM_AHEAD);
        vector_expect(d_out + c + STREAM_AHEAD);
        vector_expect(d_up + c + STREAM_AHEAD);
        floats x = vector_load_part(gate + c, left), d = vector_load_part(d_out + c, left);
        floats to_gate = d * vector_load_part(up + c, left) * activation_slope(activation, x);
        vector_store_part(d_up + c, d * activation_value(activation, x), left);
        vector_store_part(d_gate + c, to_gate, left);
    }
}

static void gate(enum activation activation, const void *gates, const void *up, void *out, int rows, int width,
                 int stride)
{
    for (size_t i = 0; i < (size_t)rows; i++) {
        size_t at = i * (size_t)stride;
#define CALL(constant) gate_row(constant, (const float *)gates + at, (const float *)up + at, \
                                (float *)out + i * (size_t)width, (size_t)width)
        switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
    }
}

static void gate_backward(enum activation activation, const void *gates, const void *up, const void *d_out,
                          void *d_gate, void *d_up, int rows, int width, int stride)
{
    for (size_t i = 0; i < (size_t)rows; i++) {
        size_t at = i * (size_t)stride;
#define CALL(constant) gate_row_backward(constant, (const float *)gates + at, (const float *)up + at, \
                                         (const float *)d_out + i * (size_t)width, (float *)d_gate + at, \
                                         (float *)d_up + at, (size_t)width)
        switch (activation) { ACTIVATION_CASES(CALL) }
#undef CALL
    }
}
