#include "trainer/coordcheck.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/checkpoint.h"
#include "trainer/optimizer.h"

enum { ROWS = 4, CONTEXT_MAX = 32 };

#define X(code, name) [code] = name,
static const char *const moved_names[MOVED_COUNT] = {MOVED_TABLE(X)};
#undef X

const char *moved_name(enum moved moved)
{
    return (unsigned)moved < MOVED_COUNT ? moved_names[moved] : "unknown";
}

/* ---- sizes ---- */

/* value * size / of; 0 where that is not whole. */
static int in_proportion(int value, int size, int of)
{
    return (int64_t)value * size % of == 0 ? (int)((int64_t)value * size / of) : 0;
}

int coordcheck_shape(const struct shape *base, enum coordcheck_axis axis, int size, struct shape *shape,
                     struct error *error)
{
    *shape = *base;
    if (size < 1 || size > SHAPE_SIZE_MAX / 64) {
        return error_set(error, ERROR_INVALID, "%d is no size of a model.", size);
    }
    if (axis == COORDCHECK_DEPTHS) {
        shape->layers = size;
        shape->decoder_layers = in_proportion(base->decoder_layers, size, base->layers);
    } else {
        shape->width = size;
        shape->heads = in_proportion(base->heads, size, base->width);
        shape->kv_heads = in_proportion(base->kv_heads, size, base->width);
        shape->ff = in_proportion(base->ff, size, base->width);
    }
    if (shape->heads == 0 || shape->kv_heads == 0 || shape->ff == 0 || (base->decoder_layers > 0 && shape->decoder_layers == 0)) {
        return error_set(error, ERROR_INVALID, "The base can not be brought to size %d: its heads, kv heads, ff and blocks "
                         "must stay whole numbers. Take multiples of its own size, %d.", size,
                         axis == COORDCHECK_DEPTHS ? base->layers : base->width);
    }
    return shape_check(shape, error);
}

/* ---- one model ---- */

struct model {
    const struct coordcheck_options *options;
    struct trial trial;                  /* what an optimizer looks at of it: options, table, laws */
    struct learner learner;
    struct checkpoint checkpoint;
    struct network *network;
    void *slab, *gradients, *mixed;
    float *start, *now, *logits, *moved;
    int32_t *tokens;                     /* inputs, targets: (ROWS, context) each */
    int context;
};

static size_t logit_count(const struct model *model)
{
    return (size_t)ROWS * (size_t)model->context * (size_t)model->trial.table.shape.vocabulary;
}

static void model_fini(struct model *model)
{
    const struct kernels *kernels = model->options->kernels;
    void *const slabs[] = {model->slab, model->gradients, model->mixed};
    for (int i = 0; i < 3; i++) {
        if (slabs[i] != NULL) {
            kernels->release(slabs[i]);
        }
    }
    network_free(model->network);
    memory_free(model->start);
    memory_free(model->now);
    memory_free(model->logits);
    memory_free(model->moved);
    memory_free(model->tokens);
    memory_free(model->trial.laws);
    memory_free(model->learner.tensor_steps);
    tensor_table_fini(&model->trial.table);
    checkpoint_fini(&model->checkpoint);
}

static int model_laws(struct model *model, struct error *error)
{
    const struct coordcheck_options *options = model->options;
    const struct law_options law = {options->parametrization, options->optimizer, options->base, 1};
    struct trial *trial = &model->trial;
    trial->laws = memory_array((size_t)trial->table.count, sizeof *trial->laws);
    if (trial->laws == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for a coordinate check.");
    }
    trial->options.kernels = options->kernels;
    trial->options.training = training_defaults(&trial->table.shape);
    trial->options.training.optimizer = optimizer_defaults(options->optimizer);
    trial->options.training.optimizer.weight_decay = 0;
    return laws_fill(&trial->table, &law, trial->laws, error);
}

void coordcheck_draw(struct checkpoint *checkpoint, enum parametrization parametrization, const struct shape *base, uint64_t seed)
{
    const struct tensor_table *table = &checkpoint->table;
    const struct shape reference = parametrization_reference(parametrization, base, &table->shape);
    checkpoint_randomize(checkpoint, seed);
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        const double plain = tensor_initial_deviation(&table->shape, tensor->row);
        const struct tensor_ratios ratios = tensor_ratios_of(base, &table->shape, tensor->row);
        if (plain > 0) {
            const double factor = parametrization_deviation(parametrization, &ratios) *
                                  tensor_initial_deviation(&reference, tensor->row) / plain;
            for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++) {
                checkpoint->weights[j] = (float)(factor * (double)checkpoint->weights[j]);
            }
        }
        /* a tied model's gains bear the factor of its head */
        if (role_is_gain(tensor->row->role)) {
            const double factor = parametrization_multiplier(parametrization, &ratios);
            for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++) {
                checkpoint->weights[j] = (float)factor;
            }
        }
    }
}

