/* The gpt2 network: its gradient against central differences in double, the cpu body against the reference, and what a
 * caller relies on: ignored targets, rows apart, chunks of the head, equal bits. */
#include "tests/model/network_checks.h"

#include <pthread.h>

/* ---- the gradient is the derivative ---- */

static void gradient_of_every_tensor_is_the_derivative(void **state)
{
    (void)state;
    for (int activation = 0; activation < ACTIVATION_COUNT; activation++)
        for (int tied = 0; tied < 2; tied++) {
            struct network_fixture fixture;
            struct shape shape = gpt2_shape(2, 3, 2, 7, 5, 11, tied);
            shape.activation = (enum activation)activation;
            fixture_init(&fixture, kernels_ref_double(), &shape, 2, 5, true);
            fixture.targets[3] = TARGET_IGNORED;
            print_message("  %s, %s head\n", activation_name(shape.activation), tied ? "tied" : "own");
            check_every_tensor(&fixture);
            fixture_fini(&fixture);
        }
}

/* ---- the cpu body against the reference ---- */

static void cpu_agrees_with_ref_on_awkward_sizes(void **state)
{
    (void)state;
    struct shape odd = gpt2_shape(3, 3, 15, 101, 37, 53, true), own = gpt2_shape(2, 2, 9, 31, 70, 67, false);
    struct shape least = gpt2_shape(1, 1, 1, 1, 1, 2, true);
    own.activation = ACTIVATION_GELU_ERF;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        check_against_ref(*form, &odd, 3, 37);
        check_against_ref(*form, &own, 2, 67);
        check_against_ref(*form, &least, 1, 1);
    }
}

/* ---- losses ---- */

/* -ln softmax(row)[target], by its definition. */
static double plain_loss(const double *row, int vocabulary, int target)
{
    double sum = 0;
    for (int v = 0; v < vocabulary; v++)
        sum += exp(row[v]);
    return log(sum) - row[target];
}

static void loss_is_the_sum_over_predicted_positions_of_each_row(void **state)
{
    (void)state;
    enum { B = 3, T = 6, V = 13 };
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(2, 2, 3, 9, T, V, false);
    double logits[B * T * V], losses[B], expected[B] = {0}, sum = 0;
    int counts[B], expected_counts[B] = {0};
    fixture_init(&fixture, kernels_ref_double(), &shape, B, T, true);
    for (int i = 0; i < 5; i++)
        fixture.targets[T + i] = TARGET_IGNORED;
    network_logits(fixture.network, fixture.weights, &fixture.batch, logits);
    for (int i = 0; i < B * T; i++)
        if (fixture.targets[i] != TARGET_IGNORED) {
            expected[i / T] += plain_loss(logits + i * V, V, fixture.targets[i]);
            expected_counts[i / T]++;
        }
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, counts);
    for (int b = 0; b < B; b++) {
        assert_near(losses[b], expected[b], 1e-12);
        assert_int_equal(counts[b], expected_counts[b]);
        sum += expected[b];
    }
    assert_near(fixture_gradient(&fixture, 1), sum, 1e-12);
    network_loss(fixture.network, fixture.weights, &fixture.batch, NULL, NULL);
    fixture_fini(&fixture);
}

/* The head works in chunks: 201 positions of a vocabulary of 8193 are one of 128 and one of 73; a row alone is one. */
static void chunks_of_the_head_add_up_to_the_whole(void **state)
{
    (void)state;
    enum { B = 3, T = 67, V = 8193 };
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(1, 2, 4, 8, T, V, true);
    double losses[B], *logits = memory_array((size_t)B * T * V, sizeof(double)), loss, parts = 0;
    fixture_init(&fixture, kernels_ref_double(), &shape, B, T, true);
    fixture.targets[130] = TARGET_IGNORED;
    network_logits(fixture.network, fixture.weights, &fixture.batch, logits);
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, NULL);
    for (int b = 0; b < B; b++) {
        double expected = 0;
        for (int i = b * T; i < (b + 1) * T; i++)
            if (fixture.targets[i] != TARGET_IGNORED)
                expected += plain_loss(logits + (size_t)i * V, V, fixture.targets[i]);
        assert_near(losses[b] / expected, 1, 1e-12);
    }
    memory_free(logits);
    size_t slab = fixture.table.slab;
    double *whole = memory_array(slab, sizeof(double));
    loss = fixture_gradient(&fixture, 0.5);
    memcpy(whole, fixture.gradients, slab * sizeof(double));
    fixture.kernels->zero(fixture.gradients, slab);
    for (int b = 0; b < B; b++) {
        struct batch row = {
            .rows = 1, .context = T, .inputs = fixture.inputs + b * T, .targets = fixture.targets + b * T,
        };
        parts += network_gradient(fixture.network, fixture.weights, &row, 0.5, fixture.gradients);
    }
    assert_near(loss / parts, 1, 1e-12);
    assert_close(largest_difference_double(fixture.gradients, whole, slab), 1e-10);
    memory_free(whole);
    fixture_fini(&fixture);
}

