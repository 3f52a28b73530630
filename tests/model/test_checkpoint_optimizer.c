/* optimizer.safetensors: its round trip, its tie to the weights file, and saving under faults. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

static const struct checkpoint_load with_moments = {.moments = true};

/* A tiny checkpoint whose moments are different in every element. */
static void make_trained(struct checkpoint *checkpoint, bool raw, const char *directory)
{
    struct error error = {0};
    struct tiny_model model = tiny_model_default();
    tiny_checkpoint_write(directory, &model);
    assert_ok(checkpoint_load(checkpoint, directory, NULL, &error), &error);
    assert_ok(checkpoint_set_moments(checkpoint, MOMENTS_ADAM | (raw ? MOMENTS_RAW : 0), &error), &error);
    for (int i = 0; i < checkpoint->table.count; i++) {
        const struct tensor *tensor = &checkpoint->table.tensors[i];
        checkpoint->moments->steps[i] = (uint64_t)(1000 + i);
        for (size_t j = 0; j < tensor->count; j++) {
            size_t at = tensor->offset + j;
            checkpoint->moments->m[at] = -0.001f * (float)at;
            checkpoint->moments->v[at] = 1e-6f * (float)at;
            if (raw)
                checkpoint->moments->raw[at] = checkpoint->weights[at] + 1e-7f;
        }
    }
}

static int save(const struct checkpoint *checkpoint, const char *directory, struct error *error)
{
    return checkpoint_save(checkpoint, directory, &(struct checkpoint_save){.moments = checkpoint->moments}, error);
}

static void moments_are_read_back_bit_for_bit(void **state)
{
    for (int raw = 0; raw < 2; raw++) {
        char to[FILE_PATH_BYTES];
        struct error error = {0};
        struct checkpoint checkpoint, back;
        struct checkpoint_header header;
        make_trained(&checkpoint, raw, *state);
        assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
        assert_ok(checkpoint_load(&back, to, &with_moments, &error), &error);
        size_t bytes = checkpoint.table.slab * sizeof(float);
        assert_memory_equal(back.moments->m, checkpoint.moments->m, bytes);
        assert_memory_equal(back.moments->v, checkpoint.moments->v, bytes);
        assert_memory_equal(back.moments->steps, checkpoint.moments->steps,
                            (size_t)checkpoint.table.count * sizeof(uint64_t));
        assert_int_equal(back.moments->raw != NULL, raw);
        if (raw)
            assert_memory_equal(back.moments->raw, checkpoint.moments->raw, bytes);
        checkpoint_fini(&back);
        assert_ok(checkpoint_load(&back, to, NULL, &error), &error);
        assert_null(back.moments);
        assert_ok(checkpoint_read_header(&header, to, &error), &error);
        assert_true(header.has_moments);
        checkpoint_fini(&back);
        checkpoint_fini(&checkpoint);
    }
}

static void names_carry_the_prefix_and_the_file_the_models_hash(void **state)
{
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES], hash[HASH_HEX_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint;
    struct safetensors file;
    size_t length;
    make_trained(&checkpoint, true, *state);
    assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
    char *bytes = test_read_file(test_path(path, to, "model.safetensors"), &length);
    hash_bytes_hex(bytes, length, hash);
    memory_free(bytes);
    assert_ok(safetensors_open(&file, test_path(path, to, "optimizer.safetensors"), 0, &error), &error);
    assert_string_equal(safetensors_metadata(&file, "model_sha256"), hash);
    assert_int_equal(file.count, 4 * checkpoint.table.count);
    static const char *const endings[] = {"w", "m", "v", "step"};
    for (int i = 0; i < 4; i++) {
        char name[96];
        snprintf(name, sizeof name, "transformer.h.1.attn.c_attn.weight.%s", endings[i]);
        const struct safetensors_entry *entry = safetensors_find(&file, name);
        assert_non_null(entry);
        assert_int_equal(entry->dtype, i == 3 ? DTYPE_I64 : DTYPE_F32);
        assert_int_equal(entry->rank, i == 3 ? 0 : 2);
        assert_int_equal((file.data_offset + entry->begin) % (i == 3 ? 8 : 4), 0);
    }
    safetensors_close(&file);
    checkpoint_fini(&checkpoint);
}

