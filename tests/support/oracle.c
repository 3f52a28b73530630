#include "tests/support/oracle.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"

#define ORACLE_DIRECTORY "tests/fixtures/oracle"

void oracle_open(struct oracle *oracle, const char *name)
{
    struct error error = {0};
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    test_path(directory, ORACLE_DIRECTORY, name);
    assert_ok(checkpoint_load(&oracle->checkpoint, directory, NULL, &error), &error);
    test_path(path, directory, "reference.safetensors");
    assert_ok(safetensors_open(&oracle->reference, path, 0, &error), &error);
}

void oracle_close(struct oracle *oracle)
{
    safetensors_close(&oracle->reference);
    checkpoint_fini(&oracle->checkpoint);
}

static const struct safetensors_entry *find(const struct oracle *oracle, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(&oracle->reference, name);
    if (entry == NULL)
        fail_msg("%s is not in %s", name, oracle->reference.reader.path);
    return entry;
}

float *oracle_floats(const struct oracle *oracle, size_t count, const char *name, ...)
{
    struct error error = {0};
    char text[160];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(text, sizeof text, name, arguments);
    va_end(arguments);
    const struct safetensors_entry *entry = find(oracle, text);
    float *numbers = memory_array(count, sizeof *numbers);
    assert_non_null(numbers);
    assert_int_equal(safetensors_entry_elements(entry), count);
    assert_ok(safetensors_read_floats(&oracle->reference, entry, 0, count, numbers, &error), &error);
    return numbers;
}

double oracle_number(const struct oracle *oracle, const char *name, size_t index)
{
    struct error error = {0};
    float pair[2];
    assert_ok(safetensors_read_floats(&oracle->reference, find(oracle, name), 2 * index, 2, pair, &error), &error);
    return (double)pair[0] + (double)pair[1];
}

static int32_t *read_tokens(const struct oracle *oracle, const char *batch, const char *part, int *rows, int *context)
{
    struct error error = {0};
    char name[64];
    snprintf(name, sizeof name, "%s.%s", batch, part);
    const struct safetensors_entry *entry = find(oracle, name);
    assert_int_equal(entry->dtype, DTYPE_I64);
    assert_int_equal(entry->rank, 2);
    size_t count = (size_t)safetensors_entry_elements(entry);
    int64_t *wide = memory_array(count, sizeof *wide);
    int32_t *tokens = memory_array(count, sizeof *tokens);
    assert_true(wide != NULL && tokens != NULL);
    assert_ok(safetensors_read_raw(&oracle->reference, entry, wide, &error), &error);
    for (size_t i = 0; i < count; i++)
        tokens[i] = wide[i] < 0 ? TARGET_IGNORED : (int32_t)wide[i];
    memory_free(wide);
    *rows = (int)entry->dims[0];
    *context = (int)entry->dims[1];
    return tokens;
}

struct batch oracle_batch(const struct oracle *oracle, const char *name)
{
    struct batch batch = {0};
    int rows, context;
    batch.inputs = read_tokens(oracle, name, "input_ids", &batch.rows, &batch.context);
    if (oracle->checkpoint.table.shape.decoder_layers > 0) {
        batch.decoder_inputs = read_tokens(oracle, name, "decoder_input_ids", &rows, &batch.decoder_context);
        assert_int_equal(rows, batch.rows);
    }
    batch.targets = read_tokens(oracle, name, "targets", &rows, &context);
    assert_int_equal(rows, batch.rows);
    assert_int_equal(context, oracle_batch_targets(&batch));
    return batch;
}

int oracle_batch_targets(const struct batch *batch)
{
    return batch->decoder_inputs != NULL ? batch->decoder_context : batch->context;
}

void oracle_batch_free(struct batch *batch)
{
    memory_free((void *)batch->inputs);
    memory_free((void *)batch->targets);
    memory_free((void *)batch->decoder_inputs);
    memset(batch, 0, sizeof *batch);
}

struct oracle_distance oracle_distance(const double *actual, const float *reference, size_t count)
{
    struct oracle_distance distance = {0, 0};
    for (size_t i = 0; i < count; i++) {
        double difference = actual[i] - (double)reference[i];
        distance.difference += difference * difference;
        distance.reference += (double)reference[i] * (double)reference[i];
    }
    distance.difference = sqrt(distance.difference);
    distance.reference = sqrt(distance.reference);
    return distance;
}

double *oracle_doubles(const void *numbers, size_t element, size_t first, size_t count)
{
    double *doubles = memory_array(count, sizeof *doubles);
    assert_non_null(doubles);
    for (size_t i = 0; i < count; i++)
        doubles[i] = element == sizeof(double) ? ((const double *)numbers)[first + i]
                                               : (double)((const float *)numbers)[first + i];
    return doubles;
}
