/* Logits, loss, load balance and every gradient of the mixtral network against Hugging Face transformers in PyTorch,
 * float64 (tests/oracle/export_mixtral.py). The gradients are those of the loss with the weighted balance. */
#include "tests/model/oracle_checks.h"

static const char *const models[] = {"mixtral_a", "mixtral_b", NULL};
static const char *const batches[] = {"short", "full", "padded", NULL};

/* As llama's: rotary angles; and transformers counts choices in float32. */
static const struct oracle_plan plan = {models, batches, {5e-7, 1e-7, 5e-7, 1e-8}};

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

/* Both heads, a window, grouped queries, heads beside the width, several experts of a token and one. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct shape a = shape_of("mixtral_a"), b = shape_of("mixtral_b");
    assert_true(a.experts == 5 && a.top_k == 2 && b.experts == 3 && b.top_k == 1);
    assert_true(a.router_aux == 0.7 && b.router_aux == 1.5);
    assert_true(!a.tied && b.tied && a.window == 0 && b.window == 4);
    assert_true(a.kv_heads == 2 && a.heads * a.head_size != a.width && b.kv_heads == 1);
    assert_true(a.rope.theta == 300 && b.rope.theta == 1e6);
}

/* Without its weight in the shape the balance must not reach the gradients: what the fixtures hold is not the loss's
 * alone. */
static void gradients_without_the_balance_are_seen_to_be_wrong(void **state)
{
    (void)state;
    struct oracle oracle;
    struct subject subject;
    oracle_open(&oracle, "mixtral_a");
    oracle.checkpoint.table.shape.router_aux = 0;
    subject_init(&subject, &oracle, "full", kernels_ref_double(), &plan);
    const struct tensor *router = tensor_find_role(&oracle.checkpoint.table, ROLE_ROUTER, 1, 0);
    float *reference = oracle_floats(&oracle, router->count, "full.gradient.%s", router->name);
    network_gradient(subject.network, subject.weights, &subject.batch, 1.0 / counted_positions(&subject.batch),
                     subject.gradients);
    double *actual = oracle_doubles(subject.gradients, sizeof(double), router->offset, router->count);
    struct oracle_distance distance = oracle_distance(actual, reference, router->count);
    assert_true(distance.difference > 0.05 * distance.reference);
    memory_free(actual);
    memory_free(reference);
    subject_fini(&subject);
    oracle_close(&oracle);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers),
          cmocka_unit_test(gradients_without_the_balance_are_seen_to_be_wrong))
