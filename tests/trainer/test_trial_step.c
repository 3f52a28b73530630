#include "tests/support/support.h"

#include <math.h>

#include "base/rng.h"
#include "tests/trainer/fixture.h"

/* ---- an independent trainer in double: plain loops, its own sampler, clip, AdamW and average ---- */

struct reference {
    const struct fixture *fixture;
    struct network *network;
    double *w, *m, *v, *average, *g;
    uint64_t *steps;
    double loss, norm;
};

static double *doubles_of(const float *from, size_t count)
{
    double *to = memory_array(count, sizeof *to);
    assert_non_null(to);
    for (size_t i = 0; from != NULL && i < count; i++) {
        to[i] = from[i];
    }
    return to;
}

static struct reference reference_new(const struct fixture *fixture)
{
    const struct checkpoint *checkpoint = &fixture->checkpoint;
    const struct training *training = &fixture->options.training;
    const struct moments *moments = checkpoint->moments;
    const size_t slab = checkpoint->table.slab;
    struct reference reference = {.fixture = fixture};
    struct error error = {0};
    assert_ok(network_new(&reference.network, kernels_ref_double(), &checkpoint->table, training->batch,
                          training->context, true, &error), &error);
    reference.w = doubles_of(checkpoint->weights, slab);
    reference.average = doubles_of(checkpoint->weights, slab);
    reference.m = doubles_of(moments != NULL ? moments->m : NULL, slab);
    reference.v = doubles_of(moments != NULL ? moments->v : NULL, slab);
    reference.g = doubles_of(NULL, slab);
    reference.steps = memory_array((size_t)checkpoint->table.count, sizeof(uint64_t));
    assert_non_null(reference.steps);
    for (int i = 0; moments != NULL && i < checkpoint->table.count; i++) {
        reference.steps[i] = moments->steps[i];
    }
    return reference;
}

static void reference_free(struct reference *reference)
{
    network_free(reference->network);
    memory_free(reference->w);
    memory_free(reference->m);
    memory_free(reference->v);
    memory_free(reference->average);
    memory_free(reference->g);
    memory_free(reference->steps);
}

/* The whole batch at once; rows straight from the bytes in memory. */
static void reference_gradient(struct reference *reference, uint64_t step)
{
    const struct fixture *fixture = reference->fixture;
    const struct training *training = &fixture->options.training;
    const int batch = training->batch, context = training->context;
    const uint64_t tokens = FIXTURE_TOKENS - FIXTURE_TOKENS / 10;
    int32_t *inputs = memory_array((size_t)(batch * context), sizeof *inputs);
    int32_t *targets = memory_array((size_t)(batch * context), sizeof *targets);
    struct rng rng = rng_stream(training->seed, fixture->options.seed_index, RNG_DATA);
    rng.position = step * (uint64_t)batch;
    for (int b = 0; b < batch; b++) {
        uint64_t start = (uint64_t)(((unsigned __int128)rng_u64(&rng) * (tokens - (uint64_t)context)) >> 64);
        if (fixture->options.sampler == SAMPLER_SEQUENTIAL) {
            start = (step * (uint64_t)batch + (uint64_t)b) * (uint64_t)context;
        }
        for (int t = 0; t < context; t++) {
            inputs[b * context + t] = fixture->tokens[(start + (uint64_t)t) % tokens];
            targets[b * context + t] = fixture->tokens[(start + (uint64_t)t + 1) % tokens];
        }
    }
    const struct batch rows = {.rows = batch, .context = context, .inputs = inputs, .targets = targets};
    const double count = (double)batch * context;
    memset(reference->g, 0, fixture->checkpoint.table.slab * sizeof(double));
    reference->loss = network_gradient(reference->network, reference->w, &rows, 1, reference->g) / count;
    double squares = 0;
    for (size_t i = 0; i < fixture->checkpoint.table.slab; i++) {
        reference->g[i] /= count;
        squares += reference->g[i] * reference->g[i];
    }
    reference->norm = sqrt(squares);
    memory_free(inputs);
    memory_free(targets);
}

/* By name, not by role: "h.1.attn.c_attn.weight" and the like. */
static bool name_is_hidden_matrix(const char *name)
{
    return strncmp(name, "h.", 2) == 0 && strstr(name, ".ln_") == NULL && strstr(name, ".weight") != NULL;
}

static double reference_rate(const struct training *t, uint64_t step)
{
    double rate = t->learning_rate;
    if (step < t->schedule.warmup_steps) {
        rate *= (double)(step + 1) / (double)t->schedule.warmup_steps;
    }
    if (t->schedule.name == SCHEDULE_WSD && step >= t->steps - t->schedule.decay_steps) {
        rate *= 1 - (double)(step - (t->steps - t->schedule.decay_steps)) / (double)t->schedule.decay_steps;
    }
    return rate;
}

