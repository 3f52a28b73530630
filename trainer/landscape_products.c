#include "trainer/landscape_parts.h"

#include <math.h>

#include "trainer/optimizer.h"

void landscape_fill_signs(void *owner, struct rng *rng, void *vector)
{
    struct landscape *landscape = owner;
    const struct tensor_table *table = &landscape->trial->table;
    const struct kernels *kernels = landscape->trial->options.kernels;
    kernels->zero(vector, table->slab);
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        for (size_t first = 0; role_is_trained(tensor->row->role) && first < tensor->count; first += CHUNK_NUMBERS) {
            const size_t left = tensor->count - first, n = left < CHUNK_NUMBERS ? left : CHUNK_NUMBERS;
            uint64_t signs = 0;
            for (size_t j = 0; j < n; j++) {
                signs = j % 64 == 0 ? rng_u64(rng) : signs >> 1;
                landscape->host[j] = signs & 1 ? 1 : -1;
            }
            kernels->upload(numbers_at(kernels->element, vector, tensor->offset + first), landscape->host, n * sizeof(float));
        }
    }
}

/* D^-1/2 of a run of numbers, in landscape->host, from v (or g, squared) there. */
static void invert_roots(const struct landscape *landscape, size_t n, double correction, bool squared, double epsilon, double rate)
{
    for (size_t j = 0; j < n; j++) {
        const double number = (double)landscape->host[j];
        const double root = squared ? fabs(number) : sqrt(number / correction);
        landscape->host[j] = (float)sqrt(rate / (root + epsilon));
    }
}

static bool is_adaptive(const struct optimizer_spec *optimizer)
{
    return optimizer->name == OPTIMIZER_ADAMW || optimizer->name == OPTIMIZER_SCHEDULE_FREE_ADAMW;
}

/* landscape->scales of one tensor; landscape->scratch->gradients hold g where it is needed, scaled by `scale`. */
static void scale_tensor(struct landscape *landscape, int index, double scale)
{
    const struct trial *trial = landscape->trial;
    const struct kernels *kernels = trial->options.kernels;
    const struct tensor *tensor = &trial->table.tensors[index];
    const struct tensor_law *law = &trial->laws[index];
    const double epsilon = trial->options.training.optimizer.epsilon * law->epsilon;
    double correction = 1;
    const void *second = learner_second_moment(trial, &trial->learners[0], index, &correction);
    const void *from = second != NULL ? second
                                      : numbers_at_const(kernels->element, landscape->scratch->gradients, tensor->offset);
    for (size_t first = 0; first < tensor->count; first += CHUNK_NUMBERS) {
        const size_t left = tensor->count - first, n = left < CHUNK_NUMBERS ? left : CHUNK_NUMBERS;
        kernels->download(landscape->host, numbers_at_const(kernels->element, from, first), n * sizeof(float));
        if (is_adaptive(&trial->options.training.optimizer)) {
            for (size_t j = 0; j < n && second == NULL; j++) {
                landscape->host[j] *= (float)scale;
            }
            invert_roots(landscape, n, correction, second == NULL, epsilon, law->rate);
        } else {
            for (size_t j = 0; j < n; j++) {
                landscape->host[j] = (float)sqrt(law->rate);
            }
        }
        void *to = numbers_at(kernels->element, landscape->scales, tensor->offset + first);
        kernels->upload(to, landscape->host, n * sizeof(float));
    }
}

static bool needs_gradient(const struct landscape *landscape)
{
    const struct trial *trial = landscape->trial;
    double correction;
    for (int i = 0; i < trial->table.count && is_adaptive(&trial->options.training.optimizer); i++) {
        if (learner_second_moment(trial, &trial->learners[0], i, &correction) == NULL) {
            return true;
        }
    }
    return false;
}

/* x *= scales, or the factor of each tensor that the parametrization's own parameters have. */
static void apply_scales(const struct landscape *landscape, const void *x, void *out)
{
    const struct trial *trial = landscape->trial;
    const struct kernels *kernels = trial->options.kernels;
    enum { COLUMNS = 1 << 20 };
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        const void *from = numbers_at_const(kernels->element, x, tensor->offset);
        void *to = numbers_at(kernels->element, out, tensor->offset);
        kernels->ops->blend(landscape->scaled_elementwise ? 1 : trial->laws[i].gradient, from, 0, to, tensor->count);
        for (size_t first = 0; landscape->scaled_elementwise && first < tensor->count; first += COLUMNS) {
            const size_t left = tensor->count - first;
            kernels->ops->scale_columns(numbers_at(kernels->element, to, first),
                                        numbers_at_const(kernels->element, landscape->scales, tensor->offset + first), 1,
                                        (int)(left < COLUMNS ? left : COLUMNS));
        }
    }
}

