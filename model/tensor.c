#include "model/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

const struct layout *layout_of(enum family family)
{
    static const struct layout *const layouts[FAMILY_COUNT] = {
        [FAMILY_GPT2] = &layout_gpt2,
        [FAMILY_LLAMA] = &layout_llama,
        [FAMILY_MISTRAL] = &layout_mistral,
        [FAMILY_QWEN2] = &layout_qwen2,
        [FAMILY_T5] = &layout_t5,
        [FAMILY_BERT] = &layout_bert,
        [FAMILY_MIXTRAL] = &layout_mixtral,
    };
    CHECK(family < FAMILY_COUNT);
    return layouts[family];
}

bool role_is_hidden(enum role role)
{
    switch (role) {
    case ROLE_QKV: case ROLE_QUERY: case ROLE_KEY: case ROLE_VALUE: case ROLE_ATTENTION_OUT:
    case ROLE_GATE: case ROLE_UP: case ROLE_DOWN: case ROLE_TRANSFORM: case ROLE_POOLER:
        return true;
    default:
        return false;
    }
}

bool role_is_gain(enum role role)
{
    return role == ROLE_NORM_GAIN || role == ROLE_FINAL_NORM_GAIN || role == ROLE_EMBEDDING_NORM_GAIN;
}

bool role_is_trained(enum role role)
{
    return role != ROLE_POOLER && role != ROLE_POOLER_BIAS && role != ROLE_NEXT_SENTENCE &&
           role != ROLE_NEXT_SENTENCE_BIAS;
}

bool layout_is_outside(const struct layout *layout, const struct tensor_row *row)
{
    return row->role == ROLE_HEAD ||
           (layout->outside != NULL && strncmp(row->name, layout->outside, strlen(layout->outside)) == 0);
}

bool layout_ignores(const struct layout *layout, const char *name)
{
    size_t length = strlen(name);
    for (const char *const *ending = layout->ignored; *ending != NULL; ending++) {
        size_t ending_length = strlen(*ending);
        if (length > ending_length && strcmp(name + length - ending_length, *ending) == 0)
            return true;
    }
    return false;
}

int axis_size(enum axis axis, const struct shape *shape)
{
    switch (axis) {
    case AXIS_NONE: return 1;
    case AXIS_WIDTH: return shape->width;
    case AXIS_HEADS: return shape->heads * shape->head_size;
    case AXIS_KV: return shape->kv_heads * shape->head_size;
    case AXIS_QKV: return (shape->heads + 2 * shape->kv_heads) * shape->head_size;
    case AXIS_FF: return shape->ff;
    case AXIS_VOCABULARY: return shape->vocabulary;
    case AXIS_CONTEXT: return shape->context;
    case AXIS_BUCKETS: return shape->buckets;
    case AXIS_HEAD_COUNT: return shape->heads;
    case AXIS_COUNT: break;
    case AXIS_TYPES: return shape->types;
    case AXIS_SENTENCES: return 2;
    case AXIS_EXPERTS: return shape->experts;
    }
    CHECK(!"axis without a size");
    return 0;
}

static bool is_present(enum presence presence, const struct shape *shape)
{
    switch (presence) {
    case PRESENT_ALWAYS: return true;
    case PRESENT_UNTIED: return !shape->tied;
    case PRESENT_ATTENTION_BIAS: return shape->attention_bias;
    case PRESENT_OUT_BIAS: return shape->attention_bias && shape->family != FAMILY_QWEN2;
    case PRESENT_MLP_BIAS: return shape->mlp_bias;
    case PRESENT_PLAIN_MLP: return !shape->gated;
    case PRESENT_GATED_MLP: return shape->gated;
    case PRESENT_POOLER: return shape->pooler;
    case PRESENT_NEXT_SENTENCE: return shape->next_sentence;
    case PRESENT_EXPERTS: return shape->experts > 0;
    }
    CHECK(!"presence without a rule");
    return false;
}

int layout_row_layers(const struct tensor_row *row, const struct shape *shape)
{
    if (!is_present(row->presence, shape))
        return 0;
    return row->stack == STACK_NONE ? 1 : row->stack == STACK_LAYERS ? shape->layers : shape->decoder_layers;
}

static int row_experts(const struct tensor_row *row, const struct shape *shape)
{
    return row->presence == PRESENT_EXPERTS ? shape->experts : 1;
}

int layout_row_tensors(const struct tensor_row *row, const struct shape *shape)
{
    return layout_row_layers(row, shape) * row_experts(row, shape);
}

int layout_row_active(const struct tensor_row *row, const struct shape *shape)
{
    return layout_row_layers(row, shape) * (row->presence == PRESENT_EXPERTS ? shape->top_k : 1);
}

int layout_row_elements(const struct tensor_row *row, const struct shape *shape, uint64_t *elements)
{
    *elements = 1;
    for (int i = 0; i < row->rank; i++)
        if (__builtin_mul_overflow(*elements, (uint64_t)axis_size(row->axes[i], shape), elements))
            return -1;
    return 0;
}

/* Consecutive rows of one block repeat together: layer 0 of each, then layer 1 of each. Returns the end of the block
 * that begins at row `begin`; a row outside blocks is one of its own. */
static int block_end(const struct layout *layout, int begin)
{
    int end = begin + 1;
    while (layout->rows[begin].stack != STACK_NONE && end < layout->row_count &&
           layout->rows[end].stack == layout->rows[begin].stack)
        end++;
    return end;
}

