/* Logits, loss and every gradient of the bert network against Hugging Face transformers in PyTorch, float64
 * (tests/oracle/export_bert.py). */
#include "tests/model/oracle_checks.h"

static const char *const models[] = {"bert_a", "bert_b", NULL};
static const char *const batches[] = {"short", "full", "typed", "padded", NULL};
static const struct oracle_plan plan = {models, batches, {2e-7, 1e-7, 1e-7, 1e-8}};

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

/* What the fixtures are for: both layouts, both forms of gelu, two and three types, either epsilon. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct oracle masked, whole;
    oracle_open(&masked, "bert_a");
    oracle_open(&whole, "bert_b");
    const struct shape *a = &masked.checkpoint.table.shape, *b = &whole.checkpoint.table.shape;
    assert_true(!a->pooler && !a->next_sentence && b->pooler && b->next_sentence);
    assert_true(a->activation == ACTIVATION_GELU_ERF && b->activation == ACTIVATION_GELU_TANH);
    assert_true(a->types == 2 && b->types == 3);
    assert_true(a->norm_epsilon == 1e-12 && b->norm_epsilon == 1e-5);
    assert_true(a->tied && b->tied && masked.checkpoint.prefixed && whole.checkpoint.prefixed);
    oracle_close(&masked);
    oracle_close(&whole);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers))
