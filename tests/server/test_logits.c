/* lag logits on token files of every family: padded rows, token types, a decoder's side, against the logits that
 * Hugging Face transformers computed (tests/oracle/); and what is refused. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "server/token_file.h"
#include "tests/support/oracle.h"
#include "tests/support/process.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

enum { PARTS_MAX = 6, NUMBERS_MAX = 64 };

/* A tensor of a token file. */
struct part {
    const char *name;
    enum dtype dtype;
    int rank;
    uint64_t dims[2];
    int64_t values[NUMBERS_MAX];
};

static size_t part_count(const struct part *part)
{
    return (size_t)part->dims[0] * (size_t)(part->rank == 2 ? part->dims[1] : 1);
}

static void write_part(struct safetensors_writer *writer, const struct part *part)
{
    struct error error = {0};
    unsigned char bytes[NUMBERS_MAX];
    size_t count = part_count(part);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)part->values[i];
    if (part->dtype == DTYPE_I64)
        assert_ok(safetensors_writer_raw(writer, part->values, count * sizeof(int64_t), &error), &error);
    else
        assert_ok(safetensors_writer_raw(writer, bytes, count, &error), &error);
}

/* Parts without a name are left out. */
static void write_tokens(const char *path, const struct part *parts, int count)
{
    struct safetensors_writer writer;
    struct error error = {0};
    safetensors_writer_init(&writer);
    for (int i = 0; i < count; i++)
        if (parts[i].name != NULL)
            assert_ok(safetensors_writer_add(&writer, parts[i].name, parts[i].dtype, parts[i].rank, parts[i].dims, &error),
                      &error);
    assert_ok(safetensors_writer_begin(&writer, path, &error), &error);
    for (int i = 0; i < count; i++)
        if (parts[i].name != NULL)
            write_part(&writer, &parts[i]);
    assert_ok(safetensors_writer_commit(&writer, &error), &error);
    safetensors_writer_fini(&writer);
}

static void run_logits(struct process *process, const char *directory, const char *model, const char *out)
{
    char checkpoint[FILE_PATH_BYTES], tokens[FILE_PATH_BYTES];
    const char *arguments[] = {
        process_lag(), "logits", "--checkpoint", test_path(checkpoint, "tests/fixtures/oracle", model), "--tokens",
        test_path(tokens, directory, "tokens.safetensors"), "--out", out, NULL,
    };
    process_run(process, arguments, NULL);
}

/* ---- against transformers ---- */

/* The parts that a fixture's batch has. */
static int read_parts(const struct oracle *oracle, const char *batch, enum dtype mask_dtype, struct part *parts)
{
    static const char *const names[] = {
        "input_ids", "attention_mask", "token_type_ids", "decoder_input_ids", "decoder_attention_mask",
    };
    int count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct error error = {0};
        char name[64];
        snprintf(name, sizeof name, "%s.%s", batch, names[i]);
        const struct safetensors_entry *entry = safetensors_find(&oracle->reference, name);
        if (entry == NULL)
            continue;
        assert_true(entry->dtype == DTYPE_I64 && safetensors_entry_elements(entry) <= NUMBERS_MAX);
        bool mask = strstr(names[i], "mask") != NULL;
        parts[count] = (struct part){names[i], mask ? mask_dtype : DTYPE_I64, 2, {entry->dims[0], entry->dims[1]}, {0}};
        assert_ok(safetensors_read_raw(&oracle->reference, entry, parts[count].values, &error), &error);
        count++;
    }
    return count;
}

static void check_against_reference(const struct oracle *oracle, const char *batch, const char *path)
{
    struct error error = {0};
    struct safetensors file;
    char name[64];
    snprintf(name, sizeof name, "%s.logits", batch);
    assert_ok(safetensors_open(&file, path, 0, &error), &error);
    const struct safetensors_entry *entry = safetensors_find(&file, "logits");
    const struct safetensors_entry *expected = safetensors_find(&oracle->reference, name);
    assert_true(entry != NULL && expected != NULL && file.count == 1);
    assert_true(entry->dtype == DTYPE_F32 && entry->rank == 3);
    assert_memory_equal(entry->dims, expected->dims, 3 * sizeof entry->dims[0]);
    size_t count = (size_t)safetensors_entry_elements(entry);
    float *actual = memory_array(count, sizeof *actual), *reference = oracle_floats(oracle, count, "%s", name);
    assert_non_null(actual);
    assert_ok(safetensors_read_floats(&file, entry, 0, count, actual, &error), &error);
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)reference[i]));
    assert_close(largest_difference(actual, reference, count) / largest, 2e-5);
    memory_free(actual);
    memory_free(reference);
    safetensors_close(&file);
}

