/* The law of every role, family, parametrization and kind of optimizer: numbers worked out by hand from methods 4.4 and 4.5
 * for a model that is widened and deepened. */
#include "tests/support/support.h"

#include <math.h>

#include "tests/trainer/family_worlds.h"
#include "trainer/law.h"

/* ---- the base is a family's world; grown: width, heads twice, kv heads of grouped queries kept, ff four times, blocks three
 * times, a decoder's four times ---- */

static struct shape grown_shape(const struct shape *base)
{
    struct shape shape = *base;
    shape.width *= 2;
    shape.heads *= 2;
    shape.kv_heads = base->kv_heads == base->heads ? 2 * base->kv_heads : base->kv_heads;
    shape.ff *= 4;
    shape.layers *= 3;
    shape.decoder_layers *= 4;
    return shape;
}

static const struct shape *world_shape(const char *title)
{
    for (int i = 0; i < FAMILY_WORLDS; i++)
        if (strcmp(family_worlds[i].title, title) == 0)
            return &family_worlds[i].shape;
    fail_msg("no world %s", title);
    return NULL;
}

enum { STANDARD = PARAMETRIZATION_STANDARD, MUP = PARAMETRIZATION_MUP, COMPLETEP = PARAMETRIZATION_COMPLETEP,
       NTP = PARAMETRIZATION_NTP };
enum { ADAM = OPTIMIZER_ADAMW, FREE_ADAM = OPTIMIZER_SCHEDULE_FREE_ADAMW, SGD = OPTIMIZER_SGD,
       FREE_SGD = OPTIMIZER_SCHEDULE_FREE_SGD };

#define R2 1.4142135623730951      /* sqrt(2) */