static void reference_update(struct reference *r, uint64_t step)
{
    const struct trial_options *options = &r->fixture->options;
    const struct training *t = &options->training;
    const struct tensor_table *table = &r->fixture->checkpoint.table;
    const double clip = t->clip > 0 && t->clip / (r->norm + 1e-6) < 1 ? t->clip / (r->norm + 1e-6) : 1;
    for (int k = 0; k < table->count; k++) {
        const struct tensor *tensor = &table->tensors[k];
        const double b1 = t->optimizer.beta1, b2 = t->optimizer.beta2;
        const double n = (double)(++r->steps[k]);
        double rate = reference_rate(t, step);
        rate *= name_is_hidden_matrix(tensor->name) ? options->hidden_rate_scale : 1;
        const bool decays = strstr(tensor->name, ".weight") != NULL && strstr(tensor->name, "ln_") == NULL;
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            const double g = clip * r->g[i];
            r->w[i] -= decays ? rate * t->optimizer.weight_decay * r->w[i] : 0;
            r->m[i] = b1 * r->m[i] + (1 - b1) * g;
            r->v[i] = b2 * r->v[i] + (1 - b2) * g * g;
            const double m = r->m[i] / (1 - pow(b1, n)), v = r->v[i] / (1 - pow(b2, n));
            r->w[i] -= rate * m / (sqrt(v) + t->optimizer.epsilon);
        }
    }
    const double done = (double)step + 1;
    const double window = 1 / (t->average.fraction * done);
    const double c = t->average.kind == AVERAGE_EMA ? 1 - t->average.decay : window < 1 ? window : 1;
    for (size_t i = 0; i < table->slab; i++) {
        r->average[i] += c * (r->w[i] - r->average[i]);
    }
}

static double distance(const float *got, const double *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs(got[i] - expected[i]);
        largest = difference > largest || isnan(difference) ? difference : largest;
    }
    return largest;
}

/* Ten steps of both, compared in every weight, moment and loss. Key biases have no gradient but rounding noise, which
 * Adam would blow up to full steps: an epsilon far above the noise keeps the comparison meaningful. */
static void expect_reference(struct fixture *fixture, double bound)
{
    fixture->options.training.optimizer.epsilon = 1e-5;
    struct reference reference = reference_new(fixture);
    struct scratch *scratch = fixture_scratch(fixture);
    const size_t slab = fixture->checkpoint.table.slab;
    struct trial trial;
    fixture_start(fixture, &trial);
    for (uint64_t step = 0; step < 10; step++) {
        reference_gradient(&reference, step);
        reference_update(&reference, step);
        fixture_train(fixture, &trial, scratch, 1);
        assert_true(fabs(trial.last_loss - reference.loss) < 1e-5);
        assert_true(fabs(trial.last_gradient_norm - reference.norm) < 1e-4 * (1 + reference.norm));
    }
    assert_int_equal(trial.step, 10);
    assert_close(distance(trial.learners->weights, reference.w, slab), bound);
    assert_close(distance(trial.learners->state[0], reference.m, slab), 1e-7);
    assert_close(distance(trial.learners->state[1], reference.v, slab), 1e-7);
    if (trial.average != NULL) {
        assert_close(distance(trial.average, reference.average, slab), bound);
    }
    for (int k = 0; k < trial.table.count; k++) {
        assert_int_equal(trial.learners->tensor_steps[k], reference.steps[k]);
    }
    trial_fini(&trial);
    scratch_free(scratch);
    reference_free(&reference);
}

static struct fixture *plain_fixture(const struct kernels *kernels)
{
    const struct shape shape = fixture_shape();
    return fixture_new(kernels, &shape);
}

static void ten_steps_equal_a_trainer_in_double(void **state)
{
    (void)state;
    const struct kernels *bodies[2] = {kernels_ref_float(), kernels_cpu()};
    for (int i = 0; i < 2; i++) {
        struct fixture *fixture = plain_fixture(bodies[i]);
        expect_reference(fixture, 2e-6);
        fixture_free(fixture);
    }
}

static void an_untied_head_trains_too(void **state)
{
    (void)state;
    struct shape shape = fixture_shape();
    shape.tied = false;
    struct fixture *fixture = fixture_new(kernels_cpu(), &shape);
    expect_reference(fixture, 2e-6);
    fixture_free(fixture);
}

static void a_batch_of_several_micro_batches_is_one_mean(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    fixture->options.training.batch = 300;   /* 2400 tokens: micro-batches of 256 and 44 rows */
    expect_reference(fixture, 2e-6);
    fixture_free(fixture);
}

