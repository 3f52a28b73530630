/* Logits, loss and every gradient of the llama, mistral and qwen2 networks against Hugging Face transformers in PyTorch,
 * float64 (tests/oracle/export_llama.py). */
#include "tests/model/oracle_checks.h"

static const char *const models[] = {"llama_a", "llama_b", "mistral_a", "mistral_b", "qwen2_a", "qwen2_b", NULL};
static const char *const batches[] = {"short", "full", "padded", NULL};

/* transformers computes cosines and sines in float32 whatever the model's dtype, and so do we; some of its cosines differ
 * from the exact ones, and so from ours, in the last bit (6e-8), which gradients show several times over. */
static const struct oracle_plan plan = {models, batches, {5e-7, 1e-7, 1e-6, 1e-8}};

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

static struct shape shape_of(const char *model)
{
    struct oracle oracle;
    oracle_open(&oracle, model);
    struct shape shape = oracle.checkpoint.table.shape;
    oracle_close(&oracle);
    return shape;
}

/* What the fixtures are for: both heads, every scaling, grouped queries, heads beside the width, biases, a window. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct shape a = shape_of("llama_a"), b = shape_of("llama_b"), mistral = shape_of("mistral_a");
    struct shape qwen2 = shape_of("qwen2_a"), narrow = shape_of("mistral_b"), windowed = shape_of("qwen2_b");
    assert_true(b.tied && qwen2.tied && narrow.tied && !a.tied && !mistral.tied && !windowed.tied);
    assert_int_equal(a.rope.scaling, ROPE_LLAMA3);
    assert_int_equal(b.rope.scaling, ROPE_LINEAR);
    assert_int_equal(mistral.rope.scaling, ROPE_PLAIN);
    assert_int_equal(qwen2.rope.scaling, ROPE_DYNAMIC);
    assert_true(a.kv_heads == 3 && a.heads == 9 && b.kv_heads == 1 && qwen2.kv_heads == qwen2.heads);
    assert_true(a.heads * a.head_size != a.width && b.heads * b.head_size == b.width);
    assert_true(a.attention_bias && a.mlp_bias && qwen2.attention_bias && !b.attention_bias && !mistral.attention_bias);
    assert_true(mistral.window > 0 && mistral.window < mistral.context && qwen2.window == 0);
    assert_true(narrow.window == 4 && narrow.heads == 15 && narrow.kv_heads == 5 && narrow.head_size == 2);
    assert_true(windowed.window == 4 && windowed.attention_bias && windowed.heads == 7 && windowed.kv_heads == 1);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers))