static void an_optimizer_file_of_other_weights_is_refused_when_asked_for(void **state)
{
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint, back;
    make_trained(&checkpoint, true, *state);
    assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
    checkpoint.weights[0] += 1;
    assert_ok(checkpoint_save_weights(&checkpoint, NULL, DTYPE_F32, test_path(path, to, "model.safetensors"), NULL,
                                      &error), &error);
    assert_fails(checkpoint_load(&back, to, &with_moments, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "optimizer.safetensors belongs to other weights");
    assert_contains(error.message, "delete it or restore the model file");
    error_clear(&error);
    assert_ok(checkpoint_load(&back, to, NULL, &error), &error);
    checkpoint_fini(&back);
    checkpoint_fini(&checkpoint);
}

static void saving_without_moments_removes_an_old_optimizer_file(void **state)
{
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint;
    make_trained(&checkpoint, false, *state);
    assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
    assert_true(file_exists(test_path(path, to, "optimizer.safetensors")));
    assert_ok(checkpoint_save(&checkpoint, to, &(struct checkpoint_save){0}, &error), &error);
    assert_false(file_exists(path));
    checkpoint_fini(&checkpoint);
}

/* Rewrites the optimizer file with its metadata and one change. */
enum change { MISSING, EXTRA, WRONG_SHAPE, WRONG_DTYPE, NEGATIVE_STEP, NAN_MOMENT, NEGATIVE_SQUARE, NO_HASH, CHANGES };

static void rewrite(const char *path, enum change change)
{
    const char *target = "transformer.ln_f.bias.v";
    struct error error = {0};
    struct safetensors file;
    struct safetensors_writer writer;
    float *values = memory_array(4096, sizeof *values);
    assert_ok(safetensors_open(&file, path, 0, &error), &error);
    safetensors_writer_init(&writer);
    if (change != NO_HASH)
        assert_ok(safetensors_writer_metadata(&writer, "model_sha256", safetensors_metadata(&file, "model_sha256"),
                                              &error), &error);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < file.count; i++) {
            const struct safetensors_entry *entry = &file.entries[i];
            bool hit = strcmp(entry->name, target) == 0;
            bool step = change == NEGATIVE_STEP && strcmp(entry->name, "transformer.ln_f.bias.step") == 0;
            if (change == MISSING && hit)
                continue;
            if (pass == 0) {
                uint64_t dims[2] = {entry->dims[0], entry->dims[1]};
                bool flat = change == WRONG_SHAPE && hit;
                dims[1] = flat ? 1 : dims[1];
                assert_ok(safetensors_writer_add(&writer, entry->name, change == WRONG_DTYPE && hit ? DTYPE_I32
                                                 : entry->dtype, entry->rank + flat, dims, &error), &error);
                continue;
            }
            size_t length = (size_t)(entry->end - entry->begin);
            assert_true(length <= 4096 * sizeof *values);
            assert_ok(safetensors_read_raw(&file, entry, values, &error), &error);
            if (step)
                memset(values, 0xFF, length);
            if (hit && change == NAN_MOMENT)
                values[3] = NAN;
            if (hit && change == NEGATIVE_SQUARE)
                values[3] = -1;
            assert_ok(safetensors_writer_raw(&writer, values, length, &error), &error);
        }
        if (change == EXTRA && pass == 0)
            assert_ok(safetensors_writer_add(&writer, "transformer.ln_f.bias.q", DTYPE_F32, 1, (const uint64_t[]){0},
                                             &error), &error);
        if (pass == 0)
            assert_ok(safetensors_writer_begin(&writer, path, &error), &error);
    }
    assert_ok(safetensors_writer_commit(&writer, &error), &error);
    safetensors_writer_fini(&writer);
    safetensors_close(&file);
    memory_free(values);
}