static void nothing_predicted_gives_no_loss_and_no_gradient(void **state)
{
    (void)state;
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(2, 3, 5, 20, 9, 17, true);
    double losses[2];
    int counts[2];
    fixture_init(&fixture, kernels_cpu(), &shape, 2, 9, true);
    for (int i = 0; i < 18; i++)
        fixture.targets[i] = TARGET_IGNORED;
    assert_true(fixture_gradient(&fixture, 1) == 0);
    assert_true(fixture.kernels->sum_squares(fixture.gradients, fixture.table.slab) == 0);
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, counts);
    assert_true(losses[0] == 0 && losses[1] == 0 && counts[0] == 0 && counts[1] == 0);
    fixture_fini(&fixture);
}

static void a_network_without_gradients_gives_the_same_losses(void **state)
{
    (void)state;
    struct network_fixture with, without;
    struct shape shape = gpt2_shape(3, 3, 15, 60, 37, 53, true);
    double losses[3], lean[3];
    fixture_init(&with, kernels_cpu(), &shape, 3, 37, true);
    fixture_init(&without, kernels_cpu(), &shape, 3, 37, false);
    network_loss(with.network, with.weights, &with.batch, losses, NULL);
    network_loss(without.network, without.weights, &without.batch, lean, NULL);
    assert_memory_equal(losses, lean, sizeof losses);
    fixture_fini(&with);
    fixture_fini(&without);
}

static void a_shorter_context_and_fewer_rows_fit_a_larger_network(void **state)
{
    (void)state;
    struct network_fixture large, small;
    struct shape shape = gpt2_shape(2, 2, 4, 16, 20, 19, true);
    fixture_init(&large, kernels_ref_double(), &shape, 4, 20, true);
    fixture_init(&small, kernels_ref_double(), &shape, 2, 11, true);
    large.batch = small.batch;
    assert_true(fixture_gradient(&large, 1) == fixture_gradient(&small, 1));
    assert_memory_equal(large.gradients, small.gradients, small.table.slab * sizeof(double));
    fixture_fini(&large);
    fixture_fini(&small);
}

/* ---- sums over micro-batches ---- */

static void gradients_of_rows_add_up_to_that_of_the_batch(void **state)
{
    (void)state;
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(2, 3, 4, 20, 9, 23, true);
    fixture_init(&fixture, kernels_ref_double(), &shape, 4, 9, true);
    size_t slab = fixture.table.slab;
    double *whole = memory_array(slab, sizeof(double)), loss = fixture_gradient(&fixture, 0.5), parts = 0;
    memcpy(whole, fixture.gradients, slab * sizeof(double));
    fixture.kernels->zero(fixture.gradients, slab);
    for (int first = 0; first < 4; first += 3) {
        struct batch part = {
            .rows = first == 0 ? 3 : 1, .context = 9,
            .inputs = fixture.inputs + first * 9, .targets = fixture.targets + first * 9,
        };
        parts += network_gradient(fixture.network, fixture.weights, &part, 0.5, fixture.gradients);
    }
    assert_near(parts, loss, 1e-11);
    assert_close(largest_difference_double(fixture.gradients, whole, slab), 1e-12);
    memory_free(whole);
    fixture_fini(&fixture);
}

/* ---- the same bits ---- */

static void *gradient_in_a_thread(void *fixture)
{
    for (int i = 0; i < 3; i++)
        fixture_gradient(fixture, 0.1);
    return NULL;
}

static void gradients_have_the_same_bits_with_other_threads_about(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    struct network_fixture alone, fixtures[THREADS];
    struct shape shape = gpt2_shape(2, 4, 16, 256, 64, 256, true);
    pthread_t threads[THREADS];
    fixture_init(&alone, kernels_cpu(), &shape, 4, 64, true);
    fixture_gradient(&alone, 0.1);
    for (int i = 0; i < THREADS; i++)
        fixture_init(&fixtures[i], kernels_cpu(), &shape, 4, 64, true);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, gradient_in_a_thread, &fixtures[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_memory_equal(fixtures[i].gradients, alone.gradients, alone.table.slab * sizeof(float));
        fixture_fini(&fixtures[i]);
    }
    fixture_fini(&alone);
}

static void nan_weights_give_a_nan_loss(void **state)
{
    (void)state;
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(2, 3, 5, 20, 9, 17, true);
    double losses[2];
    fixture_init(&fixture, kernels_cpu(), &shape, 2, 9, true);
    ((float *)fixture.weights)[tensor_find_role(&fixture.table, ROLE_QKV, 1, 0)->offset] = NAN;
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, NULL);
    assert_true(isnan(losses[0]) && isnan(losses[1]));
    assert_true(isnan(fixture_gradient(&fixture, 1)));
    fixture_fini(&fixture);
}

TEST_MAIN(cmocka_unit_test(gradient_of_every_tensor_is_the_derivative),
          cmocka_unit_test(cpu_agrees_with_ref_on_awkward_sizes),
          cmocka_unit_test(chunks_of_the_head_add_up_to_the_whole),
          cmocka_unit_test(loss_is_the_sum_over_predicted_positions_of_each_row),
          cmocka_unit_test(nothing_predicted_gives_no_loss_and_no_gradient),
          cmocka_unit_test(a_network_without_gradients_gives_the_same_losses),
          cmocka_unit_test(a_shorter_context_and_fewer_rows_fit_a_larger_network),
          cmocka_unit_test(gradients_of_rows_add_up_to_that_of_the_batch),
          cmocka_unit_test(gradients_have_the_same_bits_with_other_threads_about),
          cmocka_unit_test(nan_weights_give_a_nan_loss))
