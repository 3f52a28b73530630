/* Training by a law. Two independent definitions of correct: a symmetric width clone must train exactly as its parent does
 * under mup, copy by copy; and a model whose stored weights are behind explicit multipliers, trained in plain double loops with
 * the rates, decays and epsilons that the papers give, must follow the same trajectory. */
#include "tests/support/support.h"

#include <math.h>

#include "tests/growth/fixture.h"
#include "tests/trainer/family_worlds.h"
#include "trainer/optimizer.h"

enum { STEPS = 8 };

static const enum optimizer_name OPTIMIZERS[] = {OPTIMIZER_ADAMW, OPTIMIZER_SGD, OPTIMIZER_SCHEDULE_FREE_ADAMW,
                                                 OPTIMIZER_SCHEDULE_FREE_SGD};
enum { OPTIMIZERS_TRIED = sizeof OPTIMIZERS / sizeof *OPTIMIZERS };

/* Epsilon is of the size of gradients: a wrong one shows. */
static struct fixture *world_open(const struct family_world *family, enum optimizer_name optimizer)
{
    struct fixture *fixture = family_fixture(family, kernels_cpu(), 4);
    struct training *training = &fixture->options.training;
    training->average.kind = AVERAGE_NONE;
    training->optimizer = optimizer_defaults(optimizer);
    training->optimizer.epsilon = 1e-3;
    training->optimizer.weight_decay = 0.1;
    training->learning_rate = 0.01;
    training->clip = 0;
    training->schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = 2};
    return fixture;
}

static void train_from(const struct fixture *fixture, const struct trial_options *options, const struct checkpoint *from,
                       struct checkpoint *after)
{
    struct trial trial;
    struct scratch *scratch;
    struct error error = {0};
    assert_ok(trial_init(&trial, from, options, &error), &error);
    assert_ok(scratch_new(&scratch, options->kernels, &trial.table, &options->training, &error), &error);
    fixture_train(fixture, &trial, scratch, STEPS);
    assert_false(trial.diverged);
    assert_ok(checkpoint_init(after, &from->table.shape, &error), &error);
    assert_ok(trial_export(&trial, after, &error), &error);
    scratch_free(scratch);
    trial_fini(&trial);
}

/* ---- clones ---- */

static void clone_of(const struct checkpoint *parent, struct checkpoint *grown)
{
    struct growth_list list;
    one_step(&list, "hyperclone", "width", 2 * parent->table.shape.width);
    set_null(&list, 0, "noise_db");
    grow_with(parent, &list, MOMENTS_RESET, 1, grown);
    growth_list_fini(&list);
}

/* Largest distance between the clone that was trained and the clone of the parent that was trained, over the largest
 * change. */
static double clone_distance(const struct fixture *fixture, struct trial_options options,
                             enum parametrization parametrization)
{
    struct checkpoint grown, trained, parent, expected;
    double moved = 0, apart = 0;
    train_from(fixture, &options, &fixture->checkpoint, &parent);
    clone_of(&parent, &expected);
    clone_of(&fixture->checkpoint, &grown);
    options.training.parametrization = parametrization;
    options.base = fixture->checkpoint.table.shape;
    train_from(fixture, &options, &grown, &trained);
    for (size_t i = 0; i < grown.table.slab; i++) {
        moved = fmax(moved, fabs((double)expected.weights[i] - (double)grown.weights[i]));
        apart = fmax(apart, fabs((double)expected.weights[i] - (double)trained.weights[i]));
    }
    checkpoint_fini(&grown);
    checkpoint_fini(&trained);
    checkpoint_fini(&parent);
    checkpoint_fini(&expected);
    return apart / moved;
}

static void a_clone_under_mup_trains_exactly_as_its_parent(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++)
        for (int o = 0; o < OPTIMIZERS_TRIED; o++) {
            struct fixture *fixture = world_open(&family_worlds[f], OPTIMIZERS[o]);
            double mup = clone_distance(fixture, fixture->options, PARAMETRIZATION_MUP);
            double completep = clone_distance(fixture, fixture->options, PARAMETRIZATION_COMPLETEP);
            double standard = clone_distance(fixture, fixture->options, PARAMETRIZATION_STANDARD);
            double ntp = clone_distance(fixture, fixture->options, PARAMETRIZATION_NTP);
            print_message("%-16s optimizer %d: mup %.1e (5e-5), standard %.2f, ntp %.2f\n", family_worlds[f].title, o, mup,
                          standard, ntp);
            assert_true(mup < 5e-5 && completep == mup);
            assert_true(standard > 0.1 && ntp > 0.1);
            fixture_free(fixture);
        }
}