static const struct {
    const char *world, *tensor;
    int parametrization, optimizer;
    struct tensor_law law;
} rows[] = {
    /* gpt2, tied: the head's factor lies on the final norm */
    {"gpt2", "wte.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "wpe.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "h.1.ln_1.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "h.1.ln_2.bias", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "h.1.attn.c_attn.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"gpt2", "h.1.attn.c_attn.bias", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "h.1.attn.c_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"gpt2", "h.1.mlp.c_fc.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
    {"gpt2", "h.1.mlp.c_fc.bias", MUP, ADAM, {1, 1, 1. / 4, 1}},
    {"gpt2", "h.1.mlp.c_proj.weight", MUP, ADAM, {1. / 4, 4, 1. / 2, 1}},
    {"gpt2", "h.1.mlp.c_proj.bias", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "ln_f.weight", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"gpt2", "ln_f.bias", MUP, FREE_ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"gpt2", "h.2.attn.c_attn.weight", MUP, FREE_ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"gpt2", "wte.weight", MUP, SGD, {2, 1. / 2, 1, 1}},
    {"gpt2", "h.1.attn.c_attn.weight", MUP, SGD, {1, 1, 1, 1}},
    {"gpt2", "h.1.attn.c_attn.bias", MUP, SGD, {2, 1. / 2, 1, 1}},
    {"gpt2", "h.1.mlp.c_fc.weight", MUP, SGD, {2, 1. / 2, 1, 1}},
    {"gpt2", "h.1.mlp.c_fc.bias", MUP, SGD, {4, 1. / 4, 1, 1}},
    {"gpt2", "h.1.mlp.c_proj.weight", MUP, FREE_SGD, {1. / 2, 2, 1, 1}},
    {"gpt2", "ln_f.weight", MUP, SGD, {1. / 2, 2, 1, 1. / 2}},
    {"gpt2", "wte.weight", COMPLETEP, ADAM, {1, 1, 1. / 2, 1}},
    {"gpt2", "h.8.ln_1.weight", COMPLETEP, ADAM, {1, 1, 1. / 6, 1}},
    {"gpt2", "h.8.attn.c_attn.weight", COMPLETEP, ADAM, {1. / 2, 2, 1. / 6, 1}},
    {"gpt2", "h.8.attn.c_attn.bias", COMPLETEP, ADAM, {1, 1, 1. / 6, 1}},
    {"gpt2", "h.8.attn.c_proj.weight", COMPLETEP, ADAM, {1. / 6, 6, 1. / 2, 1. / 3}},
    {"gpt2", "h.8.mlp.c_proj.weight", COMPLETEP, ADAM, {1. / 12, 12, 1. / 2, 1. / 3}},
    {"gpt2", "h.8.mlp.c_proj.bias", COMPLETEP, ADAM, {1. / 3, 3, 1. / 2, 1. / 3}},
    {"gpt2", "ln_f.weight", COMPLETEP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"gpt2", "wte.weight", COMPLETEP, SGD, {2, 1. / 2, 1, 1}},
    {"gpt2", "h.8.attn.c_attn.weight", COMPLETEP, SGD, {3, 1. / 3, 1, 1}},
    {"gpt2", "h.8.attn.c_proj.weight", COMPLETEP, SGD, {1. / 3, 3, 1, 1. / 3}},
    {"gpt2", "h.8.ln_1.bias", COMPLETEP, SGD, {6, 1. / 6, 1, 1}},
    {"gpt2", "wte.weight", NTP, ADAM, {1, 1, 1, 1}},
    {"gpt2", "h.1.ln_1.weight", NTP, ADAM, {1, 1, 1, 1}},
    {"gpt2", "h.1.attn.c_attn.weight", NTP, ADAM, {1 / R2, R2, R2, 1 / R2}},
    {"gpt2", "h.1.mlp.c_proj.weight", NTP, ADAM, {1. / 2, 2, 2, 1. / 2}},
    {"gpt2", "ln_f.weight", NTP, ADAM, {1 / R2, R2, R2, 1 / R2}},
    {"gpt2", "h.1.attn.c_attn.weight", NTP, SGD, {1. / 2, 2, 1, 1 / R2}},
    {"gpt2", "h.1.mlp.c_proj.weight", NTP, SGD, {1. / 4, 4, 1, 1. / 2}},
    {"gpt2", "wte.weight", NTP, SGD, {1, 1, 1, 1}},
    {"gpt2", "h.1.attn.c_attn.weight", STANDARD, ADAM, {1, 1, 1, 1}},
    /* llama, untied, kv heads kept: k and v make as many numbers as before */
    {"llama", "embed_tokens.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"llama", "layers.0.self_attn.q_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"llama", "layers.0.self_attn.k_proj.weight", MUP, ADAM, {1. / 2, 2, 1, 1}},
    {"llama", "layers.0.self_attn.v_proj.weight", MUP, SGD, {1. / 2, 2, 1, 1}},
    {"llama", "layers.0.self_attn.o_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"llama", "layers.0.mlp.gate_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
    {"llama", "layers.0.mlp.up_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
    {"llama", "layers.0.mlp.down_proj.weight", COMPLETEP, ADAM, {1. / 12, 12, 1. / 2, 1. / 3}},
    {"llama", "norm.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"llama", "norm.weight", COMPLETEP, SGD, {2, 1. / 2, 1, 1}},
    {"llama", "lm_head.weight", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"llama", "lm_head.weight", MUP, SGD, {1. / 2, 2, 1, 1. / 2}},
    {"llama", "lm_head.weight", NTP, SGD, {1. / 2, 2, 1, 1 / R2}},
    {"mistral, window", "layers.2.self_attn.q_proj.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"qwen2", "layers.0.self_attn.q_proj.bias", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"qwen2", "layers.0.self_attn.k_proj.bias", MUP, ADAM, {1, 1, 1, 1}},
    {"qwen2", "layers.0.self_attn.q_proj.bias", MUP, SGD, {2, 1. / 2, 1, 1}},
    {"qwen2", "layers.0.self_attn.v_proj.bias", MUP, SGD, {1, 1, 1, 1}},
    {"qwen2", "norm.weight", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    /* mixtral: a router reads the stream like a head, experts are no width */
    {"mixtral", "layers.1.block_sparse_moe.gate.weight", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"mixtral", "layers.1.block_sparse_moe.gate.weight", MUP, SGD, {1. / 2, 2, 1, 1. / 2}},
    {"mixtral", "layers.1.block_sparse_moe.gate.weight", COMPLETEP, ADAM, {1. / 2, 2, 1. / 3, 1. / 2}},
    {"mixtral", "layers.1.block_sparse_moe.experts.3.w1.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
    {"mixtral", "layers.1.block_sparse_moe.experts.3.w3.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
    {"mixtral", "layers.1.block_sparse_moe.experts.0.w2.weight", MUP, ADAM, {1. / 4, 4, 1. / 2, 1}},
    {"mixtral", "layers.1.block_sparse_moe.experts.0.w2.weight", COMPLETEP, ADAM, {1. / 12, 12, 1. / 2, 1. / 3}},
    /* bert */
    {"bert, mlm", "embeddings.token_type_embeddings.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"bert, mlm", "embeddings.LayerNorm.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"bert, mlm", "encoder.layer.1.attention.self.query.weight", MUP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"bert, mlm", "encoder.layer.1.output.dense.bias", COMPLETEP, ADAM, {1. / 3, 3, 1. / 2, 1. / 3}},
    {"bert, mlm", "encoder.layer.1.output.LayerNorm.weight", COMPLETEP, ADAM, {1, 1, 1. / 6, 1}},
    {"bert, mlm", "cls.predictions.transform.dense.weight", COMPLETEP, ADAM, {1. / 2, 2, 1. / 2, 1}},
    {"bert, mlm", "cls.predictions.transform.LayerNorm.bias", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"bert, mlm", "cls.predictions.bias", MUP, ADAM, {1, 1, 1, 1}},
    {"bert, mlm", "cls.predictions.bias", MUP, SGD, {1, 1, 1, 1}},
    /* t5, tied: its logits fall as 1/sqrt(width) by themselves, the final norm bears the other half */
    {"t5, spans", "shared.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"t5, spans", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", MUP, ADAM, {1, 1, 1. / 2, 1}},
    {"t5, spans", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", MUP, SGD, {2, 1. / 2, 1, 1}},
    {"t5, spans", "encoder.final_layer_norm.weight", COMPLETEP, ADAM, {1, 1, 1. / 2, 1}},
    {"t5, spans", "decoder.final_layer_norm.weight", MUP, ADAM, {1 / R2, R2, 1 / R2, 1 / R2}},
    {"t5, spans", "decoder.final_layer_norm.weight", MUP, SGD, {1, 1, 1, 1 / R2}},
    {"t5, spans", "decoder.final_layer_norm.weight", NTP, ADAM, {1, 1, 1, 1}},
    {"t5, spans", "encoder.block.1.layer.0.SelfAttention.o.weight", COMPLETEP, ADAM, {1. / 6, 6, 1. / 2, 1. / 3}},
    {"t5, spans", "decoder.block.1.layer.1.EncDecAttention.o.weight", COMPLETEP, ADAM, {1. / 8, 8, 1. / 2, 1. / 4}},
    {"t5, spans", "decoder.block.1.layer.2.layer_norm.weight", COMPLETEP, ADAM, {1, 1, 1. / 8, 1}},
    {"t5, gated, ul2", "lm_head.weight", MUP, ADAM, {1. / 2, 2, 1, 1. / 2}},
    {"t5, gated, ul2", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", MUP, ADAM, {1. / 2, 2, 1. / 4, 1}},
};

static void expect_law(size_t i)
{
    const struct shape *base = world_shape(rows[i].world), shape = grown_shape(base);
    const struct law_options options = {(enum parametrization)rows[i].parametrization,
                                        (enum optimizer_name)rows[i].optimizer, *base, 1};
    struct tensor_law laws[512];
    struct tensor_table table;
    struct error error = {0};
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    assert_true(table.count <= 512);
    assert_ok(laws_fill(&table, &options, laws, &error), &error);
    const struct tensor *tensor = tensor_find(&table, rows[i].tensor);
    if (tensor == NULL)
        fail_msg("%s has no %s", rows[i].world, rows[i].tensor);
    const struct tensor_law *got = &laws[tensor - table.tensors], *want = &rows[i].law;
    double off = fmax(fmax(fabs(got->rate / want->rate - 1), fabs(got->decay / want->decay - 1)),
                      fmax(fabs(got->epsilon / want->epsilon - 1), fabs(got->gradient / want->gradient - 1)));
    if (!(off < 1e-14))
        fail_msg("%s %s: rate %g decay %g epsilon %g gradient %g, expected %g %g %g %g", rows[i].world, rows[i].tensor,
                 got->rate, got->decay, got->epsilon, got->gradient, want->rate, want->decay, want->epsilon, want->gradient);
    tensor_table_fini(&table);
}

static void laws_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_law(i);
}

static void every_law_is_one_at_the_shape_of_the_base(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++) {
        struct tensor_table table;
        struct error error = {0};
        assert_ok(tensor_table_init(&table, &family_worlds[f].shape, &error), &error);
        struct tensor_law *laws = memory_array((size_t)table.count, sizeof *laws);
        assert_non_null(laws);
        for (int p = 0; p < PARAMETRIZATION_COUNT; p++)
            for (int o = 0; o < OPTIMIZER_COUNT; o++)
                for (int given = 0; given < 2; given++) {
                    struct law_options options = {(enum parametrization)p, (enum optimizer_name)o, {0}, 1};
                    if (given)
                        options.base = family_worlds[f].shape;
                    assert_ok(laws_fill(&table, &options, laws, &error), &error);
                    assert_true(laws_are_one(laws, table.count));
                }
        memory_free(laws);
        tensor_table_fini(&table);
    }
}

static void width_clones_scale_hidden_rates_of_standard_alone(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++) {
        struct tensor_table table;
        struct error error = {0};
        assert_ok(tensor_table_init(&table, &family_worlds[f].shape, &error), &error);
        struct tensor_law *laws = memory_array((size_t)table.count, sizeof *laws);
        assert_non_null(laws);
        struct law_options options = {PARAMETRIZATION_STANDARD, OPTIMIZER_ADAMW, {0}, 0.25};
        assert_ok(laws_fill(&table, &options, laws, &error), &error);
        for (int i = 0; i < table.count; i++) {
            assert_true(laws[i].rate == (role_is_hidden(table.tensors[i].row->role) ? 0.25 : 1));
            assert_true(laws[i].decay == 1 && laws[i].epsilon == 1 && laws[i].gradient == 1);
        }
        options.parametrization = PARAMETRIZATION_MUP;
        assert_fails(laws_fill(&table, &options, laws, &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, "/width_learning_rate");
        memory_free(laws);
        tensor_table_fini(&table);
    }
}

static void another_head_size_than_the_base_is_refused(void **state)
{
    (void)state;
    struct shape base = *world_shape("llama"), shape = base;
    struct tensor_law laws[512];
    struct tensor_table table;
    shape.head_size *= 2;
    for (int p = 0; p < PARAMETRIZATION_COUNT; p++) {
        struct error error = {0};
        const struct law_options options = {(enum parametrization)p, OPTIMIZER_ADAMW, base, 1};
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        assert_true(table.count <= 512);
        assert_fails(laws_fill(&table, &options, laws, &error), p == STANDARD ? ERROR_NONE : ERROR_INVALID, &error);
        tensor_table_fini(&table);
    }
}

/* ---- what new weights are drawn from ---- */

static const struct { const char *world, *tensor; int parametrization; double deviation; } drawn[] = {
    {"gpt2", "wte.weight", STANDARD, 0.02}, {"gpt2", "wte.weight", MUP, 0.02}, {"gpt2", "wte.weight", NTP, 0.02},
    {"gpt2", "h.0.attn.c_attn.weight", STANDARD, 0.02}, {"gpt2", "h.0.attn.c_attn.weight", MUP, 0.02 / R2},
    {"gpt2", "h.0.attn.c_attn.weight", COMPLETEP, 0.02 / R2}, {"gpt2", "h.0.attn.c_attn.weight", NTP, 0.02 / R2},
    /* 0.02 / sqrt(2 layers): of 9 blocks; completep: of the base's 3, times 1/3 */
    {"gpt2", "h.0.mlp.c_proj.weight", STANDARD, 0.0047140452079103168},
    {"gpt2", "h.0.mlp.c_proj.weight", MUP, 0.0023570226039551584},
    {"gpt2", "h.0.mlp.c_proj.weight", NTP, 0.0023570226039551584},
    {"gpt2", "h.0.mlp.c_proj.weight", COMPLETEP, 0.0013608276348795434},
    {"llama", "lm_head.weight", STANDARD, 0.02}, {"llama", "lm_head.weight", MUP, 0.01},
    {"llama", "lm_head.weight", NTP, 0.02 / R2}, {"mixtral", "layers.0.block_sparse_moe.gate.weight", MUP, 0.01},
    /* t5 draws by 1/sqrt(inputs) in any case: 1/sqrt(32), queries over the root of the head size, too */
    {"t5, spans", "encoder.block.0.layer.0.SelfAttention.k.weight", STANDARD, 0.17677669529663687},
    {"t5, spans", "encoder.block.0.layer.0.SelfAttention.k.weight", MUP, 0.17677669529663687},
    {"t5, spans", "encoder.block.0.layer.0.SelfAttention.q.weight", MUP, 0.088388347648318433},
    {"t5, spans", "shared.weight", MUP, 1}, {"t5, gated, ul2", "lm_head.weight", MUP, 0.5},
};

static void new_weights_are_drawn_as_the_rules_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++) {
        const struct shape *base = world_shape(drawn[i].world), shape = grown_shape(base);
        const enum parametrization parametrization = (enum parametrization)drawn[i].parametrization;
        const struct shape reference = parametrization_reference(parametrization, base, &shape);
        struct tensor_table table;
        struct error error = {0};
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        const struct tensor *tensor = tensor_find(&table, drawn[i].tensor);
        assert_non_null(tensor);
        const struct tensor_ratios ratios = tensor_ratios_of(base, &shape, tensor->row);
        assert_near(parametrization_deviation(parametrization, &ratios) * tensor_initial_deviation(&reference, tensor->row),
                    drawn[i].deviation, 1e-16);
        tensor_table_fini(&table);
    }
}

static void names_are_parsed_and_printed(void **state)
{
    (void)state;
    static const char *const names[] = {"standard", "mup", "completep", "ntp"};
    enum parametrization parametrization;
    for (int i = 0; i < PARAMETRIZATION_COUNT; i++) {
        assert_int_equal(parametrization_parse(names[i], &parametrization), 0);
        assert_int_equal(parametrization, i);
        assert_string_equal(parametrization_name(parametrization), names[i]);
    }
    assert_int_equal(parametrization_parse("MUP", &parametrization), -1);
    assert_string_equal(parametrization_name((enum parametrization)9), "unknown");
}

TEST_MAIN(cmocka_unit_test(laws_are_those_worked_out_by_hand),
          cmocka_unit_test(every_law_is_one_at_the_shape_of_the_base),
          cmocka_unit_test(width_clones_scale_hidden_rates_of_standard_alone),
          cmocka_unit_test(another_head_size_than_the_base_is_refused),
          cmocka_unit_test(new_weights_are_drawn_as_the_rules_say), cmocka_unit_test(names_are_parsed_and_printed))
