/* Logits, loss and every gradient of the t5 network against Hugging Face transformers in PyTorch, float64
 * (tests/oracle/export_t5.py). */
#include "tests/model/oracle_checks.h"

static const char *const models[] = {"t5_a", "t5_b", NULL};
static const char *const batches[] = {"short", "full", "padded", NULL};
static const struct oracle_plan plan = {models, batches, {1e-7, 1e-12, 1e-7, 1e-9}};

static void reference_kernels_in_float_agree_with_transformers(void **state)
{
    (void)state;
    check_body(&plan, kernels_ref_float(), "ref");
}

static void reference_kernels_in_double_agree_with_transformers(void **state)
{
    (void)state;
    check_body(&plan, kernels_ref_double(), "ref double");
}

static void every_form_of_the_cpu_kernels_agrees_with_transformers(void **state)
{
    (void)state;
    check_every_cpu_form(&plan);
}

/* What the fixtures are for: both heads and MLPs, heads beside the width, stacks of one and of different depths, rows
 * of other lengths on either side, distances in the logarithmic buckets and beyond the farthest. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct oracle tied, own;
    oracle_open(&tied, "t5_a");
    oracle_open(&own, "t5_b");
    const struct shape *a = &tied.checkpoint.table.shape, *b = &own.checkpoint.table.shape;
    assert_true(a->tied && a->scaled_head && !b->tied && !b->scaled_head);
    assert_true(!a->gated && a->activation == ACTIVATION_RELU && b->gated && b->activation == ACTIVATION_GELU_TANH);
    assert_true(a->layers == 2 && a->decoder_layers == 3 && b->layers == 2 && b->decoder_layers == 2);
    assert_true(a->heads * a->head_size != a->width && b->heads * b->head_size != b->width);
    assert_true(a->context > a->bucket_distance && b->buckets == 32 && b->bucket_distance == 128);
    assert_true(a->norm_epsilon == 1e-6 && b->norm_epsilon == 1e-5);
    struct batch read = oracle_batch(&tied, "short"), written = oracle_batch(&own, "short");
    assert_true(read.context > read.decoder_context && written.context < written.decoder_context);
    oracle_batch_free(&read);
    oracle_batch_free(&written);
    oracle_close(&tied);
    oracle_close(&own);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers))
