/* Growing from file to file: the bytes are those of growing in memory and saving, for every operator, family and dtype,
 * whole or a few rows at a time, in one file or in shards; what is damaged is refused; every allocation and write may
 * fail. Noise draws are checked against the table of quantiles they come from. */
#include "tests/support/support.h"

#include "growth/space.h"
#include "growth/stream.h"
#include "tests/growth/family_shapes.h"

static char directory[FILE_PATH_BYTES];

static int make_directory(void **state)
{
    (void)state;
    test_memory_directory_make(directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    test_directory_remove(directory);
    return 0;
}

static void path_of(const char *name, char path[FILE_PATH_BYTES])
{
    struct error error = {0};
    assert_ok(file_join(path, directory, name, &error), &error);
}

/* A random parent of a shape, saved as `dtype`, and read back as it now is. */
static void save_parent(const struct shape *shape, enum dtype dtype, struct checkpoint *parent)
{
    struct error error = {0};
    struct checkpoint made;
    const struct checkpoint_save options = {.dtype_given = true, .dtype = dtype};
    char path[FILE_PATH_BYTES];
    path_of("parent", path);
    random_checkpoint(&made, shape, 11, false);
    assert_ok(checkpoint_save(&made, path, &options, &error), &error);
    checkpoint_fini(&made);
    assert_ok(checkpoint_load(parent, path, NULL, &error), &error);
}

/* piece 0: as it comes. */
static int stream_to(const char *name, const struct growth_list *list, int piece, uint64_t shard_bytes,
                     struct error *error)
{
    struct checkpoint_source source;
    struct growth_plan plan;
    struct growth_stream *stream;
    const struct checkpoint_save options = {.shard_bytes = shard_bytes};
    char path[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    path_of("parent", path);
    path_of(name, out);
    int code = checkpoint_source_open(&source, path, error);
    if (code != 0)
        return code;
    code = growth_plan_init(&plan, &source.table.shape, list, error);
    if (code == 0) {
        code = growth_stream_new(&stream, &plan, list, &source, 3, error);
        if (code == 0 && piece > 0)
            growth_stream_set_piece(stream, piece);
        if (code == 0)
            code = growth_stream_save(stream, out, &options, error);
        growth_stream_free(stream);
        growth_plan_fini(&plan);
    }
    checkpoint_source_close(&source);
    return code;
}

static void memory_to(const char *name, const struct checkpoint *parent, const struct growth_list *list)
{
    struct error error = {0};
    struct checkpoint grown;
    const struct checkpoint_save options = {0};
    char path[FILE_PATH_BYTES];
    path_of(name, path);
    grow_with(parent, list, MOMENTS_RESET, 3, &grown);
    assert_ok(checkpoint_save(&grown, path, &options, &error), &error);
    checkpoint_fini(&grown);
}

static void assert_same_file(const char *a, const char *b, const char *file, const char *title)
{
    struct error error = {0};
    char path[FILE_PATH_BYTES], name[128];
    char *bytes[2];
    size_t lengths[2];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/%s", i == 0 ? a : b, file);
        path_of(name, path);
        assert_ok(file_read(path, 1 << 24, &bytes[i], &lengths[i], &error), &error);
    }
    if (lengths[0] != lengths[1] || memcmp(bytes[0], bytes[1], lengths[0]) != 0)
        fail_msg("%s: %s differs", title, file);
    memory_free(bytes[0]);
    memory_free(bytes[1]);
}

static void check_list(const struct checkpoint *parent, const struct growth_list *list, const char *title)
{
    static const int pieces[] = {0, 1, 50};
    memory_to("memory", parent, list);
    for (int i = 0; i < 3; i++) {
        struct error error = {0};
        assert_ok(stream_to("stream", list, pieces[i], 0, &error), &error);
        assert_same_file("memory", "stream", "model.safetensors", title);
        assert_same_file("memory", "stream", "config.json", title);
    }
}

/* ---- every operator ---- */

static void check_space(const struct checkpoint *parent, struct growth_target target)
{
    const struct shape *from = &parent->table.shape;
    struct growth_space space;
    struct error error = {0};
    if (growth_space_init(&space, from, &target, GROWTH_SPACE_MAX, &error) != 0)
        return;     /* no operator of this family takes that */
    for (int i = 0; i < space.count; i++) {
        struct growth_list *list = &space.ways[i].list;
        bool tells_more = true;
        for (int step = 0; step < list->count; step++)
            tells_more = tells_more && strncmp(list->steps[step].op->name, "msg_", 4) != 0 &&
                         strcmp(list->steps[step].op->name, "ligo") != 0;     /* have no file, or learn */
        if (tells_more)
            check_list(parent, list, space.ways[i].name);
    }
    growth_space_fini(&space);
}

static void every_way_gives_the_bytes_of_growing_in_memory(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_F32, DTYPE_BF16};
    (void)state;
    for (int family = 0; family < FAMILY_SHAPE_COUNT; family++) {
        struct shape from = family_shape(family);
        int layers = from.layers > from.decoder_layers ? from.layers : from.decoder_layers;
        struct checkpoint parent;
        save_parent(&from, dtypes[family % 3], &parent);
        check_space(&parent, (struct growth_target){.layers = layers + 1});
        check_space(&parent, (struct growth_target){.width = 2 * from.width});
        check_space(&parent, (struct growth_target){.width = 3 * from.width, .layers = layers + 2});
        check_space(&parent, (struct growth_target){.width = from.width + from.head_size, .ff = 17});
        check_space(&parent, (struct growth_target){.ff = from.ff + 5});
        check_space(&parent, (struct growth_target){.heads = 2 * from.heads});
        check_space(&parent, (struct growth_target){.context = 2 * from.context});
        checkpoint_fini(&parent);
    }
}

