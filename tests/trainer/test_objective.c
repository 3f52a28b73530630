/* Objectives: the table, its checks, causal and mlm rows. */
#include <math.h>
#include <string.h>

#include "tests/support/support.h"
#include "tests/trainer/fixture.h"

enum { MASK = FIXTURE_VOCABULARY - 1, SPECIAL = 7, CONTEXT = 400, ROWS = 50 };

static struct shape bert_shape(int context)
{
    struct shape shape = fixture_shape();
    shape.family = FAMILY_BERT;
    shape.types = 2;
    shape.activation = ACTIVATION_GELU_ERF;
    shape.norm_epsilon = 1e-12;
    shape.context = context;
    return shape;
}

static struct objective_spec mlm_spec(void)
{
    struct objective_spec spec = objective_defaults(FAMILY_BERT);
    spec.mask_token = MASK;
    return spec;
}

/* ---- the table ---- */

static void names_parse_and_families_have_their_defaults(void **state)
{
    (void)state;
    enum objective_name name;
    for (int i = 0; i < OBJECTIVE_COUNT; i++) {
        assert_int_equal(objective_parse(objective_name((enum objective_name)i), &name), 0);
        assert_int_equal(name, i);
        assert_non_null(objective_of((enum objective_name)i));
        assert_int_equal(objective_of((enum objective_name)i)->name, i);
    }
    assert_int_equal(objective_parse("masked", &name), -1);
    assert_int_equal(objective_defaults(FAMILY_GPT2).name, OBJECTIVE_CAUSAL);
    assert_int_equal(objective_defaults(FAMILY_QWEN2).name, OBJECTIVE_CAUSAL);
    assert_int_equal(objective_defaults(FAMILY_BERT).name, OBJECTIVE_MLM);
    assert_int_equal(objective_defaults(FAMILY_T5).name, OBJECTIVE_SPAN_CORRUPTION);
    for (int family = 0; family < FAMILY_COUNT; family++) {
        struct objective_spec spec = objective_defaults((enum family)family);
        assert_true(objective_of(spec.name)->families >> family & 1u);
    }
}

