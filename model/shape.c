#include "model/shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/tensor.h"

const char *family_name(enum family family)
{
    static const char *const names[] = {
#define X(code, name) [code] = name,
        FAMILY_TABLE(X)
#undef X
    };
    return family < FAMILY_COUNT ? names[family] : "unknown";
}

int family_parse(const char *name)
{
    for (int family = 0; family < FAMILY_COUNT; family++)
        if (strcmp(name, family_name((enum family)family)) == 0)
            return family;
    return -1;
}

const char *activation_name(enum activation activation)
{
    static const char *const names[] = {
#define X(code, name) [code] = name,
        ACTIVATION_TABLE(X)
#undef X
    };
    return activation < ACTIVATION_COUNT ? names[activation] : "unknown";
}

int activation_parse(const char *name)
{
    /* Other names of the same functions in transformers' ACT2FN. */
    static const struct { const char *name; enum activation activation; } aliases[] = {
        {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH},
        {"gelu_python", ACTIVATION_GELU_ERF},
        {"swish", ACTIVATION_SILU},
    };
    for (int activation = 0; activation < ACTIVATION_COUNT; activation++)
        if (strcmp(name, activation_name((enum activation)activation)) == 0)
            return activation;
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(name, aliases[i].name) == 0)
            return (int)aliases[i].activation;
    return -1;
}

/* The disagreements found so far: the first is the error's message, all are its details. */
struct findings {
    struct error *error;
    int count;
};

__attribute__((format(printf, 3, 4)))
static void disagree(struct findings *findings, const char *pointer, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (findings->count++ == 0)
        error_set_at(findings->error, ERROR_INVALID, pointer, "%s", text);
    else if (findings->error != NULL)
        error_add_detail(findings->error, pointer, "%s", text);
}

static void check_sizes(const struct shape *shape, struct findings *findings)
{
    const struct { const char *pointer; int size, most; } sizes[] = {
        {"/layers", shape->layers, SHAPE_LAYERS_MAX},       {"/width", shape->width, SHAPE_SIZE_MAX},
        {"/heads", shape->heads, SHAPE_SIZE_MAX},           {"/kv_heads", shape->kv_heads, SHAPE_SIZE_MAX},
        {"/head_size", shape->head_size, SHAPE_SIZE_MAX},   {"/ff", shape->ff, SHAPE_SIZE_MAX},
        {"/context", shape->context, SHAPE_SIZE_MAX},       {"/vocabulary", shape->vocabulary, SHAPE_SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].size < 1 || sizes[i].size > sizes[i].most)
            disagree(findings, sizes[i].pointer, "%s is %d; it must be from 1 to %d.", sizes[i].pointer + 1,
                     sizes[i].size, sizes[i].most);
    if (shape->window < 0 || shape->window > SHAPE_SIZE_MAX)
        disagree(findings, "/window", "The attention window is %d; it must be from 0 (none) to %d.", shape->window,
                 SHAPE_SIZE_MAX);
    if (!(shape->norm_epsilon > 0) || shape->norm_epsilon >= 1)
        disagree(findings, "/norm_epsilon", "The norm's epsilon is %g; it must be above 0 and below 1.",
                 shape->norm_epsilon);
    if ((unsigned)shape->activation >= ACTIVATION_COUNT)
        disagree(findings, "/activation", "The activation is unknown; use one of this program's table.");
}

/* How the sizes fit together; called with every size in range. */
static void check_fit(const struct shape *shape, struct findings *findings)
{
    const struct layout *layout = layout_of(shape->family);
    int64_t inner = (int64_t)shape->heads * shape->head_size;
    if (layout->heads_fill_width && inner != shape->width)
        disagree(findings, "/heads", "%d heads of size %d make %lld, the width is %d; for %s heads times head size "
                 "must be the width.", shape->heads, shape->head_size, (long long)inner, shape->width,
                 family_name(shape->family));
    if (inner > SHAPE_SIZE_MAX)
        disagree(findings, "/head_size", "%d heads of size %d make %lld; at most %d are supported.", shape->heads,
                 shape->head_size, (long long)inner, SHAPE_SIZE_MAX);
    if (!layout->grouped_queries && shape->kv_heads != shape->heads)
        disagree(findings, "/kv_heads", "kv_heads is %d and heads %d; for %s they must be equal.", shape->kv_heads,
                 shape->heads, family_name(shape->family));
    else if (shape->heads % shape->kv_heads != 0)
        disagree(findings, "/kv_heads", "%d heads can not share %d kv heads evenly; choose a divisor of %d.",
                 shape->heads, shape->kv_heads, shape->heads);
}

/* Sum of elements over the rows, each as often as `tensors` says; -1 when it passes 2^60, so that bytes fit as well. */
static int sum_rows(const struct shape *shape, int (*tensors)(const struct tensor_row *, const struct shape *),
                    uint64_t *sum)
{
    const struct layout *layout = layout_of(shape->family);
    *sum = 0;
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_row *row = &layout->rows[i];
        uint64_t elements;
        uint64_t times = (uint64_t)tensors(row, shape);
        if (times == 0)
            continue;
        if (layout_row_elements(row, shape, &elements) != 0 || __builtin_mul_overflow(elements, times, &elements) ||
            __builtin_add_overflow(*sum, elements, sum))
            return -1;
    }
    return *sum >> 60 == 0 ? 0 : -1;
}