static void every_wrong_optimizer_file_is_refused_by_name(void **state)
{
    static const char *const words[CHANGES] = {
        [MISSING] = "transformer.ln_f.bias.v: missing", [EXTRA] = "transformer.ln_f.bias.q: unexpected",
        [WRONG_SHAPE] = "transformer.ln_f.bias.v: another shape",
        [WRONG_DTYPE] = "ln_f.bias.v: dtype I32, F32 is expected",
        [NEGATIVE_STEP] = "\"transformer.ln_f.bias.step\" is -1",
        [NAN_MOMENT] = "ln_f.bias.v\" of optimizer.safetensors holds NaN",
        [NEGATIVE_SQUARE] = "negative at index 3", [NO_HASH] = "has no model_sha256",
    };
    for (int change = 0; change < CHANGES; change++) {
        char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
        struct error error = {0};
        struct checkpoint checkpoint, back;
        make_trained(&checkpoint, false, *state);
        assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
        rewrite(test_path(path, to, "optimizer.safetensors"), (enum change)change);
        assert_fails(checkpoint_load(&back, to, &with_moments, &error), ERROR_INVALID, &error);
        assert_contains(error.message, words[change]);
        checkpoint_fini(&checkpoint);
    }
}

/* A schedule-free state: z, and how far its average is, in the metadata; each number wrong in turn. */
static void the_average_is_read_back_bit_for_bit_or_refused(void **state)
{
    static const char *const keys[3] = {"averaged_updates", "weight_sum", "largest_rate"};
    static const char *const wrong[] = {NULL, "", "x", "-1", "nan", "inf", "1 2", "1.5"};
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint, back;
    make_trained(&checkpoint, true, *state);
    assert_ok(checkpoint_set_moments(&checkpoint, MOMENT_BIT(MOMENT_Z) | MOMENT_BIT(MOMENT_V) | MOMENTS_RAW, &error), &error);
    memcpy(checkpoint.moments->z, checkpoint.weights, checkpoint.table.slab * sizeof(float));
    checkpoint.moments->averaging =
        (struct averaging){.updates = 9007199254740991, .weight_sum = 0.1 + 0.2, .rate_maximum = 0.1 / 3};
    assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
    assert_ok(checkpoint_load(&back, to, &with_moments, &error), &error);
    assert_int_equal(moments_parts(back.moments), moments_parts(checkpoint.moments));
    assert_memory_equal(back.moments->z, checkpoint.moments->z, checkpoint.table.slab * sizeof(float));
    assert_memory_equal(&back.moments->averaging, &checkpoint.moments->averaging, sizeof back.moments->averaging);
    checkpoint_fini(&back);
    test_path(path, to, "optimizer.safetensors");
    size_t length;
    char *good = test_read_file(path, &length);
    for (int key = 0; key < 3; key++) {
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            if (key > 0 && wrong[i] != NULL && strcmp(wrong[i], "1.5") == 0)
                continue;                    /* only a count must be whole */
            char *bad = memory_array(length + 1, 1), name[40];
            memcpy(bad, good, length);
            char *at = memmem(bad, length, keys[key], strlen(keys[key]));
            assert_non_null(at);
            if (wrong[i] == NULL) {
                at[0] = 'X';                 /* missing */
            } else {                         /* the value's text, filled up behind its end with the object's own spaces */
                char *value = strchr(at, ':') + 1;
                char *end = value + 1 + strcspn(value + 1, "\"") + 1;
                int size = snprintf(name, sizeof name, "\"%s\"", wrong[i]);
                assert_true(end - value >= size);
                memset(value, ' ', (size_t)(end - value));
                memcpy(value, name, (size_t)size);
            }
            test_write_file(path, bad, length);
            error_clear(&error);
            assert_fails(checkpoint_load(&back, to, &with_moments, &error), ERROR_INVALID, &error);
            assert_contains(error.message, keys[key]);
            memory_free(bad);
        }
    }
    memory_free(good);
    checkpoint_fini(&checkpoint);
}

static void moments_that_are_not_finite_are_not_saved(void **state)
{
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint;
    make_trained(&checkpoint, false, *state);
    checkpoint.moments->v[checkpoint.table.tensors[1].offset] = INFINITY;
    assert_fails(save(&checkpoint, test_path(to, *state, "to"), &error), ERROR_DIVERGED, &error);
    assert_contains(error.message, "\"wpe.weight.v\"");
    assert_false(file_exists(test_path(path, to, "optimizer.safetensors")));
    checkpoint_fini(&checkpoint);
}

/* The files of a saved directory in memory: put back without the fsyncs of a save, of which a sweep would pay
 * hundreds. */