/* ---- explicit multipliers ---- */

struct explicit_rule { double multiplier, rate, decay, epsilon; };

static bool name_has(const char *name, const char *const *pieces)
{
    for (; *pieces != NULL; pieces++)
        if (strstr(name, *pieces) != NULL)
            return true;
    return false;
}

static const char *const TABLES[] = {"wte", "wpe", "embed_tokens", "shared", "_embeddings", "relative_attention_bias", NULL};
static const char *const READOUTS[] = {"lm_head", "block_sparse_moe.gate", NULL};
static const char *const FINAL_NORMS[] = {"ln_f", "transform.LayerNorm", "decoder.final_layer_norm", NULL};
static const char *const WRITERS[] = {"c_proj", "o_proj", "down_proj", ".w2.", ".o.weight", ".wo.weight",
                                      "output.dense", NULL};
static const char *const BLOCKS[] = {"h.", "layers.", "layer.", "block.", NULL};

/* Methods 4.4 and 4.5 for widths twice the base's and stacks `depth` times as high, by names: of the parameters that the papers
 * train. */
static struct explicit_rule explicit_rule(enum parametrization parametrization, bool adaptive, const struct shape *shape,
                                          const struct tensor *tensor, double depth)
{
    const char *name = tensor->name;
    const double m = 2;
    const bool in_block = tensor->layer >= 0 && name_has(name, BLOCKS);
    const bool final_norm = shape->tied && (name_has(name, FINAL_NORMS) || strcmp(name, "norm.weight") == 0);
    const bool readout = final_norm || name_has(name, READOUTS);
    const bool vector = tensor->row->rank == 1 || name_has(name, TABLES);
    struct explicit_rule rule = {1, 1, 1, 1};
    if (strcmp(name, "cls.predictions.bias") == 0)
        return rule;
    if (parametrization == PARAMETRIZATION_NTP) {
        rule.multiplier = readout ? (shape->scaled_head ? 1 : 1 / sqrt(m)) : vector ? 1 : 1 / sqrt(m);
        return rule;
    }
    rule.multiplier = readout ? (shape->scaled_head ? 1 / sqrt(m) : 1 / m) : 1;
    rule.epsilon = 1 / m;
    if (adaptive && !vector && !readout)
        rule.rate = 1 / m, rule.decay = m;
    if (!adaptive && (vector || readout))
        rule.rate = m, rule.decay = 1 / m;
    if (parametrization == PARAMETRIZATION_COMPLETEP && in_block) {
        rule.epsilon /= depth;
        rule.multiplier *= name_has(name, WRITERS) && !strstr(name, "LayerNorm") ? 1 / depth : 1;
        if (!adaptive)
            rule.rate *= depth, rule.decay /= depth;
    }
    return rule;
}

struct explicit_run {
    const struct trial_options *options;
    const struct tensor_table *table;
    struct explicit_rule *rules;
    double *w, *m, *v;
    float *effective;
};

static void explicit_init(struct explicit_run *run, const struct trial_options *options, const struct checkpoint *from)
{
    const struct tensor_table *table = &from->table;
    const bool adaptive = options->training.optimizer.name == OPTIMIZER_ADAMW;
    *run = (struct explicit_run){.options = options, .table = table};
    run->rules = memory_array((size_t)table->count, sizeof *run->rules);
    run->w = memory_array(table->slab, sizeof *run->w);
    run->m = memory_array(table->slab, sizeof *run->m);
    run->v = memory_array(table->slab, sizeof *run->v);
    run->effective = memory_array(table->slab, sizeof *run->effective);
    assert_true(run->rules && run->w && run->m && run->v && run->effective);
    for (int t = 0; t < table->count; t++) {
        const struct tensor *tensor = &table->tensors[t];
        const bool decoder = strncmp(tensor->name, "decoder.", 8) == 0;
        const double depth = decoder ? (double)table->shape.decoder_layers / options->base.decoder_layers
                                     : (double)table->shape.layers / options->base.layers;
        run->rules[t] = explicit_rule(options->training.parametrization, adaptive, &table->shape, tensor, depth);
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
            run->w[i] = (double)from->weights[i] / run->rules[t].multiplier;
    }
}

