/* Fitting ligo: the loss falls below that of the map it began with, in every family; same arguments, same bytes; nothing leaks
 * whichever allocation fails; it can be stopped; moments. */
#include "tests/trainer/family_worlds.h"

#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "growth/stage.h"
#include "trainer/ligo_fit.h"

/* A model that was trained a little, what it grows to, and how. */
struct fit_world {
    struct fixture *fixture;
    struct growth_list list;
    struct growth_plan plan;
    struct ligo_fit fit;
};

/* Long enough to have learned something, not all there is. Post-norm models are slow, and few tokens are masked. */
enum { PARENT_STEPS = 30, PARENT_BATCH = 8, BERT_STEPS = 400, BERT_BATCH = 48, FIT_STEPS = 40 };

static void set_value(struct growth_list *list, const char *name, int64_t integer)
{
    struct growth_step *step = &list->steps[list->count - 1];
    struct parameter_value *value = (struct parameter_value *)growth_step_value(step, name);
    assert_non_null(value);
    value->given = value->present = true;
    value->integer = integer;
}

static void add_ligo(struct growth_list *list, int layers, int width, int steps)
{
    list->steps[list->count++] = (struct growth_step){.op = growth_operator_find("ligo")};
    set_value(list, "steps", steps);
    if (layers > 0)
        set_value(list, "layers", layers);
    if (width > 0)
        set_value(list, "width", width);
}

static void fit_world_open(struct fit_world *world, const struct family_world *family, int steps)
{
    struct error error = {0};
    struct trial trial;
    bool slow = family->shape.family == FAMILY_BERT;
    *world = (struct fit_world){.fixture = family_fixture(family, kernels_cpu(), slow ? BERT_BATCH : PARENT_BATCH)};
    struct fixture *fixture = world->fixture;
    fixture->options.training.learning_rate = 1e-2;
    fixture_start(fixture, &trial);
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_train(fixture, &trial, scratch, slow ? BERT_STEPS : PARENT_STEPS);
    assert_ok(trial_export(&trial, &fixture->checkpoint, &error), &error);
    scratch_free(scratch);
    trial_fini(&trial);
    const struct shape *shape = &family->shape;
    add_ligo(&world->list, 2 + (shape->decoder_layers > 0 ? 3 : shape->layers), shape->width + shape->head_size, steps);
    assert_ok(growth_plan_init(&world->plan, shape, &world->list, &error), &error);
    world->fit = (struct ligo_fit){.kernels = kernels_cpu(), .training = fixture->options.training,
                                   .sampler = SAMPLER_RANDOM, .train = &fixture->train};
}

static void fit_world_close(struct fit_world *world)
{
    growth_plan_fini(&world->plan);
    growth_list_fini(&world->list);
    fixture_free(world->fixture);
}

static int fit_grow(struct fit_world *world, enum moments_policy moments, struct checkpoint *grown, struct error *error)
{
    const struct growth_learner learner = ligo_fit_learner(&world->fit);
    const struct growth_options options = {.moments = moments, .seed = 5, .learner = &learner};
    return growth_apply_with(&world->plan, &world->list, &world->fixture->checkpoint, &options, grown, error);
}

static void fit_ok(struct fit_world *world, enum moments_policy moments, struct checkpoint *grown)
{
    struct error error = {0};
    assert_ok(fit_grow(world, moments, grown, &error), &error);
}

static double valid_loss(const struct fit_world *world, const struct checkpoint *checkpoint)
{
    const struct corpus *valid = &world->fixture->valid;
    const struct windows windows = windows_of(valid, 8, 200);
    float losses[64];
    struct error error = {0};
    struct evaluated evaluated = {
        .kernels = kernels_cpu(), .checkpoint = checkpoint, .valid = valid, .windows = &windows,
        .objective = &world->fixture->options.training.objective, .seed = 1,
    };
    assert_true(windows.count <= 64);
    assert_ok(evaluate_weights(&evaluated, losses, &error), &error);
    return loss_summarize(losses, windows.count).mean;
}

