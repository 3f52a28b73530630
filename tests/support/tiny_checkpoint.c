#include "tests/support/tiny_checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "tests/support/support.h"

struct tiny_model tiny_model_default(void)
{
    return (struct tiny_model){.layers = 2, .width = 8, .heads = 2, .ff = 16, .context = 6, .vocabulary = 11,
                               .tied = true, .prefixed = true, .dtype = "F32"};
}

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

/* FNV-1a over the name, mixed with the index. */
static uint32_t scramble(const char *name, size_t index)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    hash = (hash ^ (uint32_t)index) * 2654435761u;
    return hash ^ hash >> 15;
}

float tiny_value(const char *name, size_t index)
{
    uint32_t hash = scramble(name, index);
    bool gain = ends_with(name, "ln_1.weight") || ends_with(name, "ln_2.weight") || ends_with(name, "ln_f.weight");
    if (gain)
        return 1.0f + (float)((int)(hash % 63) - 31) / 128.0f;
    return (float)((int)(hash % 255) - 127) / 512.0f;
}

static size_t dtype_size(const char *dtype)
{
    if (strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0)
        return 2;
    if (strcmp(dtype, "I64") == 0)
        return 8;
    return strcmp(dtype, "U8") == 0 || strcmp(dtype, "BOOL") == 0 ? 1 : 4;
}

struct tiny_file *tiny_file_new(void)
{
    struct tiny_file *file = memory_new(sizeof *file);
    assert_non_null(file);
    return file;
}

void tiny_file_free(struct tiny_file *file)
{
    for (int i = 0; i < file->count; i++)
        memory_free(file->tensors[i].bytes);
    memory_free(file);
}

struct tiny_tensor *tiny_file_add(struct tiny_file *file, const char *name, const char *dtype, int rank,
                                  const uint64_t *dims)
{
    assert_true(file->count < TINY_TENSORS_MAX);
    struct tiny_tensor *tensor = &file->tensors[file->count++];
    memset(tensor, 0, sizeof *tensor);
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    snprintf(tensor->dtype, sizeof tensor->dtype, "%s", dtype);
    tensor->rank = rank;
    tensor->length = dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        tensor->dims[i] = dims[i];
        tensor->length *= (size_t)dims[i];
    }
    tensor->bytes = memory_new(tensor->length);
    assert_non_null(tensor->bytes);
    return tensor;
}

struct tiny_tensor *tiny_file_find(struct tiny_file *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    fail_msg("the file has no tensor %s", name);
    return NULL;
}

void tiny_file_remove(struct tiny_file *file, const char *name)
{
    struct tiny_tensor *tensor = tiny_file_find(file, name);
    memory_free(tensor->bytes);
    *tensor = file->tensors[--file->count];
}

void tiny_tensor_set(struct tiny_tensor *tensor, size_t index, float value)
{
    uint32_t bits;
    uint16_t half;
    memcpy(&bits, &value, sizeof bits);
    if (strcmp(tensor->dtype, "F32") == 0) {
        memcpy(tensor->bytes + 4 * index, &bits, 4);
        return;
    }
    if (strcmp(tensor->dtype, "BF16") == 0) {
        half = (uint16_t)(bits >> 16);
    } else {
        _Float16 narrow = (_Float16)value;
        memcpy(&half, &narrow, sizeof half);
    }
    memcpy(tensor->bytes + 2 * index, &half, 2);
}

static void add_filled(struct tiny_file *file, const struct tiny_model *model, const char *bare, int rank, int rows,
                       int columns)
{
    char name[128];
    uint64_t dims[2] = {(uint64_t)rows, (uint64_t)columns};
    bool outside = strncmp(bare, "lm_head", 7) == 0;
    snprintf(name, sizeof name, "%s%s", model->prefixed && !outside ? "transformer." : "", bare);
    struct tiny_tensor *tensor = tiny_file_add(file, name, model->dtype, rank, dims);
    for (size_t i = 0; i < (size_t)rows * (size_t)(rank == 2 ? columns : 1); i++)
        tiny_tensor_set(tensor, i, tiny_value(bare, i));
}

