#include "trainer/landscape.h"

#include <math.h>

#include "base/fault.h"
#include "base/memory.h"
#include "trainer/landscape_parts.h"
#include "trainer/optimizer.h"
#include "trainer/stability.h"

/* Of an eigenvalue, beside it: a tenth of what is promised. */
static const double tolerance = 1e-4;
#define X(code, name, summary) [code] = name,
static const char *const quantity_names[LANDSCAPE_QUANTITY_COUNT] = {LANDSCAPE_QUANTITIES(X)};
#undef X

const char *landscape_quantity_name(enum landscape_quantity quantity)
{
    return quantity_names[quantity];
}

struct landscape_spec landscape_defaults(bool asked)
{
    return (struct landscape_spec){
        .asked = asked, .top = 1, .what = 1u << LANDSCAPE_HESSIAN | 1u << LANDSCAPE_PRECONDITIONED,
    };
}

struct landscape_values landscape_nothing(void)
{
    struct landscape_values values = {
        .preconditioned = NAN, .trace = NAN, .trace_error = NAN, .ntk = NAN, .residual = NAN, .stability_ratio = NAN,
        .safe_rate = NAN,
    };
    for (int i = 0; i < LANDSCAPE_TOP_MAX; i++) {
        values.hessian[i] = NAN;
    }
    return values;
}

/* ---- memory */

static struct scratch_sizes sizes_of(const struct training *training)
{
    return (struct scratch_sizes){
        .batch = training->batch, .context = training->context, .gradients = true, .tangents = true,
        .recompute = training->recompute, .point = optimizer_is_schedule_free(training->optimizer.name),
        .compute = PRODUCT_F32, .objective = &training->objective,
    };
}

static int wanted_most(const struct landscape_spec *spec)
{
    return landscape_wants(spec, LANDSCAPE_HESSIAN) ? spec->top : 1;
}

static size_t host_bytes(const struct training *training, const struct shape *shape)
{
    const struct objective_sizes sizes = objective_sizes_of(&training->objective, shape, training->context);
    return CHUNK_NUMBERS * sizeof(float) + sizeof(struct landscape) +
           (size_t)micro_batch_rows(training->batch, training->context) * (size_t)sizes.targets * sizeof(int32_t);
}

size_t landscape_bytes(const struct kernels *kernels, const struct shape *shape, const struct training *training,
                       const struct landscape_spec *spec)
{
    const struct scratch_sizes sizes = sizes_of(training);
    const size_t slab = slab_floats(shape), vectors = lanczos_bytes(kernels, slab, wanted_most(spec));
    const size_t scratch = scratch_sized_bytes(kernels, shape, &sizes);
    size_t bytes;
    if (!spec->asked || slab == 0 || vectors == 0 || scratch == 0 || memory_multiply(2 * kernels->element, slab, &bytes) != 0 ||
        __builtin_add_overflow(bytes, vectors, &bytes) || __builtin_add_overflow(bytes, scratch, &bytes) ||
        __builtin_add_overflow(bytes, host_bytes(training, shape), &bytes)) {
        return 0;
    }
    return bytes;
}

double landscape_passes(const struct landscape_spec *spec)
{
    const double eigenvalues = 20, products[LANDSCAPE_QUANTITY_COUNT] = {
        [LANDSCAPE_HESSIAN] = eigenvalues + 5.0 * spec->top, [LANDSCAPE_PRECONDITIONED] = eigenvalues,
        [LANDSCAPE_TRACE] = LANDSCAPE_PROBES, [LANDSCAPE_NTK] = 1,
    };
    double sum = 0;
    for (int i = 0; i < LANDSCAPE_QUANTITY_COUNT; i++) {
        sum += landscape_wants(spec, (enum landscape_quantity)i) ? products[i] * HESSIAN_PASSES : 0;
    }
    return sum;
}