static void every_option_of_an_update_matches_the_double_trainer(void **state)
{
    (void)state;
    struct {
        const char *what;
        double clip, hidden, decay;
        enum sampler sampler;
        enum average_kind average;
    } cases[] = {
        {"no clip", 0, 1, 0.1, SAMPLER_RANDOM, AVERAGE_WINDOW},
        {"tight clip", 0.05, 1, 0.1, SAMPLER_RANDOM, AVERAGE_NONE},
        {"hidden rates halved", 1, 0.5, 0.1, SAMPLER_RANDOM, AVERAGE_EMA},
        {"strong decay", 1, 1, 5, SAMPLER_SEQUENTIAL, AVERAGE_WINDOW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].what);
        struct fixture *fixture = plain_fixture(kernels_cpu());
        struct training *training = &fixture->options.training;
        training->steps = 12;
        training->schedule.name = SCHEDULE_WSD;
        training->schedule.decay_steps = 6;
        training->clip = cases[i].clip;
        training->optimizer.weight_decay = cases[i].decay;
        training->average.kind = cases[i].average;
        training->average.decay = 0.8;
        fixture->options.hidden_rate_scale = cases[i].hidden;
        fixture->options.sampler = cases[i].sampler;
        fixture->options.seed_index = i;
        expect_reference(fixture, 2e-6);
        fixture_free(fixture);
    }
}

static void carried_moments_go_on_with_their_own_counters(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    struct error error = {0};
    assert_ok(checkpoint_set_moments(&fixture->checkpoint, MOMENTS_ADAM, &error), &error);
    const struct tensor_table *table = &fixture->checkpoint.table;
    struct moments *moments = fixture->checkpoint.moments;
    for (int k = 0; k < table->count; k += 2) {
        const struct tensor *tensor = &table->tensors[k];
        moments->steps[k] = 1000 + (uint64_t)k;
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            moments->m[i] = 1e-3f * (float)((int)(i % 7) - 3);
            moments->v[i] = 1e-5f * (float)(i % 5 + 1);
        }
    }
    expect_reference(fixture, 2e-6);
    fixture_free(fixture);
}

/* The trap: zero moments corrected as if they were 1000 steps old make a first update of 3.16 rates. */
static void a_new_tensor_beside_an_old_one_steps_by_one_rate(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    struct training *training = &fixture->options.training;
    struct error error = {0};
    assert_ok(checkpoint_set_moments(&fixture->checkpoint, MOMENTS_ADAM, &error), &error);
    training->optimizer.beta2 = 0.999;
    training->optimizer.epsilon = 1e-12;
    training->optimizer.weight_decay = 0;
    training->schedule.warmup_steps = 0;
    training->clip = 0;
    const struct tensor *fresh = tensor_find(&fixture->checkpoint.table, "h.0.mlp.c_fc.weight");
    const struct tensor *stale = tensor_find(&fixture->checkpoint.table, "h.1.mlp.c_fc.weight");
    const struct tensor *tensors = fixture->checkpoint.table.tensors;
    fixture->checkpoint.moments->steps[stale - tensors] = 1000;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 1);
    const float *after = trial.learners->weights, *before = fixture->checkpoint.weights;
    const double of_fresh = largest_difference(after + fresh->offset, before + fresh->offset, fresh->count);
    const double of_stale = largest_difference(after + stale->offset, before + stale->offset, stale->count);
    assert_near(of_fresh / training->learning_rate, 1, 1e-3);
    /* (1 - b1) / sqrt(1 - b2) times sqrt(1 - b2^1001) / (1 - b1^1001) */
    assert_near(of_stale / training->learning_rate, 0.1 / sqrt(0.001) * sqrt(1 - pow(0.999, 1001)), 3e-3);
    assert_int_equal(trial.learners->tensor_steps[fresh - tensors], 1);
    assert_int_equal(trial.learners->tensor_steps[stale - tensors], 1001);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void the_average_begins_as_a_copy_of_the_weights(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    struct scratch *scratch = fixture_scratch(fixture);
    const size_t slab = fixture->checkpoint.table.slab;
    struct trial trial;
    fixture_start(fixture, &trial);
    assert_memory_equal(trial.average, fixture->checkpoint.weights, slab * sizeof(float));
    fixture_train(fixture, &trial, scratch, 5);   /* c_t = 1 up to t = 5 */
    assert_close(largest_difference(trial.average, trial.learners->weights, slab), 1e-7);
    fixture_train(fixture, &trial, scratch, 5);
    assert_true(largest_difference(trial.average, trial.learners->weights, slab) > 1e-4);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void training_lowers_the_loss(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    fixture->options.training.learning_rate = 1e-2;
    fixture->options.training.steps = 400;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 1);
    const double first = trial.last_loss;
    assert_near(first, log(FIXTURE_VOCABULARY), 0.2);
    fixture_train(fixture, &trial, scratch, 199);
    assert_true(trial.last_loss < first - 2);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

TEST_MAIN(cmocka_unit_test(ten_steps_equal_a_trainer_in_double),
          cmocka_unit_test(an_untied_head_trains_too),
          cmocka_unit_test(a_batch_of_several_micro_batches_is_one_mean),
          cmocka_unit_test(every_option_of_an_update_matches_the_double_trainer),
          cmocka_unit_test(carried_moments_go_on_with_their_own_counters),
          cmocka_unit_test(a_new_tensor_beside_an_old_one_steps_by_one_rate),
          cmocka_unit_test(the_average_begins_as_a_copy_of_the_weights),
          cmocka_unit_test(training_lowers_the_loss))