static void expect_refused(const struct objective_spec *spec, const struct shape *shape, const char *pointer,
                           const char *piece)
{
    struct error error = {0};
    assert_fails(objective_check(spec, shape, shape->context, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, pointer);
    assert_contains(error.details[0].text, piece);
}

static void wrong_specs_are_refused_at_their_members(void **state)
{
    (void)state;
    struct shape bert = bert_shape(16), gpt2 = fixture_shape();
    struct objective_spec spec = mlm_spec();
    struct error error = {0};
    assert_ok(objective_check(&spec, &bert, 16, &error), &error);
    expect_refused(&spec, &gpt2, "/objective", "A gpt2 model can not learn the objective mlm; use causal");
#define REFUSE(change, pointer, piece)              \
    do {                                            \
        spec = mlm_spec();                          \
        change;                                     \
        expect_refused(&spec, &bert, pointer, piece); \
    } while (0)
    REFUSE(spec.name = OBJECTIVE_CAUSAL, "/objective", "use mlm");
    REFUSE(spec.mask_token = TOKEN_NONE, "/mask_token", "needs mask_token");
    REFUSE(spec.mask_token = FIXTURE_VOCABULARY, "/mask_token", "tokens are 0 to 47");
    REFUSE(spec.mask_token = -2, "/mask_token", "-2");
    REFUSE(spec.pad_token = 99, "/pad_token", "99");
    REFUSE(spec.eos_token = 99, "/eos_token", "99");
    REFUSE((spec.special_tokens = (struct token_list){2, {3, 48}}), "/special_tokens/1", "48");
    REFUSE(spec.mode_tokens[MODE_X] = 48, "/mode_tokens/x", "48");
    REFUSE(spec.sentinel_first = 40, "/sentinel_count", "1 to 48");
    REFUSE((spec.sentinel_first = 40, spec.sentinel_count = 42), "/sentinel_count", "token -1");
    REFUSE((spec.sentinel_first = 40, spec.sentinel_count = 2, spec.sentinel_step = 0), "/sentinel_step", "0");
    REFUSE(spec.sentinel_count = 3, "/sentinel_first", "-1");
#undef REFUSE
}

static void special_tokens_are_those_named(void **state)
{
    (void)state;
    struct objective_spec spec = mlm_spec();
    assert_true(objective_is_special(&spec, MASK));
    assert_false(objective_is_special(&spec, 0));
    assert_false(objective_is_special(&spec, 40));
    spec.pad_token = 0;
    spec.eos_token = 1;
    spec.special_tokens = (struct token_list){2, {5, 9}};
    spec.mode_tokens[MODE_S] = 11;
    spec.sentinel_first = 40;
    spec.sentinel_count = 3;
    spec.sentinel_step = -2;
    for (int32_t token = 0; token < MASK; token++) {
        const bool special = token == 0 || token == 1 || token == 5 || token == 9 || token == 11 || token == 40 ||
                             token == 38 || token == 36;
        assert_int_equal(objective_is_special(&spec, token), special);
    }
}

/* ---- rows ---- */

static int32_t *text_new(int rows)
{
    int32_t *text = memory_array((size_t)rows * (CONTEXT + 1), sizeof *text);
    struct rng rng = rng_stream(3, 0, RNG_PROBE);
    assert_non_null(text);
    for (int i = 0; i < rows * (CONTEXT + 1); i++) {
        text[i] = (int32_t)rng_below(&rng, MASK);
    }
    return text;
}

static void parts_make(struct objective_parts *parts, const struct objective_spec *spec, const struct shape *shape,
                       int rows)
{
    struct error error = {0};
    assert_ok(objective_parts_make(parts, spec, shape, rows, CONTEXT, &error), &error);
}

static void fill(struct objective_parts *parts, int row, const int32_t *text, uint64_t seed, uint64_t number)
{
    objective_fill_row(parts, row, CONTEXT, text + number * (CONTEXT + 1), rng_stream(seed, 0, RNG_MASK), number);
}

static void causal_rows_are_shifted_by_one(void **state)
{
    (void)state;
    struct shape shape = fixture_shape();
    struct objective_spec spec = objective_defaults(FAMILY_GPT2);
    struct objective_parts parts;
    int32_t *text = text_new(2);
    parts_make(&parts, &spec, &shape, 2);
    for (int row = 0; row < 2; row++) {
        fill(&parts, row, text, 1, (uint64_t)row);
        assert_memory_equal(parts.inputs + row * CONTEXT, text + row * (CONTEXT + 1), CONTEXT * sizeof *text);
        assert_memory_equal(parts.targets + row * CONTEXT, text + row * (CONTEXT + 1) + 1, CONTEXT * sizeof *text);
    }
    struct batch batch = objective_batch(&parts, 2, CONTEXT);
    assert_true(batch.rows == 2 && batch.context == CONTEXT && batch.inputs == parts.inputs && batch.mask == NULL &&
                batch.prefix == NULL && batch.decoder_inputs == NULL && batch.decoder_context == 0);
    assert_int_equal(batch_predicted(&batch), 2 * CONTEXT);
    objective_parts_free(&parts);
    memory_free(text);
}

/* How often each thing happened to the tokens that may be masked; what must always hold is asserted. */
struct tally { int plain, predicted, masked, kept, other; };

static void tally_row(struct tally *tally, const struct objective_spec *spec, const int32_t *text, const int32_t *inputs,
                      const int32_t *targets)
{
    for (int i = 0; i < CONTEXT; i++) {
        const bool special = objective_is_special(spec, text[i]);
        tally->plain += !special;
        if (targets[i] == TARGET_IGNORED) {
            assert_int_equal(inputs[i], text[i]);
            continue;
        }
        assert_int_equal(targets[i], text[i]);
        assert_false(special);
        assert_in_range(inputs[i], 0, FIXTURE_VOCABULARY - 1);
        tally->predicted++;
        tally->masked += inputs[i] == MASK;
        tally->kept += inputs[i] == text[i];
        tally->other += inputs[i] != MASK && inputs[i] != text[i];
    }
}

/* Within four standard deviations of a binomial count. */
static void assert_share(int count, int of, double share)
{
    const double deviation = sqrt(of * share * (1 - share));
    print_message("    %d of %d, expected %.0f +- %.0f\n", count, of, share * of, deviation);
    assert_true(fabs(count - share * of) < 4 * deviation);
}

static void mlm_predicts_15_percent_and_masks_80_10_10(void **state)
{
    (void)state;
    struct shape shape = bert_shape(CONTEXT);
    struct objective_spec spec = mlm_spec();
    struct objective_parts parts;
    struct tally tally = {0};
    int32_t *text = text_new(ROWS);
    spec.special_tokens = (struct token_list){1, {SPECIAL}};
    parts_make(&parts, &spec, &shape, 1);
    for (uint64_t number = 0; number < ROWS; number++) {
        fill(&parts, 0, text, 5, number);
        tally_row(&tally, &spec, text + number * (CONTEXT + 1), parts.inputs, parts.targets);
    }
    assert_true(tally.plain < ROWS * CONTEXT);
    assert_share(tally.predicted, tally.plain, 0.15);
    /* a random token is the mask or the token itself once in the vocabulary's size each */
    assert_share(tally.masked, tally.predicted, 0.8 + 0.1 / FIXTURE_VOCABULARY);
    assert_share(tally.kept, tally.predicted, 0.1 + 0.1 / FIXTURE_VOCABULARY);
    assert_share(tally.other, tally.predicted, 0.1 * (1 - 2.0 / FIXTURE_VOCABULARY));
    objective_parts_free(&parts);
    memory_free(text);
}

/* Neighbouring windows must not share their draws, nor be each other's continuation. */
static void windows_and_seeds_are_masked_apart(void **state)
{
    (void)state;
    struct shape shape = bert_shape(CONTEXT);
    struct objective_spec spec = mlm_spec();
    struct objective_parts a, b;
    int32_t *text = text_new(4);
    parts_make(&a, &spec, &shape, 4);
    parts_make(&b, &spec, &shape, 4);
    for (int row = 0; row < 4; row++) {
        memcpy(text + row * (CONTEXT + 1), text, (CONTEXT + 1) * sizeof *text);
        fill(&a, row, text, 5, (uint64_t)row);
        fill(&b, row, text, 6, (uint64_t)row);
    }
    for (int row = 0; row < 4; row++) {
        int both = 0, either = 0;
        for (int i = 0; i < CONTEXT; i++) {
            const bool here = a.targets[row * CONTEXT + i] != TARGET_IGNORED;
            const bool there = (row < 3 ? a.targets[(row + 1) * CONTEXT + i] : b.targets[i]) != TARGET_IGNORED;
            both += here && there;
            either += here || there;
        }
        assert_true(both < either / 3);
        assert_memory_not_equal(a.targets + row * CONTEXT, b.targets + row * CONTEXT, CONTEXT * sizeof(int32_t));
    }
    objective_parts_free(&a);
    objective_parts_free(&b);
    memory_free(text);
}

static void a_row_depends_on_its_own_window_alone(void **state)
{
    (void)state;
    struct shape shape = bert_shape(CONTEXT);
    struct objective_spec spec = mlm_spec();
    struct objective_parts whole, one;
    int32_t *text = text_new(6);
    parts_make(&whole, &spec, &shape, 6);
    parts_make(&one, &spec, &shape, 1);
    for (int row = 5; row >= 0; row--) {
        fill(&whole, row, text, 5, (uint64_t)row);
    }
    for (int row = 0; row < 6; row++) {
        fill(&one, 0, text, 5, (uint64_t)row);
        assert_memory_equal(one.inputs, whole.inputs + row * CONTEXT, CONTEXT * sizeof(int32_t));
        assert_memory_equal(one.targets, whole.targets + row * CONTEXT, CONTEXT * sizeof(int32_t));
    }
    objective_parts_free(&whole);
    objective_parts_free(&one);
    memory_free(text);
}

static void every_window_predicts_something(void **state)
{
    (void)state;
    enum { SHORT = 2, WINDOWS = 500 };
    struct shape shape = bert_shape(SHORT);
    struct objective_spec spec = mlm_spec();
    struct objective_parts parts;
    struct error error = {0};
    int firsts = 0;
    spec.special_tokens = (struct token_list){1, {SPECIAL}};
    assert_ok(objective_parts_make(&parts, &spec, &shape, 1, SHORT, &error), &error);
    for (uint64_t number = 0; number < WINDOWS; number++) {
        const int32_t plain[SHORT + 1] = {1, 2, 3}, one[SHORT + 1] = {SPECIAL, 2, 3}, none[SHORT + 1] = {MASK, SPECIAL, 3};
        const struct rng masks = rng_stream(9, 0, RNG_MASK);
        objective_fill_row(&parts, 0, SHORT, plain, masks, number);
        assert_true(parts.targets[0] == 1 || parts.targets[1] == 2);
        firsts += parts.targets[0] == 1;
        objective_fill_row(&parts, 0, SHORT, one, masks, number);
        assert_true(parts.targets[0] == TARGET_IGNORED && parts.targets[1] == 2);
        objective_fill_row(&parts, 0, SHORT, none, masks, number);
        struct batch batch = objective_batch(&parts, 1, SHORT);
        assert_int_equal(batch_predicted(&batch), 1);
    }
    assert_in_range(firsts, WINDOWS / 3, 2 * WINDOWS / 3 + 20);
    objective_parts_free(&parts);
}

static void making_parts_fails_cleanly_at_every_allocation(void **state)
{
    (void)state;
    struct shape shape = bert_shape(CONTEXT);
    struct objective_spec spec = mlm_spec();
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct objective_parts parts;
        int code = objective_parts_make(&parts, &spec, &shape, 3, CONTEXT, &error);
        if (fault_struck(FAULT_ALLOC, n))
            assert_fails(code, ERROR_NO_MEMORY, &error);
        else {
            assert_ok(code, &error);
            objective_parts_free(&parts);
        }
    }
    assert_int_equal(objective_parts_bytes(&spec, &shape, 3, CONTEXT),
                     3 * CONTEXT * 2 * sizeof(int32_t) + OBJECTIVE_WORK * (CONTEXT + 1) * sizeof(int32_t));
}

TEST_MAIN(cmocka_unit_test(names_parse_and_families_have_their_defaults),
          cmocka_unit_test(wrong_specs_are_refused_at_their_members),
          cmocka_unit_test(special_tokens_are_those_named),
          cmocka_unit_test(causal_rows_are_shifted_by_one),
          cmocka_unit_test(mlm_predicts_15_percent_and_masks_80_10_10),
          cmocka_unit_test(windows_and_seeds_are_masked_apart),
          cmocka_unit_test(a_row_depends_on_its_own_window_alone),
          cmocka_unit_test(every_window_predicts_something),
          cmocka_unit_test(making_parts_fails_cleanly_at_every_allocation))
