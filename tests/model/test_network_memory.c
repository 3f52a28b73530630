/* A network's memory: stated before it is allocated, all of it allocated by network_new, none during a call. */
#include "tests/model/network_fixture.h"

static size_t counted_bytes;

static void *counting_alloc(size_t bytes)
{
    counted_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

/* The part outside backend memory: the network itself, its blocks and one double per position of a head's chunk. */
static const size_t HOST_BYTES_PER_LAYER = 1024, HOST_BYTES = 16384;

static void stated_bytes_are_the_allocated_ones(void **state)
{
    (void)state;
    struct kernels counting = *kernels_cpu();
    counting.alloc = counting_alloc;
    struct error error = {0};
    for (int layers = 1; layers < 8; layers += 3)
        for (int gradients = 0; gradients < 2; gradients++) {
            struct shape shape = gpt2_shape(layers, 3, 15, 101, 37, 53, true);
            struct tensor_table table;
            struct network *network;
            counted_bytes = 0;
            assert_ok(tensor_table_init(&table, &shape, &error), &error);
            assert_ok(network_new(&network, &counting, &table, 3, 37, gradients, &error), &error);
            size_t stated = network_bytes(&counting, &shape, 3, 37, gradients);
            assert_true(stated >= counted_bytes);
            assert_true(stated - counted_bytes <= HOST_BYTES + HOST_BYTES_PER_LAYER * (size_t)layers);
            network_free(network);
            tensor_table_fini(&table);
        }
}

static void doubles_need_twice_the_memory_of_floats(void **state)
{
    (void)state;
    struct shape shape = gpt2_shape(4, 4, 16, 256, 64, 256, true);
    double ratio = (double)network_bytes(kernels_ref_double(), &shape, 8, 64, true) /
                   (double)network_bytes(kernels_ref_float(), &shape, 8, 64, true);
    assert_near(ratio, 2, 0.02);
}

/* Whole logits would take B T V numbers: 4 rows more of 256 positions of 50,000 tokens are 205 MB. */
static void logits_are_never_held_whole(void **state)
{
    (void)state;
    const struct kernels *kernels = kernels_cpu();
    struct shape large = gpt2_shape(2, 4, 16, 256, 256, 50000, true), small = large;
    small.vocabulary = 1000;
    size_t growth_large = network_bytes(kernels, &large, 8, 256, true) - network_bytes(kernels, &large, 4, 256, true);
    size_t growth_small = network_bytes(kernels, &small, 8, 256, true) - network_bytes(kernels, &small, 4, 256, true);
    assert_true(growth_large == growth_small);
    size_t whole = 4 * (size_t)256 * 50000 * sizeof(float);
    assert_true(network_bytes(kernels, &large, 4, 256, false) < whole / 3);
}

/* Whole probabilities would take B H T T numbers: with B T constant everything but a block of scores is constant too.
 * */
static void attention_probabilities_are_never_held_whole(void **state)
{
    (void)state;
    const struct kernels *kernels = kernels_cpu();
    struct shape shape = gpt2_shape(2, 4, 16, 256, 4096, 1000, true);
    size_t at_1024 = network_bytes(kernels, &shape, 4, 1024, true);
    size_t at_4096 = network_bytes(kernels, &shape, 1, 4096, true);
    assert_true(at_4096 > at_1024);
    assert_true(at_4096 - at_1024 <= 3072 * 128 * sizeof(float));
}

static void calls_allocate_nothing(void **state)
{
    (void)state;
    struct network_fixture fixture;
    struct shape shape = gpt2_shape(2, 4, 16, 256, 64, 256, true);
    double losses[4];
    int counts[4];
    fixture_init(&fixture, kernels_cpu(), &shape, 4, 64, true);
    fault_arm(FAULT_ALLOC, 0);
    int64_t before = fault_count(FAULT_ALLOC);
    fixture_gradient(&fixture, 1);
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, counts);
    assert_int_equal(fault_count(FAULT_ALLOC), before);
    fixture_fini(&fixture);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    struct shape shape = gpt2_shape(2, 4, 16, 256, 64, 256, true);
    struct tensor_table table;
    struct error error = {0};
    int rounds = 0;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct network *network;
        error_clear(&error);
        int code = network_new(&network, kernels_cpu(), &table, 4, 64, true, &error);
        rounds++;
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
            assert_null(network);
        } else {
            assert_ok(code, &error);
            network_free(network);
        }
    }
    assert_int_equal(rounds, 6);
    network_free(NULL);
    tensor_table_fini(&table);
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct shape shape = gpt2_shape(2, 4, 16, 256, 64, 256, true);
    struct tensor_table table;
    struct network *network;
    struct error error = {0};
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    assert_fails(network_new(&network, kernels_cpu(), &table, 4, 65, true, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "64 positions");
    error_clear(&error);
    assert_fails(network_new(&network, kernels_cpu(), &table, 0, 64, true, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_fails(network_new(&network, kernels_cpu(), &table, INT32_MAX, 64, true, &error), ERROR_INVALID, &error);
    tensor_table_fini(&table);
}

static void bytes_beyond_the_address_space_are_stated_as_0(void **state)
{
    (void)state;
    const struct kernels *kernels = kernels_cpu();
    struct shape shape = gpt2_shape(INT32_MAX / 64, 1, INT32_MAX, INT32_MAX, INT32_MAX, 50000, true);
    assert_int_equal(network_bytes(kernels, &shape, 1, INT32_MAX, true), 0);
    shape = gpt2_shape(2, 4, 16, 256, 64, 256, true);
    assert_int_equal(network_bytes(kernels, &shape, INT32_MAX, 64, true), 0);
    assert_int_equal(network_bytes(kernels, &shape, -1, 64, true), 0);
    assert_true(network_bytes(kernels, &shape, 4, 64, true) > 0);
}

TEST_MAIN(cmocka_unit_test(stated_bytes_are_the_allocated_ones),
          cmocka_unit_test(doubles_need_twice_the_memory_of_floats),
          cmocka_unit_test(logits_are_never_held_whole), cmocka_unit_test(attention_probabilities_are_never_held_whole),
          cmocka_unit_test(calls_allocate_nothing),
          cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
          cmocka_unit_test(sizes_that_do_not_fit_are_refused),
          cmocka_unit_test(bytes_beyond_the_address_space_are_stated_as_0))