int landscape_new(struct landscape **landscape, const struct trial *trial, const struct landscape_spec *spec, struct error *error)
{
    const struct training *training = &trial->options.training;
    const struct kernels *kernels = trial->options.kernels;
    const struct scratch_sizes sizes = sizes_of(training);
    struct landscape *made = memory_new(sizeof *made);
    *landscape = NULL;
    if (made == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for measuring the landscape.");
    }
    made->trial = trial;
    made->spec = *spec;
    made->values = landscape_nothing();
    int status = scratch_make(&made->scratch, kernels, &trial->table.shape, &sizes, error);
    if (status == 0) {
        status = lanczos_new(&made->lanczos, kernels, trial->table.slab, wanted_most(spec), error);
    }
    if (status == 0) {
        made->host = memory_array(CHUNK_NUMBERS, sizeof *made->host);
        made->targets = memory_array((size_t)made->scratch->rows * (size_t)made->scratch->parts.sizes.targets, sizeof(int32_t));
        made->scales = kernels->alloc(trial->table.slab * kernels->element);
        made->moved = kernels->alloc(trial->table.slab * kernels->element);
    }
    if (status == 0 && (made->host == NULL || made->targets == NULL || made->scales == NULL || made->moved == NULL)) {
        status = error_set(error, ERROR_NO_MEMORY, "No memory for measuring the landscape.");
    }
    if (status != 0) {
        landscape_free(made);
        return status;
    }
    made->point = learner_point(trial, &trial->learners[0], made->scratch);
    *landscape = made;
    return 0;
}

void landscape_free(struct landscape *landscape)
{
    if (landscape == NULL) {
        return;
    }
    const struct kernels *kernels = landscape->trial->options.kernels;
    if (landscape->scales != NULL) {
        kernels->release(landscape->scales);
    }
    if (landscape->moved != NULL) {
        kernels->release(landscape->moved);
    }
    lanczos_free(landscape->lanczos);
    scratch_free(landscape->scratch);
    memory_free(landscape->host);
    memory_free(landscape->targets);
    memory_free(landscape);
}

/* ---- quantities */

static void begin_lanczos(struct landscape *landscape, int wanted)
{
    const struct trial *trial = landscape->trial;
    const struct lanczos_options options = {
        .kernels = trial->options.kernels, .numbers = trial->table.slab, .wanted = wanted, .tolerance = tolerance,
        .fill = landscape_fill_signs, .owner = landscape,
        .rng = rng_stream(trial->options.training.seed, (trial->options.seed_index << 8) + 64 + (uint64_t)landscape->quantity,
                          RNG_PROBE),
    };
    lanczos_begin(landscape->lanczos, &options);
}

/* Keeps what Lanczos found and how exact it is. */
static void end_lanczos(struct landscape *landscape, double *values)
{
    const struct lanczos *lanczos = landscape->lanczos;
    for (int i = 0; i < lanczos->found; i++) {
        values[i] = lanczos->values[i];
        const double residual = lanczos->residuals[i] / fabs(lanczos->values[i]);
        landscape->values.residual = isfinite(residual) ? fmax(landscape->values.residual, residual) : landscape->values.residual;
    }
}

/* One step of Lanczos on the Hessian, behind the scales there are; *finished: `values` are there. */
static int eigenvalues_step(struct landscape *landscape, const struct corpus *train, double *values, bool *finished,
                            struct error *error)
{
    struct lanczos *lanczos = landscape->lanczos;
    bool multiplied = lanczos->finished;
    int status = 0;
    if (!multiplied) {
        status = landscape_hessian_step(landscape, train, lanczos_direction(lanczos), lanczos_product(lanczos), &multiplied, error);
    }
    if (status == 0 && multiplied && !lanczos->finished) {
        lanczos_take(lanczos);
    }
    *finished = lanczos->finished;
    if (*finished && status == 0) {
        end_lanczos(landscape, values);
    }
    return status;
}

static int measure_hessian(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, bool *finished,
                           struct error *error)
{
    (void)stop;
    if (!landscape->begun) {
        begin_lanczos(landscape, landscape->spec.top);
    }
    return eigenvalues_step(landscape, train, landscape->values.hessian, finished, error);
}

static int measure_preconditioned(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, bool *finished,
                                  struct error *error)
{
    if (!landscape->begun) {
        int status = landscape_precondition(landscape, train, stop, error);
        if (status != 0) {
            return status;
        }
        begin_lanczos(landscape, 1);
        landscape->scaled_elementwise = true;
    }
    int status = eigenvalues_step(landscape, train, &landscape->values.preconditioned, finished, error);
    if (*finished) {
        landscape->scaled_elementwise = false;
    }
    return status;
}