/* A fit whose rate is 0 leaves the map as it began. */
static void fitting_lowers_the_loss_in_every_family(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILY_WORLDS; i++) {
        struct fit_world world;
        struct checkpoint start, grown;
        fit_world_open(&world, &family_worlds[i], FIT_STEPS);
        const double rate = world.fit.training.learning_rate;
        world.fit.training.learning_rate = 0;
        fit_ok(&world, MOMENTS_RESET, &start);
        world.fit.training.learning_rate = rate;
        fit_ok(&world, MOMENTS_RESET, &grown);
        const double before = valid_loss(&world, &start), after = valid_loss(&world, &grown);
        print_message("%s: parent %.4f, start %.4f, fitted %.4f\n", family_worlds[i].title,
                      valid_loss(&world, &world.fixture->checkpoint), before, after);
        assert_int_equal(world.fit.steps_done, FIT_STEPS);
        assert_true(after < before - 0.05);
        checkpoint_fini(&start);
        checkpoint_fini(&grown);
        fit_world_close(&world);
    }
}

static void the_same_arguments_give_the_same_bytes(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint a, b, other;
    fit_world_open(&world, &family_worlds[1], 5);
    fit_ok(&world, MOMENTS_RESET, &a);
    fit_ok(&world, MOMENTS_RESET, &b);
    assert_string_equal(a.hash, b.hash);
    assert_memory_equal(a.weights, b.weights, a.table.slab * sizeof(float));
    world.fit.training.seed++;     /* other batches; the map's start comes from the seed that growing was given */
    fit_ok(&world, MOMENTS_RESET, &other);
    assert_string_not_equal(a.hash, other.hash);
    checkpoint_fini(&a);
    checkpoint_fini(&b);
    checkpoint_fini(&other);
    fit_world_close(&world);
}

/* Batches behind the horizon: with the horizon the batches of the fit change, training's do not. */
static void it_reads_what_training_does_not(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint a, b;
    fit_world_open(&world, &family_worlds[0], 2);
    fit_ok(&world, MOMENTS_RESET, &a);
    world.fit.training.steps += 2;
    fit_ok(&world, MOMENTS_RESET, &b);
    assert_string_not_equal(a.hash, b.hash);
    checkpoint_fini(&a);
    checkpoint_fini(&b);
    fit_world_close(&world);
}

static void moments_start_anew_whatever_is_asked_for(void **state)
{
    (void)state;
    static const enum moments_policy policies[] = {MOMENTS_CARRY, MOMENTS_OLD_ONLY};
    struct fit_world world;
    fit_world_open(&world, &family_worlds[0], 1);
    for (int p = 0; p < 2; p++) {
        struct checkpoint grown;
        fit_ok(&world, policies[p], &grown);
        assert_non_null(grown.moments);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *tensor = &grown.table.tensors[t];
            assert_int_equal(grown.moments->steps[t], 0);
            for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
                assert_true(grown.moments->m[i] == 0 && grown.moments->v[i] == 0);
        }
        checkpoint_fini(&grown);
    }
    fit_world_close(&world);
}

static void a_list_may_grow_before_and_after_it(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint grown;
    struct error error = {0};
    fit_world_open(&world, &family_worlds[0], 3);
    growth_plan_fini(&world.plan);
    growth_list_fini(&world.list);
    world.list.steps[world.list.count++] = (struct growth_step){.op = growth_operator_find("stack")};
    set_value(&world.list, "layers", 5);
    add_ligo(&world.list, 0, 24, 3);
    world.list.steps[world.list.count++] = (struct growth_step){.op = growth_operator_find("identity")};
    set_value(&world.list, "layers", 6);
    add_ligo(&world.list, 7, 0, 2);
    assert_ok(growth_plan_init(&world.plan, &world.fixture->checkpoint.table.shape, &world.list, &error), &error);
    fit_ok(&world, MOMENTS_RESET, &grown);
    assert_int_equal(grown.table.shape.layers, 7);
    assert_int_equal(grown.table.shape.width, 24);
    assert_true(isfinite(valid_loss(&world, &grown)));
    struct fit_need need;
    struct candidate_need all;
    assert_ok(ligo_fit_measure(&world.plan, &world.fit.training, kernels_cpu(), &need, &error), &error);
    assert_ok(candidate_measure(&world.plan, &world.fit.training, kernels_cpu(), &all, &error), &error);
    const double tokens = (double)world.fit.training.batch * world.fit.training.context;
    const double first = objective_flops_per_token(&world.fit.training.objective, &world.plan.stages[1].to,
                                                   world.fit.training.context);
    const double second = objective_flops_per_token(&world.fit.training.objective, &world.plan.stages[3].to,
                                                    world.fit.training.context);
    assert_true(need.flops > tokens * (3 * first + 2 * second));     /* and the map's own */
    assert_true(need.flops < 2 * tokens * (3 * first + 2 * second));
    assert_true(all.growth_flops == need.flops);
    assert_true(all.bytes >= need.bytes && all.bytes >= trial_bytes(&world.plan.to, &world.fit.training));
    checkpoint_fini(&grown);
    fit_world_close(&world);
}

