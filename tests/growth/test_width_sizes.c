/* Sizes of the operators that widen to any width: what is refused, with the nearest valid value; defaults of each
 * family; an epsilon that changes is written; every allocation may fail. */
#include "tests/support/support.h"

#include "tests/growth/plain.h"

enum { GPT2, OWN_HEAD, LLAMA, BIASES, MISTRAL, QWEN2, BERT, BERT_WHOLE, T5, T5_GATED };
static const char *const OPS[] = {"fpi", "aki", "zero_pad", "lemon"};
enum { OP_COUNT = sizeof OPS / sizeof OPS[0] };

static void sized_list(struct growth_list *list, const char *op, int64_t width, int64_t heads, int64_t ff)
{
    one_step(list, op, "width", width);
    if (heads != 0)
        set_integer(list, 0, "heads", heads);
    if (ff != 0)
        set_integer(list, 0, "ff", ff);
}

struct refusal { int world; int64_t width, heads, ff; const char *pointer, *says; };

/* gpt2: width 8, heads of 4, ff 12; llama: width 10, 6 heads on 3 kv heads; bert: width 9, heads of 3; t5: 8 and 3. */
static const struct refusal REFUSALS[] = {
    {GPT2, 8, 0, 0, "/width", "from 12 to 131072 and a multiple of the head size 4 (nearest valid: 12), not 8"},
    {GPT2, 9, 0, 0, "/width", "nearest valid: 12"},
    {GPT2, 14, 0, 0, "/width", "nearest valid: 16"},
    {GPT2, -7, 0, 0, "/width", "nearest valid: 12"},
    {GPT2, INT64_MAX, 0, 0, "/width", "nearest valid: 131072"},
    {GPT2, 5, 0, 20, "/width", "nearest valid: 8"},
    {GPT2, 16, 3, 0, "/heads", "nearest valid: 4"},
    {GPT2, 8, 3, 0, "/heads", "nearest valid: 2"},
    {GPT2, 16, 0, 11, "/ff", "nearest valid: 12"},
    {GPT2, 16, 0, 1 << 21, "/ff", "nearest valid: 1048576"},
    {BERT, 10, 0, 0, "/width", "nearest valid: 12"},
    {BERT, INT64_MIN, 0, 0, "/width", "nearest valid: 12"},
    {BERT, 200000, 0, 0, "/width", "nearest valid: 131070"},
    {LLAMA, 10, 0, 0, "/width", "from 11 to 131072 (nearest valid: 11), not 10"},
    {LLAMA, 12, 5, 0, "/heads", "nearest valid: 6"},
    {LLAMA, 12, 8, 0, "/heads", "from 6 to 32766 and a multiple of the 3 kv heads (nearest valid: 9), not 8"},
    {LLAMA, 12, INT64_MAX, 0, "/heads", "nearest valid: 32766"},
    {LLAMA, 9, 9, 0, "/width", "nearest valid: 10"},
    {T5, 12, 2, 0, "/heads", "nearest valid: 3"},
    {T5, 8, 0, 12, "/width", "nearest valid: 9"},
    {T5, 8, 0, 5, "/ff", "nearest valid: 12"},
};

static void wrong_sizes_are_refused_with_the_nearest_valid_one(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++)
        for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
            const struct refusal *test = &REFUSALS[i];
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            char pointer[64];
            sized_list(&list, OPS[op], test->width, test->heads, test->ff);
            assert_fails(growth_plan_init(&plan, &plain_worlds[test->world].shape, &list, &error), ERROR_INVALID,
                         &error);
            snprintf(pointer, sizeof pointer, "/operators/0%s", test->pointer);
            assert_string_equal(error.details[0].pointer, pointer);
            assert_contains(error.message, test->says);
            growth_list_fini(&list);
        }
}

/* Heads of gpt2 and bert follow from the width, others' and ff stay; the head size never changes. */
static void sizes_that_are_not_given_follow_the_family(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++)
        for (int world = 0; world < PLAIN_WORLDS; world++) {
            const struct shape *from = &plain_worlds[world].shape;
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            bool filled = from->family == FAMILY_GPT2 || from->family == FAMILY_BERT;
            int width = from->width + 3 * from->head_size;
            sized_list(&list, OPS[op], width, 0, 0);
            assert_ok(growth_plan_init(&plan, from, &list, &error), &error);
            assert_int_equal(plan.to.width, width);
            assert_int_equal(plan.to.heads, filled ? from->heads + 3 : from->heads);
            assert_int_equal(plan.to.kv_heads, filled ? from->heads + 3 : from->kv_heads);
            assert_int_equal(plan.to.head_size, from->head_size);
            assert_int_equal(plan.to.ff, from->ff);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

/* The file that the grown model leaves says its epsilon, so that whoever loads it computes the same function. */
static void an_epsilon_that_changes_is_in_the_file(void **state)
{
    (void)state;
    static const int WORLDS[] = {GPT2, LLAMA, BERT, T5};
    for (size_t w = 0; w < 4; w++) {
        const struct shape *from = &plain_worlds[WORLDS[w]].shape;
        char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
        struct checkpoint parent, grown, loaded;
        struct growth_list list;
        struct error error = {0};
        test_directory_make(directory);
        test_path(path, directory, "grown");
        random_checkpoint(&parent, from, 3, false);
        sized_list(&list, "zero_pad", from->width + from->head_size, 0, 0);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_ok(checkpoint_save(&grown, path, &(struct checkpoint_save){0}, &error), &error);
        assert_ok(checkpoint_load(&loaded, path, NULL, &error), &error);
        assert_true(loaded.table.shape.norm_epsilon == grown.table.shape.norm_epsilon);
        assert_true(loaded.table.shape.norm_epsilon < from->norm_epsilon);
        if (plain_is_rms(from))
            assert_true(plain_preservation(&parent, &loaded, kernels_cpu()) < 1e-4);
        checkpoint_fini(&loaded);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
        test_directory_remove(directory);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const struct shape *shape = &plain_worlds[BIASES].shape;
    struct checkpoint parent;
    struct growth_list list;
    random_checkpoint(&parent, shape, 1, true);
    sized_list(&list, "fpi", 13, 9, 0);
    set_integer(&list, add_step(&list, "add_heads"), "heads", 18);
    set_integer(&list, 1, "kv_heads", 6);
    set_integer(&list, 1, "split", 1);
    set_integer(&list, add_step(&list, "zero_pad"), "width", 20);
    set_integer(&list, 2, "heads", 24);
    set_integer(&list, add_step(&list, "aki"), "width", 24);
    for (int64_t n = 1;; n++) {
        struct growth_plan plan;
        struct checkpoint grown;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = growth_plan_init(&plan, shape, &list, &error);
        bool planned = code == 0;
        if (planned)
            code = growth_apply(&plan, &list, &parent, MOMENTS_CARRY, 1, &grown, &error);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (planned)
            growth_plan_fini(&plan);
        if (code == 0)
            checkpoint_fini(&grown);
        if (crossed < n) {
            assert_ok(code, &error);
            print_message("allocations failed one by one: %d\n", (int)n - 1);
            assert_true(n > 60);
            break;
        }
        assert_int_equal(code, ERROR_NO_MEMORY);
        assert_int_equal(error.code, ERROR_NO_MEMORY);
    }
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

TEST_MAIN(cmocka_unit_test(wrong_sizes_are_refused_with_the_nearest_valid_one),
          cmocka_unit_test(sizes_that_are_not_given_follow_the_family),
          cmocka_unit_test(an_epsilon_that_changes_is_in_the_file),
          cmocka_unit_test(every_allocation_may_fail))
