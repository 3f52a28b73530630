/* Rotary frequencies in config.json. transformers 4 writes rope_theta and rope_scaling, transformers 5 both inside
 * rope_parameters; either reads the other's. An object of scaling values that is there wins over rope_parameters, as it
 * does there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "model/config_family.h"

/* transformers' defaults. */
static double default_theta(enum family family)
{
    return family == FAMILY_MIXTRAL ? 1e6 : 1e4;
}

/* The types of transformers' modeling_rope_utils that are computed here; the others are refused by name. */
static const struct { const char *name; enum rope_scaling scaling; } types[] = {
    {"default", ROPE_PLAIN}, {"linear", ROPE_LINEAR}, {"dynamic", ROPE_DYNAMIC}, {"llama3", ROPE_LLAMA3},
};
enum { TYPE_COUNT = sizeof types / sizeof types[0] };

static int fail_in(struct error *error, const char *object, const char *key, const char *text)
{
    char pointer[ERROR_POINTER_BYTES];
    if (object == NULL)
        return config_fail(error, key, text);
    snprintf(pointer, sizeof pointer, "/%s/%s", object, key);
    return error_set_at(error, ERROR_INVALID, pointer, "config.json: %s.%s %s.", object, key, text);
}

/* A member above 0 of an object (object NULL: of the file itself). Absent: *number stays, or a refusal. */
static int read_positive(const cJSON *parent, const char *object, const char *key, bool required, double *number,
                         struct error *error)
{
    const cJSON *item = config_find(parent, key);
    if (item == NULL)
        return required ? fail_in(error, object, key, "is missing; add it") : 0;
    if (!cJSON_IsNumber(item) || !(item->valuedouble > 0) || !isfinite(item->valuedouble))
        return fail_in(error, object, key, "must be a number above 0");
    *number = item->valuedouble;
    return 0;
}