static void check_batch(const char *directory, const char *model, const char *batch, enum dtype mask_dtype)
{
    struct oracle oracle;
    struct process process;
    struct part parts[PARTS_MAX];
    char tokens[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    print_message("  %s, %s, masks %s\n", model, batch, dtype_name(mask_dtype));
    oracle_open(&oracle, model);
    int count = read_parts(&oracle, batch, mask_dtype, parts);
    write_tokens(test_path(tokens, directory, "tokens.safetensors"), parts, count);
    run_logits(&process, directory, model, test_path(out, directory, "logits.safetensors"));
    assert_exit(&process, 0);
    process_free(&process);
    check_against_reference(&oracle, batch, out);
    oracle_close(&oracle);
}

static void every_family_answers_as_transformers_does(void **state)
{
    static const char *const batches[][2] = {
        {"gpt2_a", "short"}, {"llama_a", "padded"}, {"llama_b", "padded"}, {"mistral_a", "padded"},
        {"mistral_b", "padded"}, {"qwen2_a", "padded"}, {"qwen2_b", "padded"}, {"mixtral_a", "padded"}, {"mixtral_b", "short"},
        {"bert_a", "short"}, {"bert_a", "typed"}, {"bert_a", "padded"}, {"bert_b", "padded"}, {"t5_a", "short"},
        {"t5_a", "padded"}, {"t5_b", "short"}, {"t5_b", "padded"},
    };
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++)
        check_batch(*state, batches[i][0], batches[i][1], DTYPE_I64);
}

static void masks_of_bytes_mean_the_same(void **state)
{
    static const char *const models[] = {"llama_a", "bert_a", "t5_a"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        check_batch(*state, models[i], "padded", DTYPE_U8);
        check_batch(*state, models[i], "padded", DTYPE_BOOL);
    }
}

/* ---- masks ---- */

static struct part part_of(const char *name, int context, int64_t first, int64_t step)
{
    struct part part = {name, DTYPE_I64, 2, {2, (uint64_t)context}, {0}};
    for (int i = 0; i < 2 * context; i++)
        part.values[i] = first + step * i;
    return part;
}

static char *logits_of_parts(const char *directory, const char *model, const struct part *parts, int count, size_t *length)
{
    struct process process;
    char path[FILE_PATH_BYTES];
    write_tokens(test_path(path, directory, "tokens.safetensors"), parts, count);
    run_logits(&process, directory, model, test_path(path, directory, "logits.safetensors"));
    assert_exit(&process, 0);
    process_free(&process);
    return test_read_file(path, length);
}

/* gpt2: ones change no bit; tokens behind padding change nothing before it, and the padded token nothing at all. */
static void padding_hides_its_token_from_every_other(void **state)
{
    struct part parts[] = {part_of("input_ids", 6, 0, 3), part_of("attention_mask", 6, 1, 0)};
    size_t length, other_length;
    char *plain = logits_of_parts(*state, "gpt2_a", parts, 1, &length);
    char *ones = logits_of_parts(*state, "gpt2_a", parts, 2, &other_length);
    assert_true(length == other_length && memcmp(plain, ones, length) == 0);
    parts[1].values[2] = 0;
    char *padded = logits_of_parts(*state, "gpt2_a", parts, 2, &other_length);
    parts[0].values[2] = 36;
    char *changed = logits_of_parts(*state, "gpt2_a", parts, 2, &other_length);
    size_t position = 37 * sizeof(float), start = length - 12 * position;
    assert_int_equal(length, other_length);
    assert_memory_equal(plain, padded, start + 2 * position);
    assert_true(memcmp(plain + start + 3 * position, padded + start + 3 * position, position) != 0);
    assert_true(memcmp(padded + start + 2 * position, changed + start + 2 * position, position) != 0);
    assert_memory_equal(padded + start + 3 * position, changed + start + 3 * position, 9 * position);
    char *texts[] = {plain, ones, padded, changed};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        memory_free(texts[i]);
}

/* ---- refused ---- */

static void check_refused(const char *directory, const char *model, const struct part *parts, int count, const char *words)
{
    struct process process;
    char path[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    size_t length;
    write_tokens(test_path(path, directory, "tokens.safetensors"), parts, count);
    run_logits(&process, directory, model, test_path(out, directory, "refused.safetensors"));
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], words);
    length = process.length[PROCESS_ERR];
    assert_true(strchr(process.text[PROCESS_ERR], '\n') == process.text[PROCESS_ERR] + length - 1);
    assert_false(file_exists(out));
    process_free(&process);
}

