/* Logits, loss and every gradient of the gpt2 network against Hugging Face transformers in PyTorch, float64
 * (tests/oracle/export_gpt2.py). */
#include "tests/model/oracle_checks.h"

static const char *const models[] = {"gpt2_a", "gpt2_b", NULL};
static const char *const batches[] = {"short", "full", NULL};
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

/* What the fixtures are for: both heads, both forms of gelu, a batch below and one at the full context, ignored
 * positions in one of them. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct oracle tied, untied;
    oracle_open(&tied, "gpt2_a");
    oracle_open(&untied, "gpt2_b");
    assert_true(tied.checkpoint.table.shape.tied);
    assert_false(untied.checkpoint.table.shape.tied);
    assert_int_equal(tied.checkpoint.table.shape.activation, ACTIVATION_GELU_TANH);
    assert_int_equal(untied.checkpoint.table.shape.activation, ACTIVATION_GELU_ERF);
    assert_int_equal(tied.checkpoint.table.shape.ff, 52);
    assert_int_equal(untied.checkpoint.table.shape.ff, 4 * untied.checkpoint.table.shape.width);
    struct batch below = oracle_batch(&untied, "short"), full = oracle_batch(&untied, "full");
    assert_true(below.context < untied.checkpoint.table.shape.context);
    assert_int_equal(full.context, untied.checkpoint.table.shape.context);
    assert_true(counted_positions(&below) < below.rows * (below.context - 1));
    assert_int_equal(counted_positions(&full), full.rows * full.context);
    oracle_batch_free(&below);
    oracle_batch_free(&full);
    oracle_close(&tied);
    oracle_close(&untied);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers))