static void noise_on_every_stage_gives_the_same_bytes(void **state)
{
    static const int32_t map[] = {0, -1, 2, 2, 1};
    struct shape from = tiny_shape(3, false);
    struct checkpoint parent;
    struct growth_list list = {0};
    (void)state;
    save_parent(&from, DTYPE_F16, &parent);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 24);
    set_number(&list, 0, "noise", 0.3);
    set_list(&list, add_step(&list, "layer_map"), "map", map, 5);
    set_number(&list, 1, "noise", 0.1);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 41);
    set_number(&list, 2, "noise", 0.2);
    check_list(&parent, &list, "noise everywhere");
    growth_list_fini(&list);
    checkpoint_fini(&parent);
}

static void a_fusion_reads_the_other_model_row_by_row(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct checkpoint parent, other;
    struct growth_partner partner = {.shape = from, .checkpoint = &other};
    struct growth_list list = {0};
    struct error error = {0};
    (void)state;
    save_parent(&from, DTYPE_F32, &parent);
    random_checkpoint(&other, &from, 6, false);
    memcpy(partner.hash, other.hash, sizeof partner.hash);
    value_at(&list, add_step(&list, "fuse"), "with")->text = memory_string("other");
    assert_ok(growth_step_join(&list.steps[0], &partner, &error), &error);
    check_list(&parent, &list, "fuse");
    growth_list_fini(&list);
    checkpoint_fini(&other);
    checkpoint_fini(&parent);
}

static void experts_are_streamed_too(void **state)
{
    struct shape from = family_shape(FAMILY_SHAPE_LLAMA);
    struct checkpoint parent;
    struct growth_list list = {0};
    (void)state;
    save_parent(&from, DTYPE_BF16, &parent);
    set_integer(&list, add_step(&list, "upcycle"), "experts", 3);
    check_list(&parent, &list, "upcycle");
    checkpoint_fini(&parent);
}

/* ---- shards ---- */