static void explicit_fini(struct explicit_run *run)
{
    memory_free(run->rules);
    memory_free(run->w);
    memory_free(run->m);
    memory_free(run->v);
    memory_free(run->effective);
}

/* What the model multiplies by: float32 as the network's. */
static const float *explicit_weights(struct explicit_run *run)
{
    for (int t = 0; t < run->table->count; t++) {
        const struct tensor *tensor = &run->table->tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
            run->effective[i] = (float)(run->rules[t].multiplier * run->w[i]);
    }
    return run->effective;
}

static void explicit_update(struct explicit_run *run, const float *gradients, double scale, double rate, int step)
{
    const struct training *training = &run->options->training;
    const struct optimizer_spec *spec = &training->optimizer;
    double squares = 0, norm, clip;
    for (int t = 0; t < run->table->count; t++) {
        const struct tensor *tensor = &run->table->tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
            squares += pow(scale * run->rules[t].multiplier * (double)gradients[i], 2);
    }
    norm = sqrt(squares);
    clip = training->clip > 0 && training->clip / (norm + 1e-6) < 1 ? training->clip / (norm + 1e-6) : 1;
    for (int t = 0; t < run->table->count; t++) {
        const struct tensor *tensor = &run->table->tensors[t];
        const struct explicit_rule *rule = &run->rules[t];
        const double eta = rate * rule->rate, decay = tensor->row->rank == 2 ? spec->weight_decay * rule->decay : 0;
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            double g = clip * scale * rule->multiplier * (double)gradients[i];
            if (spec->name == OPTIMIZER_SGD) {
                g += decay * run->w[i];
                run->m[i] = step == 1 ? g : spec->momentum * run->m[i] + g;
                run->w[i] -= eta * run->m[i];
                continue;
            }
            run->w[i] -= eta * decay * run->w[i];
            run->m[i] = spec->beta1 * run->m[i] + (1 - spec->beta1) * g;
            run->v[i] = spec->beta2 * run->v[i] + (1 - spec->beta2) * g * g;
            run->w[i] -= eta * run->m[i] / (1 - pow(spec->beta1, step)) /
                         (sqrt(run->v[i] / (1 - pow(spec->beta2, step))) + spec->epsilon * rule->epsilon);
        }
    }
}

/* A model of twice the widths and more blocks, drawn afresh, trained both ways; largest distance of the effective weights,
 * relative where they are above 1. */
static double explicit_distance(const struct family_world *family, enum optimizer_name optimizer,
                                enum parametrization parametrization)
{
    struct family_world wide = *family;
    wide.shape.width *= 2, wide.shape.heads *= 2, wide.shape.kv_heads *= 2, wide.shape.ff *= 2, wide.shape.layers *= 2;
    wide.shape.decoder_layers *= 3;
    struct fixture *fixture = world_open(&wide, optimizer);
    struct trial_options *options = &fixture->options;
    struct scratch *scratch = fixture_scratch(fixture);
    struct explicit_run run;
    struct error error = {0};
    struct trial trial;
    double apart = 0;
    options->base = family->shape;
    options->training.parametrization = parametrization;
    options->training.clip = 0.5;      /* below the norms there are */
    explicit_init(&run, options, &fixture->checkpoint);
    fixture_start(fixture, &trial);
    for (int step = 0; step < STEPS; step++) {
        const struct batch_place place = {.training = &options->training, .sampler = options->sampler,
                                          .data_step = (uint64_t)step};
        struct gradient_sum sum;
        assert_ok(gradient_of_batch(&place, explicit_weights(&run), scratch, &fixture->train, NULL, &sum, &error), &error);
        explicit_update(&run, scratch->gradients, sum.scale, schedule_rate(&options->training, (uint64_t)step), step + 1);
        fixture_train(fixture, &trial, scratch, 1);
    }
    const float *one = explicit_weights(&run), *other = trial.learners->weights;
    for (size_t i = 0; i < trial.table.slab; i++)      /* t5's embeddings reach 4: float32 has 5e-7 there */
        apart = fmax(apart, fabs((double)one[i] - (double)other[i]) / fmax(1, fabs((double)one[i])));
    trial_fini(&trial);
    explicit_fini(&run);
    scratch_free(scratch);
    fixture_free(fixture);
    return apart;
}

