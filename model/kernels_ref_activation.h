/* Part of the reference body (kernels_ref.c): activations and gates. */

static double activation_value(enum activation activation, double x)
{
    switch (activation) {
    case ACTIVATION_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACTIVATION_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACTIVATION_RELU: return x > 0 || isnan(x) ? x : 0;
    case ACTIVATION_SILU: return x / (1 + exp(-x));
    case ACTIVATION_COUNT: break;
    }
    return NAN;
}

static double activation_slope(enum activation activation, double x)
{
    switch (activation) {
    case ACTIVATION_GELU_TANH: {
        double slope_inner = sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
        double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope_inner;
    }
    case ACTIVATION_GELU_ERF:
        return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI);
    case ACTIVATION_RELU: return isnan(x) ? x : x > 0;
    case ACTIVATION_SILU: {
        double s = 1 / (1 + exp(-x));
        return s * (1 + x * (1 - s));
    }
    case ACTIVATION_COUNT: break;
    }
    return NAN;
}

static void activate(enum activation activation, void *x_, const void *bias_, void *out_, int rows, int width)
{
    real *x = x_, *out = out_;
    const real *bias = bias_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++) {
            size_t at = i * (size_t)width + c;
            if (bias != NULL)
                x[at] += bias[c];
            out[at] = (real)activation_value(activation, x[at]);
        }
}

static void activate_backward(enum activation activation, const void *x_, void *d_, int rows, int width)
{
    const real *x = x_;
    real *d = d_;
    for (size_t i = 0; i < (size_t)rows * (size_t)width; i++)
        d[i] = (real)(d[i] * activation_slope(activation, x[i]));
}

static void gate(enum activation activation, const void *gate_, const void *up_, void *out_, int rows, int width,
                 int stride)
{
    const real *gates = gate_, *up = up_;
    real *out = out_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++) {
            size_t at = i * (size_t)stride + c;
            out[i * (size_t)width + c] = (real)(activation_value(activation, gates[at]) * up[at]);
        }
}

static void gate_backward(enum activation activation, const void *gate_, const void *up_, const void *d_out_,
                          void *d_gate_, void *d_up_, int rows, int width, int stride)
{
    const real *gates = gate_, *up = up_, *d_out = d_out_;
    real *d_gate = d_gate_, *d_up = d_up_;
    for (size_t i = 0; i < (size_t)rows; i++)
        for (size_t c = 0; c < (size_t)width; c++) {
            size_t at = i * (size_t)stride + c;
            double d = d_out[i * (size_t)width + c];
            d_gate[at] = (real)(d * up[at] * activation_slope(activation, gates[at]));
            d_up[at] = (real)(d * activation_value(activation, gates[at]));
        }
}
