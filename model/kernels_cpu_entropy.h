/* Part of the cpu body: cross-entropy, its gradient and the tangent of that. Sums over a vocabulary are widened to
 * double every CROSS_ENTROPY_BLOCK numbers. See kernels_cpu.c. */

enum { CROSS_ENTROPY_BLOCK = 512 };

/* Largest logit of a row. */
static float logits_largest(const float *row, size_t vocabulary)
{
    floats largest = vector_of(row[0]);
    EACH_VECTOR(v, left, vocabulary) {
        floats value = vector_load_part(row + v, left);
        if (left < LANES)
            value = vector_select(vector_first(left), value, largest);
        largest = vector_max(value, largest);
    }
    return vector_largest(largest);
}

/* Sum of exp(row - largest); the exponentials are stored in `keep` (row itself) unless it is NULL. */
static double logits_exp_sum(const float *row, float largest, size_t vocabulary, float *keep)
{
    double total = 0;
    for (size_t start = 0; start < vocabulary; start += CROSS_ENTROPY_BLOCK) {
        size_t count = vocabulary - start < CROSS_ENTROPY_BLOCK ? vocabulary - start : CROSS_ENTROPY_BLOCK;
        floats sum = {0};
        EACH_VECTOR(v, left, count) {
            floats value = vector_exp(vector_load_part(row + start + v, left) - largest);
            if (left < LANES)
                value = vector_select(vector_first(left), value, vector_of(0));
            sum += value;
            if (keep != NULL)
                vector_store_part(keep + start + v, value, left);
        }
        total += (double)vector_sum(sum);
    }
    return total;
}

static void cross_entropy(const void *logits, const int32_t *targets, int rows, int vocabulary, double *losses)
{
    for (int i = 0; i < rows; i++) {
        const float *row = (const float *)logits + (size_t)i * (size_t)vocabulary;
        losses[i] = 0;
        if (targets[i] == TARGET_IGNORED)
            continue;
        float largest = logits_largest(row, (size_t)vocabulary);
        double sum = logits_exp_sum(row, largest, (size_t)vocabulary, NULL);
        losses[i] = log(sum) + ((double)largest - (double)row[targets[i]]);
    }
}

/* Turns a row of logits into exponentials whose sum it returns. */
static double logits_exponentials(float *row, int32_t target, size_t vocabulary, double *loss)
{
    float largest = logits_largest(row, vocabulary), logit = row[target];
    double sum = logits_exp_sum(row, largest, vocabulary, row);
    *loss = log(sum) + ((double)largest - (double)logit);
    return sum;
}

/* Turns a row of exponentials into the gradient. */
static void exponentials_gradient(float *row, int32_t target, size_t vocabulary, double sum, double scale)
{
    float factor = (float)(scale / sum), exponential = row[target];
    EACH_VECTOR(v, left, vocabulary)
        vector_store_part(row + v, vector_load_part(row + v, left) * factor, left);
    row[target] = (float)(scale * ((double)exponential / sum - 1));
}

static void cross_entropy_gradient(void *logits, const int32_t *targets, int rows, int vocabulary_, double scale,
                                   double *losses)
{
    size_t vocabulary = (size_t)vocabulary_;
    for (int i = 0; i < rows; i++) {
        float *row = (float *)logits + (size_t)i * vocabulary;
        if (targets[i] == TARGET_IGNORED) {
            losses[i] = 0;
            memset(row, 0, vocabulary * sizeof(float));
            continue;
        }
        double sum = logits_exponentials(row, targets[i], vocabulary, &losses[i]);
        exponentials_gradient(row, targets[i], vocabulary, sum, scale);
    }
}

/* With e the exponentials and p = e / sum: t_row = scale p (t_row - p . t_row). */
static void exponentials_tangent(const float *row, float *t_row, size_t vocabulary, double sum, double scale)
{
    double expected = 0;
    for (size_t start = 0; start < vocabulary; start += CROSS_ENTROPY_BLOCK) {
        size_t count = vocabulary - start < CROSS_ENTROPY_BLOCK ? vocabulary - start : CROSS_ENTROPY_BLOCK;
        floats part = {0};
        EACH_VECTOR(v, left, count)
            part += vector_load_part(row + start + v, left) * vector_load_part(t_row + start + v, left);
        expected += (double)vector_sum(part);
    }
    float mean = (float)(expected / sum), factor = (float)(scale / sum);
    EACH_VECTOR(v, left, vocabulary) {
        floats away = vector_load_part(t_row + v, left) - mean;
        vector_store_part(t_row + v, factor * vector_load_part(row + v, left) * away, left);
    }
}

static void cross_entropy_gradient_tangent(void *logits, void *t_logits, const int32_t *targets, int rows,
                                           int vocabulary_, double scale, double *losses)
{
    size_t vocabulary = (size_t)vocabulary_;
    for (int i = 0; i < rows; i++) {
        float *row = (float *)logits + (size_t)i * vocabulary, *t_row = (float *)t_logits + (size_t)i * vocabulary;
        if (targets[i] == TARGET_IGNORED) {
            losses[i] = 0;
            memset(row, 0, vocabulary * sizeof(float));
            memset(t_row, 0, vocabulary * sizeof(float));
            continue;
        }
        double sum = logits_exponentials(row, targets[i], vocabulary, &losses[i]);
        exponentials_tangent(row, t_row, vocabulary, sum, scale);
        exponentials_gradient(row, targets[i], vocabulary, sum, scale);
    }
}