static void noise_comes_after_the_fit(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint plain, noisy;
    fit_world_open(&world, &family_worlds[0], 1);
    fit_ok(&world, MOMENTS_RESET, &plain);
    world.plan.stages[0].blend = 0.5;
    fit_ok(&world, MOMENTS_RESET, &noisy);
    for (int t = 0; t < plain.table.count; t++) {
        const struct tensor *tensor = &plain.table.tensors[t];
        bool same = memcmp(plain.weights + tensor->offset, noisy.weights + tensor->offset,
                           tensor->count * sizeof(float)) == 0;
        assert_int_equal(same, tensor->row->rank == 1);
    }
    checkpoint_fini(&plain);
    checkpoint_fini(&noisy);
    fit_world_close(&world);
}

static void it_stops_when_told(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint grown;
    struct error error = {0};
    atomic_bool stop = true;
    fit_world_open(&world, &family_worlds[0], 5);
    world.fit.stop = &stop;
    assert_fails(fit_grow(&world, MOMENTS_RESET, &grown, &error), ERROR_CANCELLED, &error);
    fit_world_close(&world);
}

/* What is not finite ends the fit, and the grown model stays what it was until then. */
static void a_loss_that_is_not_finite_ends_the_fit(void **state)
{
    (void)state;
    struct fit_world world;
    struct checkpoint grown;
    fit_world_open(&world, &family_worlds[0], 5);
    struct checkpoint *parent = &world.fixture->checkpoint;
    for (size_t i = 0; i < parent->table.slab; i++)
        parent->weights[i] *= 1e30f;
    fit_ok(&world, MOMENTS_RESET, &grown);
    assert_int_equal(world.fit.steps_done, 0);
    checkpoint_fini(&grown);
    fit_world_close(&world);
}

#ifdef LAG_FAULTS
static void no_failing_allocation_leaks(void **state)
{
    (void)state;
    struct fit_world world;
    int64_t n = 1;
    fit_world_open(&world, &family_worlds[7], 1);
    for (bool failed = true; failed; n++) {
        struct checkpoint grown;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = fit_grow(&world, MOMENTS_CARRY, &grown, &error);
        failed = fault_count(FAULT_ALLOC) >= n;
        fault_arm(FAULT_ALLOC, 0);
        if (code == 0)
            checkpoint_fini(&grown);
        assert_int_equal(code, failed ? ERROR_NO_MEMORY : 0);
    }
    assert_true(n > 25);
    for (bool failed = (n = 1, true); failed; n++) {
        struct candidate_need need;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = candidate_measure(&world.plan, &world.fit.training, kernels_cpu(), &need, &error);
        failed = fault_count(FAULT_ALLOC) >= n;
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(code, failed ? ERROR_NO_MEMORY : 0);
    }
    fit_world_close(&world);
}
#endif

TEST_MAIN(cmocka_unit_test(fitting_lowers_the_loss_in_every_family),
          cmocka_unit_test(the_same_arguments_give_the_same_bytes),
          cmocka_unit_test(it_reads_what_training_does_not),
          cmocka_unit_test(moments_start_anew_whatever_is_asked_for),
          cmocka_unit_test(a_list_may_grow_before_and_after_it),
          cmocka_unit_test(noise_comes_after_the_fit),
          cmocka_unit_test(it_stops_when_told),
          cmocka_unit_test(a_loss_that_is_not_finite_ends_the_fit),
          cmocka_unit_test(no_failing_allocation_leaks))
