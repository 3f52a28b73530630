/* Networks whose training products take bfloat16 factors: the gradients that the reference gives with the same
 * rounding; everything that is not a gradient is float32's, to the bit. */
#include "tests/model/network_models.h"

static const struct network_sizes plain = {.rows = ROWS, .context = CONTEXT, .gradients = true, .tangents = true};

static struct network_sizes in_bf16(void)
{
    struct network_sizes sizes = plain;
    sizes.product_type = PRODUCT_BF16;
    return sizes;
}

/* Norm of the difference over the norm of the whole gradient. */
static double distance(const struct network_fixture *a, const struct network_fixture *b)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a->table.slab; i++) {
        double x = ((const float *)a->gradients)[i], y = ((const float *)b->gradients)[i];
        difference += (x - y) * (x - y);
        norm += y * y;
    }
    return sqrt(difference / norm);
}

/* Sums in another order can carry a number over the middle between two of bfloat16, 2^-8 apart, but seldom. */
static void gradients_agree_with_ref_far_closer_than_with_float32(void **state)
{
    (void)state;
    const struct network_sizes sizes = in_bf16();
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture ref, cpu, full;
        print_message("  %s\n", models[i].title);
        model_init(&ref, kernels_ref_float(), &models[i], &sizes);
        model_init(&cpu, kernels_cpu(), &models[i], &sizes);
        model_init(&full, kernels_ref_float(), &models[i], &plain);
        double expected = fixture_gradient(&ref, 0.5), loss = fixture_gradient(&cpu, 0.5);
        double exact = fixture_gradient(&full, 0.5), rounding = distance(&ref, &full);
        assert_near(loss / expected, 1, 1e-3);
        assert_near(expected / exact, 1, 3e-2);
        print_message("    rounding moves the gradient by %.1e\n", rounding);
        assert_true(rounding > 1e-3 && rounding < 0.1);
        assert_close(distance(&cpu, &ref), rounding / 4);
        fixture_fini(&ref);
        fixture_fini(&cpu);
        fixture_fini(&full);
    }
}

static void check_float32_kept(const struct kernels *kernels, const struct model *model)
{
    const struct network_sizes sizes = in_bf16();
    struct network_fixture full, fast;
    double losses[2][ROWS];
    model_init(&full, kernels, model, &plain);
    model_init(&fast, kernels, model, &sizes);
    size_t logits = (size_t)(ROWS * CONTEXT * VOCABULARY), slab = full.table.slab;
    float *a = memory_array(logits, sizeof *a), *b = memory_array(logits, sizeof *b);
    float *direction = kernels->alloc(slab * sizeof *direction);
    assert_true(a != NULL && b != NULL && direction != NULL);
    fixture_gradient(&fast, 1);                 /* leaves nothing that the others would see */
    network_loss(full.network, full.weights, &full.batch, losses[0], NULL);
    network_loss(fast.network, fast.weights, &fast.batch, losses[1], NULL);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    network_logits(full.network, full.weights, &full.batch, a);
    network_logits(fast.network, fast.weights, &fast.batch, b);
    assert_memory_equal(a, b, logits * sizeof *a);
    for (size_t i = 0; i < slab; i++)
        direction[i] = (float)(i * i % 17) - 8;
    kernels->zero(full.gradients, slab);
    kernels->zero(fast.gradients, slab);
    network_hessian_product(full.network, full.weights, direction, &full.batch, 0.5, full.gradients);
    network_hessian_product(fast.network, fast.weights, direction, &fast.batch, 0.5, fast.gradients);
    assert_memory_equal(full.gradients, fast.gradients, slab * sizeof(float));
    kernels->release(direction);
    memory_free(a);
    memory_free(b);
    fixture_fini(&full);
    fixture_fini(&fast);
}

static void losses_logits_and_hessian_products_are_float32s(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        check_float32_kept(kernels_ref_float(), &models[i]);
        check_float32_kept(kernels_cpu(), &models[i]);
    }
}

static void recomputed_gradients_have_the_same_bits(void **state)
{
    (void)state;
    struct network_sizes kept_sizes = in_bf16(), again_sizes = in_bf16();
    again_sizes.recompute = true;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture kept, again;
        model_init(&kept, kernels_cpu(), &models[i], &kept_sizes);
        model_init(&again, kernels_cpu(), &models[i], &again_sizes);
        for (int round = 0; round < 2; round++) {
            assert_true(fixture_gradient(&kept, 0.5) == fixture_gradient(&again, 0.5));
            assert_memory_equal(kept.gradients, again.gradients, kept.table.slab * sizeof(float));
        }
        fixture_fini(&kept);
        fixture_fini(&again);
    }
}

static size_t counted_bytes;

static void *counting_alloc(size_t bytes)
{
    counted_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

static void scratch_of_products_is_in_the_stated_bytes(void **state)
{
    (void)state;
    const struct network_sizes sizes = in_bf16();
    struct kernels counting = *kernels_cpu();
    counting.alloc = counting_alloc;
    struct tensor_table table;
    struct network *network;
    struct error error = {0};
    assert_ok(tensor_table_init(&table, &models[0].shape, &error), &error);
    assert_ok(network_new_sized(&network, &counting, &table, &sizes, &error), &error);
    size_t stated = network_sizes_bytes(&counting, &models[0].shape, &sizes);
    assert_true(counted_bytes > counting.ops->product_scratch(PRODUCT_BF16));
    assert_true(stated >= counted_bytes && stated - counted_bytes <= 16384);
    network_free(network);
    tensor_table_fini(&table);
}

TEST_MAIN(cmocka_unit_test(gradients_agree_with_ref_far_closer_than_with_float32),
          cmocka_unit_test(losses_logits_and_hessian_products_are_float32s),
          cmocka_unit_test(recomputed_gradients_have_the_same_bits),
          cmocka_unit_test(scratch_of_products_is_in_the_stated_bytes))