/* Hutchinson, 1990: the mean of v . H v over vectors of random signs. */
static int measure_trace(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, bool *finished,
                         struct error *error)
{
    (void)stop;
    const struct trial *trial = landscape->trial;
    void *direction = lanczos_borrow(landscape->lanczos, 0), *product = lanczos_borrow(landscape->lanczos, 1);
    bool multiplied = false;
    if (!landscape->begun) {
        begin_lanczos(landscape, 1);          /* its stream */
        landscape->probe = 0;
    }
    if (landscape->product.row == 0) {
        landscape_fill_signs(landscape, &landscape->lanczos->options.rng, direction);
    }
    int status = landscape_hessian_step(landscape, train, direction, product, &multiplied, error);
    if (status != 0 || !multiplied) {
        return status;
    }
    landscape->probes[landscape->probe++] = trial->options.kernels->dot(direction, product, trial->table.slab);
    *finished = landscape->probe == LANDSCAPE_PROBES;
    if (*finished) {
        double sum = 0, squares = 0;
        for (int i = 0; i < LANDSCAPE_PROBES; i++) {
            sum += landscape->probes[i];
        }
        const double mean = sum / LANDSCAPE_PROBES;
        for (int i = 0; i < LANDSCAPE_PROBES; i++) {
            squares += (landscape->probes[i] - mean) * (landscape->probes[i] - mean);
        }
        landscape->values.trace = mean;
        landscape->values.trace_error = sqrt(squares / (LANDSCAPE_PROBES - 1) / LANDSCAPE_PROBES);
    }
    return 0;
}

static int measure_ntk(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, bool *finished,
                       struct error *error)
{
    (void)stop;
    struct lanczos *lanczos = landscape->lanczos;
    if (!landscape->begun) {
        begin_lanczos(landscape, 1);
    }
    int status = 0;
    if (!lanczos->finished) {
        status = landscape_kernel_step(landscape, train, lanczos_direction(lanczos), lanczos_product(lanczos), error);
        if (status == 0) {
            lanczos_take(lanczos);
        }
    }
    *finished = lanczos->finished;
    if (*finished && status == 0) {
        end_lanczos(landscape, &landscape->values.ntk);
    }
    return status;
}

/* Each proceeds by one micro-batch; landscape->begun is false the first time. */
static int (*const quantities[LANDSCAPE_QUANTITY_COUNT])(struct landscape *, const struct corpus *, const atomic_bool *, bool *,
                                                         struct error *) = {
    [LANDSCAPE_HESSIAN] = measure_hessian,
    [LANDSCAPE_PRECONDITIONED] = measure_preconditioned,
    [LANDSCAPE_TRACE] = measure_trace,
    [LANDSCAPE_NTK] = measure_ntk,
};

static void finish(struct landscape *landscape)
{
    const struct trial *trial = landscape->trial;
    struct landscape_values *values = &landscape->values;
    const struct stability stability = stability_of(&trial->options.training.optimizer,
                                                    stability_rate(&trial->options.training, trial->step),
                                                    values->preconditioned);
    values->stability_ratio = stability.ratio;
    values->safe_rate = stability.safe_rate;
    values->measured = true;
}

int landscape_advance(struct landscape *landscape, const struct corpus *train, uint64_t budget_tokens, const atomic_bool *stop,
                      bool *finished, struct error *error)
{
    const struct training *training = &landscape->trial->options.training;
    const uint64_t each = (uint64_t)landscape->scratch->rows * (uint64_t)training->context * HESSIAN_PASSES;
    uint64_t tokens = 0;
    *finished = false;
    while (landscape->quantity < LANDSCAPE_QUANTITY_COUNT) {
        bool done = !landscape_wants(&landscape->spec, (enum landscape_quantity)landscape->quantity);
        if (!done && stop != NULL && atomic_load_explicit(stop, memory_order_relaxed)) {
            return error_set(error, ERROR_CANCELLED, "The measurement of the landscape was stopped.");
        }
        if (tokens > 0 && tokens >= budget_tokens) {
            return 0;
        }
        if (!done) {
            int status = quantities[landscape->quantity](landscape, train, stop, &done, error);
            if (status != 0) {
                return status;
            }
            landscape->begun = true;
            tokens += each;
            FAULT_POINT(landscape_step);
        }
        if (done) {
            landscape->quantity++;
            landscape->begun = false;
        }
    }
    finish(landscape);
    *finished = true;
    return 0;
}

struct landscape_values landscape_answer(const struct landscape *landscape)
{
    return landscape->values;
}