/* A tied head multiplies by the token embedding. */
bool shape_row_in_products(const struct tensor_row *row, const struct shape *shape)
{
    return role_is_trained(row->role) &&
           (row->input_axis >= 0 || (row->role == ROLE_TOKEN_EMBEDDING && shape->tied));
}

static int tensors_in_products(const struct tensor_row *row, const struct shape *shape)
{
    return shape_row_in_products(row, shape) ? layout_row_active(row, shape) : 0;
}

static void check_experts(const struct shape *shape, struct findings *findings)
{
    if (shape->experts < 1 || shape->experts > SHAPE_EXPERTS_MAX)
        disagree(findings, "/experts", "There are %d experts; it must be from 1 to %d.", shape->experts, SHAPE_EXPERTS_MAX);
    else if (shape->top_k < 1 || shape->top_k > shape->experts)
        disagree(findings, "/top_k", "A token passes %d experts; it must be from 1 to the %d there are.", shape->top_k,
                 shape->experts);
    if (!(shape->router_aux >= 0) || !(shape->router_aux < 1e30))
        disagree(findings, "/router_aux", "The weight of the load-balance loss is %g; it must be at least 0 and below "
                 "1e30.", shape->router_aux);
}

/* Of each direction half of the buckets are for exact distances: at least one, and the others reach beyond them. */
static void check_relative(const struct shape *shape, struct findings *findings)
{
    if (shape->decoder_layers < 1 || shape->decoder_layers > SHAPE_LAYERS_MAX)
        disagree(findings, "/decoder_layers", "decoder_layers is %d; it must be from 1 to %d.", shape->decoder_layers,
                 SHAPE_LAYERS_MAX);
    if (shape->buckets < 4 || shape->buckets > SHAPE_SIZE_MAX)
        disagree(findings, "/buckets", "There are %d buckets of relative positions; it must be from 4 to %d.",
                 shape->buckets, SHAPE_SIZE_MAX);
    else if (shape->bucket_distance <= shape->buckets / 2 || shape->bucket_distance > SHAPE_SIZE_MAX)
        disagree(findings, "/bucket_distance", "The farthest relative position is %d; with %d buckets it must be from "
                 "%d to %d.", shape->bucket_distance, shape->buckets, shape->buckets / 2 + 1, SHAPE_SIZE_MAX);
}

static void check_rotary(const struct shape *shape, struct findings *findings)
{
    const struct rope *rope = &shape->rope;
    if (shape->head_size % 2 != 0)
        disagree(findings, "/head_size", "The head size is %d; rotary positions need an even one.", shape->head_size);
    if (!(rope->theta > 0) || !(rope->theta < 1e30))
        disagree(findings, "/rope/theta", "The base of the rotary frequencies is %g; it must be above 0 and below 1e30.",
                 rope->theta);
    if (rope->scaling != ROPE_PLAIN && (!(rope->factor > 0) || !(rope->factor < 1e30)))
        disagree(findings, "/rope/factor", "The factor of the rotary frequencies is %g; it must be above 0 and below "
                 "1e30.", rope->factor);
    if (rope->scaling == ROPE_LLAMA3 && (!(rope->low_frequency > 0) || !(rope->high_frequency > rope->low_frequency) ||
                                         rope->original_context < 1))
        disagree(findings, "/rope", "The llama3 scaling needs 0 < low < high frequency factors and the original "
                 "context.");
}

int shape_check(const struct shape *shape, struct error *error)
{
    struct findings findings = {error, 0};
    uint64_t parameters;
    if ((unsigned)shape->family >= FAMILY_COUNT) {
        disagree(&findings, "/family", "The model family is unknown.");
        return ERROR_INVALID;
    }
    check_sizes(shape, &findings);
    if (findings.count == 0)
        check_fit(shape, &findings);
    if (shape->family == FAMILY_BERT && (shape->types < 1 || shape->types > SHAPE_SIZE_MAX))
        disagree(&findings, "/types", "There are %d token types; it must be from 1 to %d.", shape->types, SHAPE_SIZE_MAX);
    if (findings.count == 0 && layout_of(shape->family)->rotary)
        check_rotary(shape, &findings);
    if (shape->family == FAMILY_T5)
        check_relative(shape, &findings);
    if (shape->family == FAMILY_MIXTRAL)
        check_experts(shape, &findings);
    if (findings.count == 0 && sum_rows(shape, layout_row_tensors, &parameters) != 0)
        disagree(&findings, "", "The parameter count of this shape does not fit 60 bits; make it smaller.");
    return findings.count == 0 ? 0 : ERROR_INVALID;
}

uint64_t shape_parameters(const struct shape *shape)
{
    uint64_t sum;
    return sum_rows(shape, layout_row_tensors, &sum) == 0 ? sum : UINT64_MAX;
}

uint64_t shape_product_weights(const struct shape *shape)
{
    uint64_t sum;
    return sum_rows(shape, tensors_in_products, &sum) == 0 ? sum : UINT64_MAX;
}