enum { SAVED_FILES = 3 };
static const char *const saved_names[SAVED_FILES] = {"config.json", "model.safetensors", "optimizer.safetensors"};
struct saved { char *bytes[SAVED_FILES]; size_t lengths[SAVED_FILES]; };

static void capture(struct saved *saved, const char *directory)
{
    char path[FILE_PATH_BYTES];
    for (int i = 0; i < SAVED_FILES; i++)
        saved->bytes[i] = test_read_file(test_path(path, directory, saved_names[i]), &saved->lengths[i]);
}

static void put_back(const struct saved *saved, const char *directory)
{
    char path[FILE_PATH_BYTES];
    for (int i = 0; i < SAVED_FILES; i++)
        test_write_file(test_path(path, directory, saved_names[i]), saved->bytes[i], saved->lengths[i]);
}

/* After any failed save over an older one the directory loads as the old or as the new state, or says clearly that it
 * can not; a file of one state is never accepted beside one of the other. */
static void a_failed_save_never_leaves_an_optimizer_of_other_weights(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
    static const int least_rounds[] = {60, 4, 7, 4};    /* three files: a write, two fsyncs, a rename each; none */
    char to[FILE_PATH_BYTES];
    struct error error = {0};
    struct saved saved;
    struct checkpoint old, new;
    make_trained(&old, true, *state);
    assert_ok(checkpoint_copy(&new, &old, &error), &error);
    new.weights[0] += 1;
    new.moments->m[0] += 1;
    assert_ok(save(&old, test_path(to, *state, "to"), &error), &error);
    capture(&saved, to);
    for (int k = 0; k < 4; k++) {
        int rounds = 0;
        SWEEP_FAULTS(kinds[k], n) {
            struct checkpoint back;
            error_clear(&error);
            put_back(&saved, to);
            int code = save(&new, to, &error);
            if (fault_struck(kinds[k], n))
                assert_true(code != 0 && code == (int)error.code);
            else
                assert_ok(code, &error);
            assert_int_equal(test_count_temporaries(to), 0);
            error_clear(&error);
            assert_ok(checkpoint_load(&back, to, &with_moments, &error), &error);
            bool is_new = back.weights[0] == new.weights[0];
            assert_true(is_new || back.weights[0] == old.weights[0]);
            if (back.moments != NULL)
                assert_true(back.moments->m[0] == (is_new ? new : old).moments->m[0]);
            checkpoint_fini(&back);
            rounds++;
        }
        print_message("    %d rounds\n", rounds);
        assert_true(rounds >= least_rounds[k]);
    }
    for (int i = 0; i < SAVED_FILES; i++)
        memory_free(saved.bytes[i]);
    checkpoint_fini(&old);
    checkpoint_fini(&new);
}

static void loading_moments_fails_cleanly_at_every_allocation(void **state)
{
    char to[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint;
    int rounds = 0;
    make_trained(&checkpoint, true, *state);
    assert_ok(save(&checkpoint, test_path(to, *state, "to"), &error), &error);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct checkpoint back;
        error_clear(&error);
        int code = checkpoint_load(&back, to, &with_moments, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            checkpoint_fini(&back);
        }
        rounds++;
    }
    assert_true(rounds > 60);
    rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct checkpoint copy;
        error_clear(&error);
        int code = checkpoint_copy(&copy, &checkpoint, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            checkpoint_fini(&copy);
        }
        rounds++;
    }
    assert_int_equal(rounds, 9);    /* table, weights, text, moments and its four arrays; none */
    checkpoint_fini(&checkpoint);
}

TEST_MAIN(IN_DIRECTORY(moments_are_read_back_bit_for_bit),
          IN_DIRECTORY(names_carry_the_prefix_and_the_file_the_models_hash),
          IN_DIRECTORY(an_optimizer_file_of_other_weights_is_refused_when_asked_for),
          IN_DIRECTORY(saving_without_moments_removes_an_old_optimizer_file),
          IN_DIRECTORY(every_wrong_optimizer_file_is_refused_by_name),
          IN_DIRECTORY(the_average_is_read_back_bit_for_bit_or_refused),
          IN_DIRECTORY(moments_that_are_not_finite_are_not_saved),
          IN_DIRECTORY(a_failed_save_never_leaves_an_optimizer_of_other_weights),
          IN_DIRECTORY(loading_moments_fails_cleanly_at_every_allocation))
