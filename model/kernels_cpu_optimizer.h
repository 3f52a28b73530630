/* Updates of parameters by optimizers, on the cpu body's vectors. Included by kernels_cpu.c only. */

static void adamw(const struct adamw_step *step, void *w_, void *m_, void *v_, const void *g_, size_t n)
{
    float *w = w_, *m = m_, *v = v_;
    const float *g = g_;
    float keep = (float)(1 - step->rate * step->decay), scale = (float)step->gradient_scale;
    float beta1 = (float)step->beta1, rest1 = (float)(1 - step->beta1);
    float beta2 = (float)step->beta2, rest2 = (float)(1 - step->beta2);
    float size = (float)(step->rate / step->correction1), widen = (float)(1 / sqrt(step->correction2));
    float epsilon = (float)step->epsilon;
    EACH_VECTOR(i, left, n) {
        vector_expect(g + i + STREAM_AHEAD);
        vector_expect(m + i + STREAM_AHEAD);
        vector_expect(v + i + STREAM_AHEAD);
        vector_expect(w + i + STREAM_AHEAD);
        floats scaled = scale * vector_load_part(g + i, left);
        floats first = beta1 * vector_load_part(m + i, left) + rest1 * scaled;
        floats second = beta2 * vector_load_part(v + i, left) + rest2 * scaled * scaled;
        floats denominator = vector_sqrt(second) * widen + epsilon;
        vector_store_part(m + i, first, left);
        vector_store_part(v + i, second, left);
        vector_store_part(w + i, keep * vector_load_part(w + i, left) - size * first / denominator, left);
    }
}

static void sgd(const struct sgd_step *step, void *w_, void *b_, const void *g_, size_t n)
{
    float *w = w_, *b = b_;
    const float *g = g_;
    float scale = (float)step->gradient_scale, decay = (float)step->decay, momentum = (float)step->momentum;
    /* one form of both: rate * (g' + momentum b) or rate * b */
    float of_gradient = step->nesterov ? (float)step->rate : 0;
    float of_buffer = (float)(step->nesterov ? step->rate * step->momentum : step->rate);
    EACH_VECTOR(i, left, n) {
        vector_expect(g + i + STREAM_AHEAD);
        vector_expect(b + i + STREAM_AHEAD);
        vector_expect(w + i + STREAM_AHEAD);
        floats weights = vector_load_part(w + i, left);
        floats gradient = scale * vector_load_part(g + i, left) + decay * weights;
        floats buffer = momentum * vector_load_part(b + i, left) + gradient;
        vector_store_part(b + i, buffer, left);
        vector_store_part(w + i, weights - (of_gradient * gradient + of_buffer * buffer), left);
    }
}

/* Both loops of schedule_free: the compiler makes one for each constant `adaptive`. */
static inline __attribute__((always_inline)) void schedule_free_loop(const struct schedule_free_step *step, bool adaptive,
                                                                     float *x, float *z, float *v, const float *g, size_t n)
{
    float rate = (float)step->rate, scale = (float)step->gradient_scale, weight = (float)step->weight;
    float decay_x = step->decay_at_z ? 0 : (float)(step->rate * step->decay * step->beta);
    float decay_z = (float)(step->rate * step->decay * (step->decay_at_z ? 1 : 1 - step->beta));
    float beta2 = (float)step->beta2, rest2 = (float)(1 - step->beta2), epsilon = (float)step->epsilon;
    float widen = adaptive ? (float)(1 / sqrt(step->correction2)) : 0;
    EACH_VECTOR(i, left, n) {
        vector_expect(g + i + STREAM_AHEAD);
        vector_expect(x + i + STREAM_AHEAD);
        vector_expect(z + i + STREAM_AHEAD);
        floats average = vector_load_part(x + i, left), iterate = vector_load_part(z + i, left);
        floats direction = scale * vector_load_part(g + i, left);
        if (adaptive) {
            vector_expect(v + i + STREAM_AHEAD);
            floats second = beta2 * vector_load_part(v + i, left) + rest2 * direction * direction;
            vector_store_part(v + i, second, left);
            direction = direction / (vector_sqrt(second) * widen + epsilon);
        }
        iterate = iterate - (decay_x * average + decay_z * iterate) - rate * direction;
        vector_store_part(z + i, iterate, left);
        vector_store_part(x + i, average + weight * (iterate - average), left);
    }
}

static void schedule_free(const struct schedule_free_step *step, void *x, void *z, void *v, const void *g, size_t n)
{
    if (v != NULL)
        schedule_free_loop(step, true, x, z, v, g, n);
    else
        schedule_free_loop(step, false, x, z, NULL, g, n);
}
