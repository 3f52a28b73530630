/* The coordinate check on a tiny grid: mup keeps the size of updates over widths, completep over depths too; standard and ntp
 * fail it. Everything is drawn from fixed seeds. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "trainer/coordcheck.h"

static struct shape base_shape(enum family family)
{
    struct shape shape = {
        .family = family, .layers = 2, .width = 32, .heads = 2, .kv_heads = 2, .head_size = 16, .ff = 64, .context = 16,
        .vocabulary = 48, .tied = family != FAMILY_LLAMA, .norm_epsilon = 1e-5, .activation = ACTIVATION_GELU_TANH,
    };
    if (family == FAMILY_LLAMA)
        shape.rope = (struct rope){.theta = 1e4}, shape.activation = ACTIVATION_SILU;
    if (family == FAMILY_BERT)
        shape.types = 2, shape.activation = ACTIVATION_GELU_ERF;
    if (family == FAMILY_T5)
        shape.decoder_layers = 2, shape.scaled_head = true, shape.buckets = 8, shape.bucket_distance = 12,
        shape.activation = ACTIVATION_RELU;
    return shape;
}

static struct coordcheck_options options_of(enum family family, enum parametrization parametrization,
                                            enum optimizer_name optimizer, enum coordcheck_axis axis)
{
    struct coordcheck_options options = {
        .kernels = kernels_cpu(), .base = base_shape(family), .axis = axis, .sizes = {32, 64, 128}, .size_count = 3,
        .parametrization = parametrization, .optimizer = optimizer, .learning_rate = optimizer == OPTIMIZER_SGD ? 0.1 : 1e-3,
        .steps = 3, .seeds = 4, .seed = 1, .tolerance = 0.2,
    };
    if (axis == COORDCHECK_DEPTHS)
        options.sizes[0] = 2, options.sizes[1] = 4, options.sizes[2] = 8;
    return options;
}

static void run(const struct coordcheck_options *options, struct coordcheck *check)
{
    struct error error = {0};
    assert_ok(coordcheck_run(options, check, &error), &error);
    for (int i = 0; i < MOVED_COUNT; i++)
        if (check->measured[i])
            print_message("    %-10s %-14s worst slope %+.3f\n", parametrization_name(options->parametrization),
                          moved_name((enum moved)i), check->worst[i]);
}

static void widths_fail_under_standard_and_pass_under_mup(void **state)
{
    (void)state;
    static const enum family families[] = {FAMILY_GPT2, FAMILY_LLAMA, FAMILY_T5};
    for (int f = 0; f < 3; f++)
        for (int o = 0; o < (families[f] == FAMILY_T5 ? 1 : 2); o++) {
            const enum optimizer_name optimizer = o ? OPTIMIZER_SGD : OPTIMIZER_ADAMW;
            struct coordcheck_options options = options_of(families[f], PARAMETRIZATION_STANDARD, optimizer, COORDCHECK_WIDTHS);
            struct coordcheck check;
            print_message("%s, %s\n", family_name(families[f]), o ? "sgd" : "adamw");
            run(&options, &check);
            assert_false(check.pass);
            assert_true(check.worst[MOVED_ALL] > 0.3);
            options.parametrization = PARAMETRIZATION_MUP;
            run(&options, &check);
            assert_true(check.pass);
        }
}

static void ntp_with_adam_fails_over_widths(void **state)
{
    (void)state;
    const struct coordcheck_options options = options_of(FAMILY_LLAMA, PARAMETRIZATION_NTP, OPTIMIZER_ADAMW, COORDCHECK_WIDTHS);
    struct coordcheck check;
    run(&options, &check);
    assert_false(check.pass);
    assert_true(check.worst[MOVED_ALL] > 0.3 && check.worst[MOVED_ALL] < 0.9);
}

static void depths_fail_under_mup_and_pass_under_completep(void **state)
{
    (void)state;
    struct coordcheck_options options = options_of(FAMILY_GPT2, PARAMETRIZATION_MUP, OPTIMIZER_ADAMW, COORDCHECK_DEPTHS);
    struct coordcheck check;
    run(&options, &check);
    assert_false(check.pass);
    assert_true(check.worst[MOVED_MLP] > 0.3);
    options.parametrization = PARAMETRIZATION_COMPLETEP;
    run(&options, &check);
    assert_true(check.pass);
}

static void the_same_options_give_the_same_bits(void **state)
{
    (void)state;
    struct coordcheck_options options = options_of(FAMILY_BERT, PARAMETRIZATION_MUP, OPTIMIZER_ADAMW, COORDCHECK_WIDTHS);
    struct coordcheck one, other;
    options.sizes[2] = 96;
    options.seeds = 2;
    run(&options, &one);
    run(&options, &other);
    assert_memory_equal(one.move, other.move, sizeof one.move);
    assert_true(one.pass == other.pass && one.measured[MOVED_EMBEDDINGS] && !one.measured[MOVED_HEAD]);
    options.seed = 2;
    run(&options, &other);
    assert_memory_not_equal(one.move, other.move, sizeof one.move);
}

static void at_the_base_all_parametrizations_move_alike(void **state)
{
    (void)state;
    struct coordcheck checks[PARAMETRIZATION_COUNT];
    for (int p = 0; p < PARAMETRIZATION_COUNT; p++) {
        const struct coordcheck_options options = options_of(FAMILY_GPT2, (enum parametrization)p, OPTIMIZER_SGD,
                                                             COORDCHECK_WIDTHS);
        run(&options, &checks[p]);
        assert_memory_equal(checks[p].move[0], checks[0].move[0], sizeof checks[0].move[0]);
        assert_true(p == 0 || memcmp(checks[p].move[1], checks[0].move[1], sizeof checks[0].move[1]) != 0);
    }
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    const struct coordcheck_options good = options_of(FAMILY_GPT2, PARAMETRIZATION_MUP, OPTIMIZER_ADAMW, COORDCHECK_WIDTHS);
    struct coordcheck check;
    struct error error;
#define REFUSE(change)                                                                                         \
    do {                                                                                                       \
        struct coordcheck_options options = good;                                                              \
        options.change;                                                                                        \
        error = (struct error){0};                                                                             \
        assert_fails(coordcheck_run(&options, &check, &error), ERROR_INVALID, &error);                         \
    } while (0)
    REFUSE(size_count = 1);
    REFUSE(sizes[1] = 32);
    REFUSE(sizes[1] = 40);      /* two and a half heads */
    REFUSE(steps = 1);
    REFUSE(seeds = 0);
    REFUSE(learning_rate = NAN);
    REFUSE(optimizer = OPTIMIZER_SCHEDULE_FREE_SGD);
#undef REFUSE
}

static void running_out_of_memory_is_an_answer(void **state)
{
    (void)state;
    struct coordcheck_options options = options_of(FAMILY_GPT2, PARAMETRIZATION_MUP, OPTIMIZER_ADAMW, COORDCHECK_WIDTHS);
    options.size_count = options.steps = 2;
    options.seeds = 1;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct coordcheck check;
        struct error error = {0};
        int code = coordcheck_run(&options, &check, &error);
        if (fault_struck(FAULT_ALLOC, n))
            assert_int_equal(code, ERROR_NO_MEMORY);
        else
            assert_ok(code, &error);
    }
}

TEST_MAIN(cmocka_unit_test(widths_fail_under_standard_and_pass_under_mup), cmocka_unit_test(ntp_with_adam_fails_over_widths),
          cmocka_unit_test(depths_fail_under_mup_and_pass_under_completep),
          cmocka_unit_test(the_same_options_give_the_same_bits), cmocka_unit_test(at_the_base_all_parametrizations_move_alike),
          cmocka_unit_test(wrong_options_are_refused), cmocka_unit_test(running_out_of_memory_is_an_answer))