static void a_law_is_the_same_as_an_explicit_multiplier(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++)
        for (int o = 0; o < 2; o++)
            for (int p = PARAMETRIZATION_MUP; p < PARAMETRIZATION_COUNT; p++) {
                print_message("%s, optimizer %d, %s\n", family_worlds[f].title, o,
                              parametrization_name((enum parametrization)p));
                assert_close(explicit_distance(&family_worlds[f], OPTIMIZERS[o], (enum parametrization)p), 1e-6);
            }
}

/* ---- saved and resumed ---- */

static void start_wide(struct fixture *fixture, struct checkpoint *grown, enum parametrization parametrization,
                       struct trial *trial)
{
    struct error error = {0};
    fixture->options.training.parametrization = parametrization;
    fixture->options.base = fixture->checkpoint.table.shape;
    assert_ok(trial_init(trial, grown, &fixture->options, &error), &error);
}

static void twelve_steps_resume_at_six_bit_for_bit_and_differ_from_standard(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++)
        for (int p = PARAMETRIZATION_MUP; p < PARAMETRIZATION_COUNT; p++) {
            struct fixture *fixture = world_open(&family_worlds[f], OPTIMIZER_ADAMW);
            struct trial whole, half, plain;
            struct checkpoint grown;
            struct scratch *scratch;
            struct error error = {0};
            char path[FILE_PATH_BYTES];
            clone_of(&fixture->checkpoint, &grown);
            assert_ok(scratch_new(&scratch, kernels_cpu(), &grown.table, &fixture->options.training, &error), &error);
            start_wide(fixture, &grown, PARAMETRIZATION_STANDARD, &plain);
            fixture_train(fixture, &plain, scratch, 12);
            start_wide(fixture, &grown, (enum parametrization)p, &whole);
            fixture_train(fixture, &whole, scratch, 6);
            assert_ok(trial_save(&whole, test_path(path, fixture->directory, "trial"), &error), &error);
            fixture_train(fixture, &whole, scratch, 6);
            assert_ok(trial_init_empty(&half, &grown.table.shape, &fixture->options, &error), &error);
            assert_ok(trial_load(&half, path, &error), &error);
            fixture_train(fixture, &half, scratch, 6);
            assert_trials_equal(&whole, &half);
            assert_true(largest_difference(whole.learners->weights, plain.learners->weights, grown.table.slab) > 1e-4);
            assert_fails(trial_load(&plain, path, &error), ERROR_DAMAGED, &error);
            assert_contains(error.message, "other training values");
            trial_fini(&plain);
            trial_fini(&half);
            trial_fini(&whole);
            scratch_free(scratch);
            checkpoint_fini(&grown);
            fixture_free(fixture);
        }
}

static void at_the_base_every_parametrization_trains_as_standard(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++)
        for (int o = 0; o < OPTIMIZERS_TRIED; o++) {
            struct fixture *fixture = world_open(&family_worlds[f], OPTIMIZERS[o]);
            struct scratch *scratch = fixture_scratch(fixture);
            struct trial plain, other;
            fixture_start(fixture, &plain);
            fixture_train(fixture, &plain, scratch, 4);
            for (int p = PARAMETRIZATION_MUP; p < PARAMETRIZATION_COUNT; p++) {
                fixture->options.training.parametrization = (enum parametrization)p;
                fixture_start(fixture, &other);
                fixture_train(fixture, &other, scratch, 4);
                assert_trials_equal(&plain, &other);
                trial_fini(&other);
            }
            trial_fini(&plain);
            scratch_free(scratch);
            fixture_free(fixture);
        }
}

TEST_MAIN(cmocka_unit_test(a_clone_under_mup_trains_exactly_as_its_parent),
          cmocka_unit_test(a_law_is_the_same_as_an_explicit_multiplier),
          cmocka_unit_test(twelve_steps_resume_at_six_bit_for_bit_and_differ_from_standard),
          cmocka_unit_test(at_the_base_every_parametrization_trains_as_standard))