static void place_runs(struct tensor_table *table, const struct layout *layout)
{
    for (int begin = 0, end; begin < layout->row_count; begin = end) {
        int stride = 0;
        end = block_end(layout, begin);
        for (int i = begin; i < end; i++) {
            struct tensor_run *run = &table->runs[i];
            run->layers = layout_row_layers(&layout->rows[i], &table->shape);
            run->base = layout->rows[i].stack == STACK_DECODER ? table->shape.layers : 0;
            run->experts = row_experts(&layout->rows[i], &table->shape);
            run->first = table->count + stride;
            stride += run->layers > 0 ? run->experts : 0;
        }
        for (int i = begin; i < end; i++) {
            table->runs[i].stride = stride;
            table->count += table->runs[i].layers * table->runs[i].experts;
        }
    }
}

/* The row's name with its "%d" replaced: first the layer, then the expert. */
static void name_tensor(char name[TENSOR_NAME_BYTES], const struct tensor_row *row, int layer, int expert)
{
    const char *rest = row->name, *place;
    int numbers[2] = {layer, expert}, length = 0;
    for (int i = 0; i < 2 && (place = strstr(rest, "%d")) != NULL; i++) {
        length += snprintf(name + length, (size_t)(TENSOR_NAME_BYTES - length), "%.*s%d", (int)(place - rest), rest,
                           numbers[i]);
        CHECK(length < TENSOR_NAME_BYTES);
        rest = place + 2;
    }
    length += snprintf(name + length, (size_t)(TENSOR_NAME_BYTES - length), "%s", rest);
    CHECK(length < TENSOR_NAME_BYTES);
}

static void fill_tensor(struct tensor *tensor, const struct tensor_row *row, const struct shape *shape, int layer,
                        int expert)
{
    tensor->row = row;
    tensor->expert = expert;
    tensor->layer = row->stack == STACK_NONE ? -1 : layer + (row->stack == STACK_DECODER ? shape->layers : 0);
    tensor->dims[0] = axis_size(row->axes[0], shape);
    tensor->dims[1] = row->rank == 2 ? axis_size(row->axes[1], shape) : 1;
    tensor->count = (size_t)tensor->dims[0] * (size_t)tensor->dims[1];
    name_tensor(tensor->name, row, layer, expert);
}

static void fill_run(struct tensor_table *table, const struct tensor_row *row, const struct tensor_run *run)
{
    for (int layer = 0; layer < run->layers; layer++)
        for (int expert = 0; expert < run->experts; expert++)
            fill_tensor(&table->tensors[run->first + layer * run->stride + expert], row, &table->shape, layer, expert);
}

int tensor_table_init(struct tensor_table *table, const struct shape *shape, struct error *error)
{
    const struct layout *layout = layout_of(shape->family);
    memset(table, 0, sizeof *table);
    table->shape = *shape;
    place_runs(table, layout);
    table->tensors = memory_array((size_t)table->count, sizeof *table->tensors);
    if (table->tensors == NULL) {
        tensor_table_fini(table);
        return error_set(error, ERROR_NO_MEMORY, "No memory for a table of %d tensors; free some and try again.",
                         shape->layers * layout->row_count);
    }
    for (int i = 0; i < layout->row_count; i++)
        fill_run(table, &layout->rows[i], &table->runs[i]);
    for (int i = 0; i < table->count; i++) {
        struct tensor *tensor = &table->tensors[i];
        tensor->offset = table->slab;
        table->slab += (tensor->count + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
        table->parameters += tensor->count;
    }
    return 0;
}

void tensor_table_fini(struct tensor_table *table)
{
    memory_free(table->tensors);
    memset(table, 0, sizeof *table);
}

const struct tensor *tensor_find_role(const struct tensor_table *table, enum role role, int layer, int nth)
{
    const struct layout *layout = layout_of(table->shape.family);
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_row *row = &layout->rows[i];
        const struct tensor_run *run = &table->runs[i];
        int index = row->stack != STACK_NONE ? layer - run->base : 0;
        if (row->role != role || (row->stack != STACK_NONE) != (layer >= 0) || index < 0 || index >= run->layers)
            continue;
        if (nth < run->experts)
            return &table->tensors[run->first + index * run->stride + nth];
        nth -= run->experts;
    }
    return NULL;
}

/* The numbers that `name` has where the row's name has "%d", layer and expert; 0 without one. False if it can not be
 * this row's. */
static bool numbers_in_name(const struct tensor_row *row, const char *name, int numbers[2])
{
    const char *rest = row->name, *place;
    numbers[0] = numbers[1] = 0;
    for (int i = 0; i < 2 && (place = strstr(rest, "%d")) != NULL; i++) {
        size_t head = (size_t)(place - rest);
        if (strncmp(name, rest, head) != 0)
            return false;
        for (name += head; *name >= '0' && *name <= '9'; name++) {
            numbers[i] = numbers[i] * 10 + (*name - '0');
            if (numbers[i] > SHAPE_LAYERS_MAX)
                return false;
        }
        rest = place + 2;
    }
    return true;
}

const struct tensor *tensor_find(const struct tensor_table *table, const char *name)
{
    const struct layout *layout = layout_of(table->shape.family);
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_run *run = &table->runs[i];
        int numbers[2];
        if (!numbers_in_name(&layout->rows[i], name, numbers) || numbers[0] >= run->layers || numbers[1] >= run->experts)
            continue;
        const struct tensor *tensor = &table->tensors[run->first + numbers[0] * run->stride + numbers[1]];
        if (strcmp(tensor->name, name) == 0)
            return tensor;
    }
    return NULL;
}