static void add_block(struct tiny_file *file, const struct tiny_model *model, int layer)
{
    const int width = model->width, ff = model->ff;
    const struct { const char *name; int rank, rows, columns; } rows[] = {
        {"ln_1.weight", 1, width, 0},           {"ln_1.bias", 1, width, 0},
        {"attn.c_attn.weight", 2, width, 3 * width}, {"attn.c_attn.bias", 1, 3 * width, 0},
        {"attn.c_proj.weight", 2, width, width}, {"attn.c_proj.bias", 1, width, 0},
        {"ln_2.weight", 1, width, 0},           {"ln_2.bias", 1, width, 0},
        {"mlp.c_fc.weight", 2, width, ff},      {"mlp.c_fc.bias", 1, ff, 0},
        {"mlp.c_proj.weight", 2, ff, width},    {"mlp.c_proj.bias", 1, width, 0},
    };
    char name[96];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(name, sizeof name, "h.%d.%s", layer, rows[i].name);
        add_filled(file, model, name, rows[i].rank, rows[i].rows, rows[i].columns);
    }
    if (model->buffers) {
        const uint64_t square[4] = {1, 1, (uint64_t)model->context, (uint64_t)model->context};
        const char *prefix = model->prefixed ? "transformer." : "";
        snprintf(name, sizeof name, "%sh.%d.attn.bias", prefix, layer);
        tiny_file_add(file, name, "U8", 4, square);
        snprintf(name, sizeof name, "%sh.%d.attn.masked_bias", prefix, layer);
        tiny_file_add(file, name, "F32", 0, NULL);
    }
}

struct tiny_file *tiny_file_of(const struct tiny_model *model)
{
    struct tiny_file *file = tiny_file_new();
    add_filled(file, model, "wte.weight", 2, model->vocabulary, model->width);
    add_filled(file, model, "wpe.weight", 2, model->context, model->width);
    for (int layer = 0; layer < model->layers; layer++)
        add_block(file, model, layer);
    add_filled(file, model, "ln_f.weight", 1, model->width, 0);
    add_filled(file, model, "ln_f.bias", 1, model->width, 0);
    if (!model->tied)
        add_filled(file, model, "lm_head.weight", 2, model->vocabulary, model->width);
    return file;
}

void tiny_file_write(const struct tiny_file *file, const char *path)
{
    struct buffer header, whole;
    size_t offset = 0;
    buffer_init(&header);
    buffer_init(&whole);
    buffer_text(&header, "{");
    for (int i = 0; i < file->count; i++) {
        const struct tiny_tensor *tensor = &file->tensors[i];
        buffer_format(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > 0 ? "," : "", tensor->name, tensor->dtype);
        for (int j = 0; j < tensor->rank; j++)
            buffer_format(&header, "%s%" PRIu64, j > 0 ? "," : "", tensor->dims[j]);
        buffer_format(&header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + tensor->length);
        offset += tensor->length;
    }
    buffer_text(&header, "}");
    for (int i = 0; i < 8; i++)
        buffer_append(&whole, &(char){(char)(header.length >> (8 * i) & 0xFF)}, 1);
    buffer_append(&whole, header.data, header.length);
    for (int i = 0; i < file->count; i++)
        buffer_append(&whole, file->tensors[i].bytes, file->tensors[i].length);
    assert_false(whole.failed || header.failed);
    test_write_file(path, whole.data, whole.length);
    buffer_fini(&header);
    buffer_fini(&whole);
}

void tiny_config_write(const char *directory, const struct tiny_model *model)
{
    struct buffer text;
    char path[FILE_PATH_BYTES];
    buffer_init(&text);
    buffer_format(&text, "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"], \"n_layer\": %d, "
                  "\"n_embd\": %d, \"n_head\": %d, \"n_inner\": %d, \"n_positions\": %d, \"vocab_size\": %d, "
                  "\"tie_word_embeddings\": %s, \"activation_function\": \"gelu_new\", \"layer_norm_epsilon\": 1e-05%s}",
                  model->layers, model->width, model->heads, model->ff, model->context, model->vocabulary,
                  model->tied ? "true" : "false", model->config != NULL ? model->config : "");
    assert_false(text.failed);
    test_write_file(test_path(path, directory, "config.json"), text.data, text.length);
    buffer_fini(&text);
}

void tiny_checkpoint_write(const char *directory, const struct tiny_model *model)
{
    char path[FILE_PATH_BYTES];
    struct tiny_file *file = tiny_file_of(model);
    tiny_config_write(directory, model);
    tiny_file_write(file, test_path(path, directory, "model.safetensors"));
    tiny_file_free(file);
}
