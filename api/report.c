#include "api/report.h"

#include "api/request_parts.h"

static int take_count(const cJSON *object, const char *name, double most, double *value, struct error *error)
{
    const cJSON *node = json_member(object, name);

    if (!node || cJSON_IsNull(node))
        return 0;
    if (!json_is_integer(node) || node->valuedouble < 1 || node->valuedouble > most)
        return error_set(error, ERROR_INVALID, "lag_report.json: data.%s must be a whole number from 1 to %.0f; give the "
                         "flag, or remove the file", name, most);
    *value = node->valuedouble;
    return 0;
}

static int take_data(const cJSON *object, const struct shape *shape, struct report_data *data, struct error *error)
{
    double context = data->context, tokens = (double)data->valid_tokens, seed = (double)data->seed;
    const cJSON *format = json_member(object, "format");

    if (cJSON_IsString(format) && corpus_format_parse(format->valuestring, &data->format))
        return error_set(error, ERROR_INVALID, "lag_report.json: unknown data.format; give --format, or remove the file");
    if (take_count(object, "context", shape->context, &context, error)
        || take_count(object, "valid_tokens", 9007199254740992.0, &tokens, error)
        || take_count(object, "seed", 9007199254740992.0, &seed, error))
        return (int)error->code;
    if (objective_read(object, &data->objective, error))
        return error_wrap(error, "lag_report.json: data");
    data->context = (int)context;
    data->valid_tokens = (uint64_t)tokens;
    data->seed = (uint64_t)seed;
    return 0;
}

int report_parse(const char *text, size_t length, const struct shape *shape, struct report_data *data,
                 struct error *error)
{
    struct training training = training_defaults(shape);
    cJSON *tree = NULL;

    *data = (struct report_data){ .format = CORPUS_AUTO, .context = training.context, .valid_tokens = 100000,
                                  .seed = training.seed, .objective = training.objective };
    if (!text)
        return 0;
    if (json_read(text, length, &tree, error))
        return error_wrap(error, "lag_report.json");
    take_data(json_member(tree, "data"), shape, data, error);
    cJSON_Delete(tree);
    return (int)error->code;
}
