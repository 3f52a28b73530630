/* The tables of operators, optimizers and schedules, as JSON Schema and as text. */
#include "tests/api/fixture.h"

#include "api/json.h"

static cJSON *table_read(void (*write)(struct buffer *))
{
    struct buffer out;
    struct error error = {0};
    cJSON *tree;
    buffer_init(&out);
    write(&out);
    assert_ok(json_read(out.data, out.length, &tree, &error), &error);
    buffer_fini(&out);
    return tree;
}

/* Every default stands inside its own schema. */
static void check_schema(const cJSON *schema)
{
    assert_true(cJSON_IsFalse(json_member(schema, "additionalProperties")));
    const cJSON *required = json_member(schema, "required"), *name, *property;
    const cJSON *properties = json_member(schema, "properties");
    cJSON_ArrayForEach(name, required) assert_non_null(json_member(properties, name->valuestring));
    cJSON_ArrayForEach(property, properties) {
        const cJSON *fallback = json_member(property, "default"), *minimum = json_member(property, "minimum");
        const cJSON *choices = json_member(property, "enum"), *choice;
        if (json_member(property, "const")) continue;
        assert_true(strlen(json_member(property, "description")->valuestring) > 0);
        assert_true(json_member(property, "type") || choices || json_member(property, "oneOf"));
        if (cJSON_IsNumber(fallback) && minimum) {
            assert_true(fallback->valuedouble >= minimum->valuedouble);
            assert_true(fallback->valuedouble <= json_member(property, "maximum")->valuedouble);
        }
        bool found = !choices || !fallback;
        cJSON_ArrayForEach(choice, choices) found |= fallback && !strcmp(choice->valuestring, fallback->valuestring);
        assert_true(found);
    }
}

static void operators_table_has_every_row_with_a_schema(void **state)
{
    (void)state;
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    cJSON *tree = table_read(response_operators);
    assert_int_equal(cJSON_GetArraySize(tree), count);
    for (int i = 0; i < count; i++) {
        const cJSON *row = cJSON_GetArrayItem(tree, i), *schema = json_member(row, "parameters");
        assert_string_equal(json_member(row, "op")->valuestring, rows[i]->name);
        assert_true(strlen(json_member(row, "summary")->valuestring) > 0);
        assert_non_null(json_member(row, "promise"));
        assert_non_null(json_member(row, "symmetry"));
        assert_non_null(json_member(row, "moments"));
        assert_true(cJSON_GetArraySize(json_member(row, "families")) >= 1);
        assert_non_null(json_member(row, "source"));
        assert_string_equal(json_member(json_member(json_member(schema, "properties"), "op"), "const")->valuestring,
                            rows[i]->name);
        assert_int_equal(cJSON_GetArraySize(json_member(schema, "properties")), rows[i]->parameter_count + 1);
        check_schema(schema);
    }
    cJSON_Delete(tree);
}

static void trainer_tables_say_what_is_available(void **state)
{
    (void)state;
    void (*const writers[])(struct buffer *) = {response_optimizers, response_schedules};
    for (int t = 0; t < 2; t++) {
        int count;
        const struct table_row *rows = t ? schedule_rows(&count) : optimizer_rows(&count);
        cJSON *tree = table_read(writers[t]);
        assert_int_equal(cJSON_GetArraySize(tree), count);
        for (int i = 0; i < count; i++) {
            const cJSON *row = cJSON_GetArrayItem(tree, i);
            assert_string_equal(json_member(row, "name")->valuestring, rows[i].name);
            assert_int_equal(cJSON_IsTrue(json_member(row, "available")), rows[i].available);
            check_schema(json_member(row, "parameters"));
        }
        cJSON_Delete(tree);
    }
}

static void text_tables_keep_within_the_columns(void **state)
{
    (void)state;
    void (*const writers[])(struct buffer *, int) = {response_operators_text, response_optimizers_text,
                                                    response_schedules_text};
    for (int w = 0; w < 3; w++) {
        for (int columns = 60; columns <= 120; columns += 20) {
            struct buffer out;
            int width = 0;
            buffer_init(&out);
            writers[w](&out, columns);
            for (const char *c = out.data; *c; c++) {
                width = *c == '\n' ? 0 : width + (((unsigned char)*c & 0xC0) != 0x80);
                assert_true(width <= columns);
            }
            buffer_fini(&out);
        }
    }
    struct buffer out;
    buffer_init(&out);
    response_operators_text(&out, 100);
    int count;
    for (int i = 0; i < (growth_operators(&count), count); i++)
        assert_contains(out.data, growth_operators(&count)[i]->name);
    buffer_fini(&out);
}

TEST_MAIN(cmocka_unit_test(operators_table_has_every_row_with_a_schema),
          cmocka_unit_test(trainer_tables_say_what_is_available), cmocka_unit_test(text_tables_keep_within_the_columns))