static void model_tokens(struct model *model, uint64_t seed)
{
    const size_t count = (size_t)ROWS * (size_t)model->context;
    struct rng rng = rng_stream(seed, 0, RNG_PROBE);
    for (size_t i = 0; i < 2 * count; i++) {
        model->tokens[i] = (int32_t)rng_below(&rng, (uint64_t)model->trial.table.shape.vocabulary);
    }
}

static struct batch model_batch(const struct model *model)
{
    const size_t count = (size_t)ROWS * (size_t)model->context;
    const bool sides = model->trial.table.shape.decoder_layers > 0;
    return (struct batch){
        .rows = ROWS, .context = model->context, .inputs = model->tokens, .targets = model->tokens + count,
        .decoder_context = sides ? model->context : 0, .decoder_inputs = sides ? model->tokens : NULL,
    };
}

static int model_allocate(struct model *model, struct error *error)
{
    const struct kernels *kernels = model->options->kernels;
    const struct tensor_table *table = &model->trial.table;
    const size_t slab = table->slab, bytes = slab * kernels->element;
    model->slab = kernels->alloc(3 * bytes);
    model->gradients = kernels->alloc(bytes);
    model->mixed = kernels->alloc(bytes);
    model->start = memory_array(slab, sizeof *model->start);
    model->now = memory_array(slab, sizeof *model->now);
    model->logits = memory_array(logit_count(model), sizeof *model->logits);
    model->moved = memory_array(logit_count(model), sizeof *model->moved);
    model->tokens = memory_array(2 * (size_t)ROWS * (size_t)model->context, sizeof *model->tokens);
    model->learner.tensor_steps = memory_array((size_t)table->count, sizeof *model->learner.tensor_steps);
    if (!model->slab || !model->gradients || !model->mixed || !model->start || !model->now || !model->logits ||
        !model->moved || !model->tokens || !model->learner.tensor_steps) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for a coordinate check of %zu floats.", slab);
    }
    model->learner.weights = model->slab;
    model->learner.state[0] = (char *)model->slab + bytes;
    model->learner.state[1] = (char *)model->slab + 2 * bytes;
    return network_new(&model->network, kernels, table, ROWS, model->context, true, error);
}

static int model_init(struct model *model, const struct coordcheck_options *options, const struct shape *shape,
                      uint64_t seed, struct error *error)
{
    *model = (struct model){.options = options, .context = shape->context < CONTEXT_MAX ? shape->context : CONTEXT_MAX};
    int status = tensor_table_init(&model->trial.table, shape, error);
    if (status == 0) {
        status = model_laws(model, error);
    }
    if (status == 0) {
        status = checkpoint_init(&model->checkpoint, shape, error);
    }
    if (status == 0) {
        status = model_allocate(model, error);
    }
    if (status != 0) {
        model_fini(model);
        return status;
    }
    const size_t slab = model->trial.table.slab;
    coordcheck_draw(&model->checkpoint, options->parametrization, &options->base, seed);
    model_tokens(model, seed);
    memcpy(model->start, model->checkpoint.weights, slab * sizeof *model->start);
    options->kernels->upload(model->learner.weights, model->start, slab * sizeof *model->start);
    const struct batch batch = model_batch(model);
    network_logits(model->network, model->learner.weights, &batch, model->logits);
    return 0;
}

static void model_step(struct model *model)
{
    const struct batch batch = model_batch(model);
    const double scale = 1.0 / ((double)ROWS * model->context);
    network_gradient_first(model->network, model->learner.weights, &batch, scale, model->gradients);
    optimizer_of(model->options->optimizer)->update(&model->trial, &model->learner, model->gradients, 1,
                                                    model->options->learning_rate);
}

/* ---- what moved the logits ---- */

static enum moved moved_of(const struct tensor *tensor)
{
    switch (tensor->row->role) {
    case ROLE_TOKEN_EMBEDDING: case ROLE_POSITION_EMBEDDING: case ROLE_TYPE_EMBEDDING:
        return MOVED_EMBEDDINGS;
    case ROLE_QKV: case ROLE_QUERY: case ROLE_KEY: case ROLE_VALUE: case ROLE_ATTENTION_OUT: case ROLE_RELATIVE_BIAS:
        return MOVED_ATTENTION;
    case ROLE_HEAD:
        return MOVED_HEAD;
    default:
        return tensor->row->rank == 1 ? MOVED_VECTORS : MOVED_MLP;
    }
}

/* The start's weights, but for tensors of one kind. */
static bool model_mix(struct model *model, enum moved moved)
{
    const struct tensor_table *table = &model->trial.table;
    const size_t bytes = table->slab * sizeof(float);
    bool any = moved == MOVED_ALL;
    model->options->kernels->download(model->now, model->learner.weights, bytes);
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        if (moved == MOVED_ALL || moved_of(tensor) == moved) {
            any = any || role_is_trained(tensor->row->role);
            continue;
        }
        memcpy(model->now + tensor->offset, model->start + tensor->offset, tensor->count * sizeof(float));
    }
    model->options->kernels->upload(model->mixed, model->now, bytes);
    return any;
}