static void wrong_shapes_are_refused_with_one_sentence(void **state)
{
    const struct part inputs = part_of("input_ids", 6, 0, 3), decoder = part_of("decoder_input_ids", 4, 1, 1);
    struct part flat = inputs, bytes = inputs, floats = part_of("attention_mask", 6, 1, 0), few = floats;
    flat.rank = 1;
    bytes.dtype = DTYPE_U8;
    floats.dtype = DTYPE_I8;
    few.dims[0] = 1;
    const struct { const char *model; struct part parts[3]; const char *words; } cases[] = {
        {"gpt2_a", {decoder}, "decoder_input_ids, which gpt2 models do not read"},
        {"gpt2_a", {part_of("attention_mask", 6, 1, 0)}, "needs an I64 tensor input_ids"},
        {"gpt2_a", {flat}, "input_ids"},
        {"gpt2_a", {bytes}, "must be an I64 tensor"},
        {"gpt2_a", {part_of("input_ids", 14, 0, 1)}, "has 14 positions, the model has 13"},
        {"gpt2_a", {inputs, floats}, "must be an I64, U8 or BOOL tensor"},
        {"gpt2_a", {inputs, few}, "attention_mask is (1, 6), but the tokens beside it are (2, 6)"},
        {"bert_a", {inputs, part_of("token_type_ids", 5, 0, 0)}, "token_type_ids is (2, 5)"},
        {"llama_a", {inputs, part_of("token_type_ids", 6, 0, 0)}, "token_type_ids, which llama models do not read"},
        {"t5_a", {inputs}, "needs an I64 tensor decoder_input_ids"},
        {"t5_a", {inputs, decoder, part_of("decoder_attention_mask", 6, 1, 0)}, "decoder_attention_mask is (2, 6)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(*state, cases[i].model, cases[i].parts, 3, cases[i].words);
}

static void wrong_values_are_refused_with_one_sentence(void **state)
{
    const struct part inputs = part_of("input_ids", 6, 0, 3), decoder = part_of("decoder_input_ids", 4, 1, 1);
    struct part gone = part_of("attention_mask", 6, 1, 0), twos = part_of("decoder_attention_mask", 4, 1, 0);
    memset(gone.values + 6, 0, 6 * sizeof gone.values[0]);
    twos.values[5] = 2;
    const struct { const char *model; struct part parts[3]; const char *words; } cases[] = {
        {"gpt2_a", {part_of("input_ids", 6, 30, 1)}, "input_ids[7] is 37; tokens are 0 to 36"},
        {"gpt2_a", {part_of("input_ids", 6, 3, -1)}, "input_ids[4] is -1; tokens are 0 to 36"},
        {"gpt2_a", {inputs, gone}, "row 1 of attention_mask has no 1"},
        {"bert_a", {inputs, part_of("token_type_ids", 6, 2, 0)}, "token_type_ids[0] is 2; token types are 0 to 1"},
        {"t5_a", {inputs, part_of("decoder_input_ids", 4, 30, 1)}, "decoder_input_ids[7] is 37"},
        {"t5_a", {inputs, decoder, twos}, "decoder_attention_mask[5] is 2; values are 0 to 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(*state, cases[i].model, cases[i].parts, 3, cases[i].words);
}

static void reading_tokens_survives_any_failed_allocation(void **state)
{
    struct oracle oracle;
    struct part parts[PARTS_MAX];
    char path[FILE_PATH_BYTES];
    int rounds = 0;
    oracle_open(&oracle, "t5_a");
    write_tokens(test_path(path, *state, "tokens.safetensors"), parts, read_parts(&oracle, "padded", DTYPE_U8, parts));
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct token_file file;
        struct error error = {0};
        int code = token_file_read(&file, path, &oracle.checkpoint.table.shape, &error);
        rounds++;
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            assert_true(file.rows == 3 && file.context == 13 && file.decoder_context == 12);
            struct batch batch = token_file_row(&file, 2);
            assert_true(batch.mask[7] == 1 && batch.mask[8] == 0 && batch.decoder_mask[10] == 1);
            assert_true(batch.decoder_mask[11] == 0 && batch.types == NULL);
        }
        token_file_free(&file);
    }
    assert_true(rounds > 10);
    oracle_close(&oracle);
}

TEST_MAIN(IN_DIRECTORY(every_family_answers_as_transformers_does), IN_DIRECTORY(masks_of_bytes_mean_the_same),
          IN_DIRECTORY(padding_hides_its_token_from_every_other), IN_DIRECTORY(wrong_shapes_are_refused_with_one_sentence),
          IN_DIRECTORY(wrong_values_are_refused_with_one_sentence),
          IN_DIRECTORY(reading_tokens_survives_any_failed_allocation))
