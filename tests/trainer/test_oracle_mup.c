/* The laws and initial deviations of mup against the package of the paper's authors (tests/oracle/export_mup.py): for each
 * tensor of a Llama at two widths, rates, weight decays and initial scales, as adamw and as sgd train it. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "model/safetensors.h"
#include "trainer/law.h"

enum { ADAM_RATE, ADAM_DECAY, SGD_RATE, SGD_DECAY, DEVIATION, FACTOR, VALUES };

static const struct shape base = {.family = FAMILY_LLAMA, .layers = 2, .width = 16, .heads = 4, .kv_heads = 2, .head_size = 4,
                                  .ff = 20, .context = 16, .vocabulary = 48, .attention_bias = true, .mlp_bias = true,
                                  .norm_epsilon = 1e-6, .activation = ACTIVATION_SILU, .rope = {.theta = 1e4}};
static const struct { const char *name; int width, heads, kv_heads, ff; } cases[] = {
    {"twice", 32, 8, 4, 80},
    {"four_times", 64, 16, 8, 60},
};
enum { CASES = sizeof cases / sizeof *cases };

static double off(double actual, double expected)
{
    return fabs(actual / expected - 1);
}

/* Of what the package trains, w, the model's weights are factor * w: an adaptive step of them is factor times as large, that of
 * a gradient factor^2 times; a decay is the same share of both. */
static double law_distance(const struct tensor_law *law, const float *values, bool adaptive)
{
    const double factor = values[FACTOR], rate = values[adaptive ? ADAM_RATE : SGD_RATE];
    const double decay = values[adaptive ? ADAM_DECAY : SGD_DECAY];
    const double expected = adaptive ? factor * rate : factor * factor * rate;
    return fmax(fmax(off(law->rate, expected), off(law->rate * law->decay, rate * decay)), off(law->gradient, factor));
}

static int expect_case(const struct safetensors *file, int index)
{
    struct shape shape = base;
    struct tensor_table table;
    struct error error = {0};
    double worst = 0;
    shape.width = cases[index].width, shape.heads = cases[index].heads, shape.kv_heads = cases[index].kv_heads;
    shape.ff = cases[index].ff;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    for (int i = 0; i < table.count; i++) {
        const struct tensor *tensor = &table.tensors[i];
        const struct tensor_ratios ratios = tensor_ratios_of(&base, &shape, tensor->row);
        char name[TENSOR_NAME_BYTES + 16];
        float values[VALUES];
        snprintf(name, sizeof name, "%s.%s", cases[index].name, tensor->name);
        const struct safetensors_entry *entry = safetensors_find(file, name);
        if (entry == NULL)
            fail_msg("the package has no %s", name);
        assert_ok(safetensors_read_floats(file, entry, 0, VALUES, values, &error), &error);
        for (int adaptive = 0; adaptive < 2; adaptive++) {
            const struct law_options options = {PARAMETRIZATION_MUP, adaptive ? OPTIMIZER_ADAMW : OPTIMIZER_SGD, base, 1};
            const struct tensor_law law = law_of_row(&options, &shape, tensor->row);
            worst = fmax(worst, law_distance(&law, values, adaptive == 1));
        }
        worst = fmax(worst, off(parametrization_deviation(PARAMETRIZATION_MUP, &ratios), values[FACTOR] * values[DEVIATION]));
        if (!(worst < 1e-7))
            fail_msg("%s is %.2e from the package's", name, worst);
    }
    print_message("    %-12s %d tensors, residual %.2g, bound 1e-7\n", cases[index].name, table.count, worst);
    const int count = table.count;
    tensor_table_fini(&table);
    return count;
}

static void laws_and_initial_scales_are_those_of_the_package(void **state)
{
    (void)state;
    struct safetensors file;
    struct error error = {0};
    int tensors = 0;
    assert_ok(safetensors_open(&file, "tests/fixtures/oracle/mup/reference.safetensors", 0, &error), &error);
    for (int i = 0; i < CASES; i++)
        tensors += expect_case(&file, i);
    assert_int_equal(tensors, file.count);
    safetensors_close(&file);
}

TEST_MAIN(cmocka_unit_test(laws_and_initial_scales_are_those_of_the_package))