/* The mean rise of the predicted tokens' logits over the mean logit. */
static bool model_move(struct model *model, enum moved moved, double *move)
{
    if (!model_mix(model, moved)) {
        return false;
    }
    const struct batch batch = model_batch(model);
    const size_t rows = (size_t)ROWS * (size_t)model->context, vocabulary = (size_t)model->trial.table.shape.vocabulary;
    double sum = 0;
    network_logits(model->network, model->mixed, &batch, model->moved);
    for (size_t row = 0; row < rows; row++) {
        const float *now = model->moved + row * vocabulary, *before = model->logits + row * vocabulary;
        double all = 0;
        for (size_t i = 0; i < vocabulary; i++) {
            all += (double)now[i] - (double)before[i];
        }
        const int32_t target = batch.targets[row];
        sum += (double)now[target] - (double)before[target] - all / (double)vocabulary;
    }
    *move = sum / (double)rows;
    return true;
}

/* ---- all models ---- */

static int measure(struct coordcheck *check, int size, uint64_t seed, struct error *error)
{
    const struct coordcheck_options *options = &check->options;
    struct shape shape;
    struct model model;
    int status = coordcheck_shape(&options->base, options->axis, options->sizes[size], &shape, error);
    if (status == 0) {
        status = model_init(&model, options, &shape, seed, error);
    }
    if (status != 0) {
        return status;
    }
    for (int step = 0; step < options->steps; step++) {
        model_step(&model);
        for (int moved = 0; moved < MOVED_COUNT; moved++) {
            double move;
            check->measured[moved] = model_move(&model, (enum moved)moved, &move);
            if (check->measured[moved]) {
                check->move[size][step][moved] += move / options->seeds;
            }
        }
    }
    model_fini(&model);
    return 0;
}

/* Least squares of ln |move| over ln(size). A move of 0 or NaN makes it infinite or NaN, which passes nowhere. */
static double slope_of(const struct coordcheck *check, int step, int moved)
{
    const int count = check->options.size_count;
    double x_mean = 0, y_mean = 0, xx = 0, xy = 0;
    for (int i = 0; i < count; i++) {
        x_mean += log(check->options.sizes[i]) / count;
        y_mean += log(fabs(check->move[i][step][moved])) / count;
    }
    for (int i = 0; i < count; i++) {
        const double x = log(check->options.sizes[i]) - x_mean;
        xx += x * x;
        xy += x * (log(fabs(check->move[i][step][moved])) - y_mean);
    }
    return xy / xx;
}

static void judge(struct coordcheck *check)
{
    check->pass = true;
    for (int moved = 0; moved < MOVED_COUNT; moved++) {
        for (int step = 0; step < check->options.steps && check->measured[moved]; step++) {
            const double slope = slope_of(check, step, moved);
            check->slope[step][moved] = slope;
            if (step >= 1 && !(fabs(slope) <= fabs(check->worst[moved]))) {
                check->worst[moved] = slope;
            }
        }
        check->passed[moved] = fabs(check->worst[moved]) <= check->options.tolerance;   /* NaN: no */
        check->pass = check->pass && check->passed[moved];
    }
}

static int options_check(const struct coordcheck_options *options, struct error *error)
{
    if (options->size_count < 2 || options->size_count > COORDCHECK_SIZES_MAX) {
        return error_set(error, ERROR_INVALID, "Give from 2 to %d sizes.", COORDCHECK_SIZES_MAX);
    }
    for (int i = 1; i < options->size_count; i++) {
        if (options->sizes[i] <= options->sizes[i - 1]) {
            return error_set(error, ERROR_INVALID, "Sizes must rise: %d comes after %d.", options->sizes[i],
                             options->sizes[i - 1]);
        }
    }
    if (options->steps < 2 || options->steps > COORDCHECK_STEPS_MAX || options->seeds < 1 ||
        options->seeds > COORDCHECK_SEEDS_MAX) {
        return error_set(error, ERROR_INVALID, "Steps must be from 2 to %d, seeds from 1 to %d.", COORDCHECK_STEPS_MAX,
                         COORDCHECK_SEEDS_MAX);
    }
    if (options->optimizer != OPTIMIZER_ADAMW && options->optimizer != OPTIMIZER_SGD) {
        return error_set(error, ERROR_INVALID, "The coordinate check steps with adamw or sgd; a schedule-free optimizer's laws "
                         "are those of the one it is named after.");
    }
    if (!(options->learning_rate > 0 && isfinite(options->learning_rate)) || !(options->tolerance > 0)) {
        return error_set(error, ERROR_INVALID, "Learning rate and tolerance must be positive numbers.");
    }
    return 0;
}

int coordcheck_run(const struct coordcheck_options *options, struct coordcheck *check, struct error *error)
{
    *check = (struct coordcheck){.options = *options};
    int status = options_check(options, error);
    for (int size = 0; size < options->size_count && status == 0; size++) {
        for (int seed = 0; seed < options->seeds && status == 0; seed++) {
            status = measure(check, size, options->seed + (uint64_t)seed, error);
        }
    }
    if (status == 0) {
        judge(check);
    }
    return status;
}