static void shards_hold_what_one_file_holds(void **state)
{
    struct shape from = tiny_shape(3, false);
    struct checkpoint parent, one, many;
    struct growth_list list;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    (void)state;
    save_parent(&from, DTYPE_F16, &parent);
    one_step(&list, "hyperclone", "width", 16);
    memory_to("memory", &parent, &list);
    path_of("memory", path);
    assert_ok(checkpoint_load(&one, path, NULL, &error), &error);
    for (uint64_t limit = 1; limit < 100000; limit *= 7) {
        assert_ok(stream_to("shards", &list, 0, limit, &error), &error);
        path_of("shards/model.safetensors", path);
        bool single = file_exists(path);
        path_of("shards/model.safetensors.index.json", path);
        assert_int_equal(file_exists(path), !single);
        path_of("shards", path);
        assert_ok(checkpoint_load(&many, path, NULL, &error), &error);
        assert_string_equal(many.hash, one.hash);
        checkpoint_fini(&many);
    }
    checkpoint_fini(&one);
    checkpoint_fini(&parent);
}

/* ---- trouble ---- */

static void a_value_that_is_not_finite_is_refused_by_name(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    static const char *const ops[] = {"stack", "hyperclone"};
    struct shape from = tiny_shape(2, true);
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct checkpoint parent;
        struct checkpoint_source source;
        struct growth_list list;
        struct error error = {0};
        char path[FILE_PATH_BYTES], *bytes;
        size_t length;
        save_parent(&from, dtypes[i % 3], &parent);
        checkpoint_fini(&parent);
        path_of("parent", path);
        assert_ok(checkpoint_source_open(&source, path, &error), &error);
        const struct tensor *tensor = tensor_find(&source.table, "h.1.mlp.c_fc.weight");
        const struct source_place *place = &source.places[tensor - source.table.tensors];
        size_t size = (size_t)dtype_bytes(dtypes[i % 3]), end = place->file->data_offset + place->entry->begin + 9 * size;
        checkpoint_source_close(&source);
        path_of("parent/model.safetensors", path);
        assert_ok(file_read(path, 1 << 24, &bytes, &length, &error), &error);
        bytes[end - 1] = 0x7F;
        bytes[end - 2] = (char)0xFF;
        assert_ok(file_write(path, bytes, length, &error), &error);
        memory_free(bytes);
        one_step(&list, ops[i / 3], i < 3 ? "layers" : "width", i < 3 ? 4 : 16);
        assert_int_equal(stream_to("stream", &list, 0, 0, &error), ERROR_INVALID);
        assert_contains(error.message, "h.1.mlp.c_fc.weight");
        assert_contains(error.message, "NaN");
    }
}

static void every_allocation_and_write_may_fail(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
    struct shape from = tiny_shape(2, true);
    struct checkpoint parent;
    struct growth_list list = {0};
    (void)state;
    save_parent(&from, DTYPE_F16, &parent);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
    set_integer(&list, add_step(&list, "stack"), "layers", 4);
    for (int kind = 0; kind < 4; kind++) {
        int64_t failures = 0;
        for (int64_t n = 1;; n++) {
            struct error error = {0};
            fault_arm(kinds[kind], n);
            int code = stream_to("stream", &list, 40, 3000, &error);
            bool past = fault_count(kinds[kind]) < n;
            fault_arm(kinds[kind], 0);
            if (past)
                break;
            if (code == 0)
                fail_msg("fault %d of kind %d was not told", (int)n, kind);
            failures++;
        }
        assert_true(failures > 3);
    }
    checkpoint_fini(&parent);
}

TEST_MAIN(cmocka_unit_test_setup_teardown(every_way_gives_the_bytes_of_growing_in_memory, make_directory,
                                          remove_directory),
          cmocka_unit_test_setup_teardown(noise_on_every_stage_gives_the_same_bytes, make_directory, remove_directory),
          cmocka_unit_test_setup_teardown(a_fusion_reads_the_other_model_row_by_row, make_directory, remove_directory),
          cmocka_unit_test_setup_teardown(experts_are_streamed_too, make_directory, remove_directory),
          cmocka_unit_test_setup_teardown(shards_hold_what_one_file_holds, make_directory, remove_directory),
          cmocka_unit_test_setup_teardown(a_value_that_is_not_finite_is_refused_by_name, make_directory, remove_directory),
          cmocka_unit_test_setup_teardown(every_allocation_and_write_may_fail, make_directory, remove_directory))