static bool is_scaled(const struct landscape *landscape)
{
    const struct trial *trial = landscape->trial;
    bool scaled = landscape->scaled_elementwise;
    for (int i = 0; i < trial->table.count; i++) {
        scaled = scaled || trial->laws[i].gradient != 1;
    }
    return scaled;
}

/* ---- products, a micro-batch at a time */

static struct batch_place place_of(const struct landscape *landscape)
{
    const struct trial_options *options = &landscape->trial->options;
    return (struct batch_place){&options->training, options->sampler, options->seed_index, options->training.steps,
                                growth_masks_at(&landscape->scratch->masks, options->ramps, landscape->trial->step), NULL};
}

/* Rows [first, first + rows) of the fixed batch. */
static int read_rows(struct landscape *landscape, const struct corpus *train, int first, int rows, struct batch *batch,
                     struct error *error)
{
    const struct training *training = &landscape->trial->options.training;
    const struct batch_place place = place_of(landscape);
    const struct batch_share whole = {training->steps * (uint64_t)training->batch, training->batch, training->batch, NULL};
    int status = batch_rows_fill(&place, &whole, landscape->scratch, train, first, rows, error);
    if (status == 0) {
        *batch = objective_batch(&landscape->scratch->parts, rows, training->context);
        batch->masking = place.masking;
    }
    return status;
}

int landscape_hessian_step(struct landscape *landscape, const struct corpus *train, const void *direction, void *product,
                           bool *finished, struct error *error)
{
    const struct trial *trial = landscape->trial;
    const struct kernels *kernels = trial->options.kernels;
    struct scratch *scratch = landscape->scratch;
    struct product_state *state = &landscape->product;
    const int all = trial->options.training.batch, left = all - state->row, rows = left < scratch->rows ? left : scratch->rows;
    const double targets = (double)all * scratch->parts.sizes.targets;
    const bool scaled = is_scaled(landscape);
    struct batch batch;
    int status = read_rows(landscape, train, state->row, rows, &batch, error);
    if (status != 0) {
        return status;
    }
    if (state->row == 0) {
        kernels->zero(product, trial->table.slab);
        if (scaled) {
            kernels->zero(landscape->moved, trial->table.slab);
            apply_scales(landscape, direction, landscape->moved);
        }
    }
    network_hessian_product(scratch->network, landscape->point, scaled ? landscape->moved : direction, &batch, 1 / targets,
                            product);
    state->row += rows;
    state->predicted += batch_predicted(&batch);
    *finished = state->row == all;
    if (*finished) {
        kernels->ops->blend(targets / (double)state->predicted, product, 0, product, trial->table.slab);
        if (scaled) {
            apply_scales(landscape, product, product);
        }
        *state = (struct product_state){0};
    }
    return 0;
}

int landscape_kernel_step(struct landscape *landscape, const struct corpus *train, const void *direction, void *product,
                          struct error *error)
{
    const struct trial *trial = landscape->trial;
    const struct kernels *kernels = trial->options.kernels;
    const int targets = landscape->scratch->parts.sizes.targets, enough = (LANDSCAPE_POSITIONS + targets - 1) / targets;
    const int rows = enough < landscape->scratch->rows ? enough : landscape->scratch->rows;
    struct batch batch;
    int status = read_rows(landscape, train, 0, rows, &batch, error), positions = 0;
    if (status != 0) {
        return status;
    }
    for (int i = 0; i < rows * targets; i++) {
        const bool counts = batch.targets[i] != TARGET_IGNORED && positions < LANDSCAPE_POSITIONS;
        landscape->targets[i] = counts ? batch.targets[i] : TARGET_IGNORED;
        positions += counts;
    }
    batch.targets = landscape->targets;
    const bool scaled = is_scaled(landscape);
    kernels->zero(product, trial->table.slab);
    if (scaled) {
        kernels->zero(landscape->moved, trial->table.slab);
        apply_scales(landscape, direction, landscape->moved);
    }
    network_jacobian_product(landscape->scratch->network, landscape->point, scaled ? landscape->moved : direction, &batch,
                             1.0 / positions, product);
    if (scaled) {
        apply_scales(landscape, product, product);
    }
    return 0;
}

int landscape_precondition(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, struct error *error)
{
    const struct batch_place place = place_of(landscape);
    struct gradient_sum sum = {.scale = 1};
    int status = 0;
    if (needs_gradient(landscape)) {
        status = gradient_of_batch(&place, landscape->point, landscape->scratch, train, stop, &sum, error);
    }
    for (int i = 0; i < landscape->trial->table.count && status == 0; i++) {
        scale_tensor(landscape, i, sum.scale);
    }
    return status;
}