static int read_type(const cJSON *values, const char *object, bool required, enum rope_scaling *scaling,
                     struct error *error)
{
    const cJSON *item = config_find(values, "rope_type");
    const char *key = item != NULL ? "rope_type" : "type";
    char text[256];
    if (item == NULL)
        item = config_find(values, "type");
    *scaling = ROPE_PLAIN;
    if (item == NULL)
        return required ? fail_in(error, object, "rope_type", "is missing; add it") : 0;
    for (int i = 0; i < TYPE_COUNT; i++)
        if (cJSON_IsString(item) && strcmp(item->valuestring, types[i].name) == 0) {
            *scaling = types[i].scaling;
            return 0;
        }
    int used = snprintf(text, sizeof text, "\"%.60s\" is not supported; supported are",
                        cJSON_IsString(item) ? item->valuestring : "(no string)");
    for (int i = 0; i < TYPE_COUNT; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s %s", i > 0 ? "," : "", types[i].name);
    return fail_in(error, object, key, text);
}

static int read_llama3(const cJSON *values, const char *object, const struct shape *shape, struct rope *rope,
                       struct error *error)
{
    const cJSON *original = config_find(values, "original_max_position_embeddings");
    int code = read_positive(values, object, "low_freq_factor", true, &rope->low_frequency, error);
    if (code == 0)
        code = read_positive(values, object, "high_freq_factor", true, &rope->high_frequency, error);
    if (code != 0)
        return code;
    if (rope->high_frequency <= rope->low_frequency)
        return fail_in(error, object, "high_freq_factor", "must be above low_freq_factor");
    rope->original_context = shape->context;
    return original == NULL ? 0 : config_read_size(original, "original_max_position_embeddings",
                                                   &rope->original_context, error);
}

static int read_values(const cJSON *values, const char *object, bool type_required, const struct shape *shape,
                       struct rope *rope, struct error *error)
{
    int code;
    if (!cJSON_IsObject(values))
        return config_fail(error, object, "must be an object or null");
    for (const cJSON *member = values->child; member != NULL; member = member->next)
        if (cJSON_IsObject(member))
            return fail_in(error, object, member->string, "is an object: frequencies of their own for some layers are "
                           "not supported; use one set for all layers");
    if ((code = read_type(values, object, type_required, &rope->scaling, error)) != 0 ||
        (code = read_positive(values, object, "rope_theta", false, &rope->theta, error)) != 0)
        return code;
    if (rope->scaling != ROPE_PLAIN &&
        (code = read_positive(values, object, "factor", true, &rope->factor, error)) != 0)
        return code;
    return rope->scaling == ROPE_LLAMA3 ? read_llama3(values, object, shape, rope, error) : 0;
}

static int refuse_partial(const cJSON *parent, const char *object, struct error *error)
{
    const cJSON *item = parent == NULL ? NULL : config_find(parent, "partial_rotary_factor");
    if (item == NULL || (cJSON_IsNumber(item) && item->valuedouble == 1))
        return 0;
    return fail_in(error, object, "partial_rotary_factor", "is not 1: heads that turn only in part are not supported");
}

int config_rope_read(const cJSON *root, struct shape *shape, struct error *error)
{
    const cJSON *older = config_find(root, "rope_scaling"), *newer = config_find(root, "rope_parameters");
    const char *object = older != NULL ? "rope_scaling" : "rope_parameters";
    const cJSON *values = older != NULL ? older : newer;
    struct rope *rope = &shape->rope;
    int code;
    *rope = (struct rope){.theta = default_theta(shape->family)};
    if (cJSON_IsObject(newer) &&
        (code = read_positive(newer, "rope_parameters", "rope_theta", false, &rope->theta, error)) != 0)
        return code;
    if ((code = read_positive(root, NULL, "rope_theta", false, &rope->theta, error)) != 0 ||
        (code = refuse_partial(root, NULL, error)) != 0)
        return code;
    if (values == NULL)
        return 0;
    code = read_values(values, object, older != NULL, shape, rope, error);
    return code == 0 ? refuse_partial(values, object, error) : code;
}

static bool same_rope(const struct rope *a, const struct rope *b)
{
    return a->theta == b->theta && a->scaling == b->scaling && a->factor == b->factor &&
           a->low_frequency == b->low_frequency && a->high_frequency == b->high_frequency &&
           a->original_context == b->original_context;
}

static const char *type_name(enum rope_scaling scaling)
{
    for (int i = 0; i < TYPE_COUNT; i++)
        if (types[i].scaling == scaling)
            return types[i].name;
    return "default";
}

static bool put_values(cJSON *object, const struct rope *rope)
{
    if (!config_put(object, "rope_type", cJSON_CreateString(type_name(rope->scaling))))
        return false;
    if (rope->scaling == ROPE_PLAIN)
        return true;
    if (!config_put_float(object, "factor", rope->factor))
        return false;
    return rope->scaling != ROPE_LLAMA3 ||
           (config_put_float(object, "low_freq_factor", rope->low_frequency) &&
            config_put_float(object, "high_freq_factor", rope->high_frequency) &&
            config_put(object, "original_max_position_embeddings", cJSON_CreateNumber(rope->original_context)));
}

/* The numbers that stand there already, as floats. */
static bool refresh_floats(cJSON *object)
{
    static const char *const keys[] = {"rope_theta", "factor", "low_freq_factor", "high_freq_factor"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, keys[i]);
        if (cJSON_IsNumber(item) && !config_put_float(object, keys[i], item->valuedouble))
            return false;
    }
    return true;
}

/* As transformers 4 says it, which 5 reads too. */
static bool put_older(cJSON *root, const struct rope *rope)
{
    cJSON *object = rope->scaling == ROPE_PLAIN ? cJSON_CreateNull() : cJSON_CreateObject();
    if (object != NULL && rope->scaling != ROPE_PLAIN && !put_values(object, rope)) {
        cJSON_Delete(object);
        return false;
    }
    return config_put(root, "rope_scaling", object) &&
           config_put_float(root, "rope_theta", rope->theta);
}

static bool put_newer(cJSON *root, const struct rope *rope)
{
    cJSON *object = cJSON_CreateObject();
    if (object != NULL && (!config_put_float(object, "rope_theta", rope->theta) ||
                           !put_values(object, rope))) {
        cJSON_Delete(object);
        return false;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(root, "rope_theta");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "rope_scaling");
    return config_put(root, "rope_parameters", object);
}

/* What says the same already stays as it was written, keys unknown here included. */
bool config_rope_put(cJSON *root, const struct shape *shape)
{
    bool newer = config_find(root, "rope_parameters") != NULL, older = config_find(root, "rope_theta") != NULL;
    struct shape written = *shape;
    if ((newer || older) && config_rope_read(root, &written, NULL) == 0 && same_rope(&written.rope, &shape->rope))
        return refresh_floats(root) && refresh_floats(cJSON_GetObjectItemCaseSensitive(root, "rope_scaling")) &&
               refresh_floats(cJSON_GetObjectItemCaseSensitive(root, "rope_parameters"));
    return newer ? put_newer(root, &shape->rope) : put_older(root, &shape->rope);
}
