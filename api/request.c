#include "api/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/request_parts.h"
#include "base/memory.h"

int keep_parse(const char *text, enum keep_kind *keep, int *top)
{
    *top = 3;
    if (!strcmp(text, "all")) { *keep = KEEP_ALL; return 0; }
    if (!strcmp(text, "winner")) { *keep = KEEP_WINNER; return 0; }
    *keep = KEEP_TOP;
    if (strncmp(text, "top:", 4)) return -1;
    const char *digits = text + 4;
    size_t length = strspn(digits, "0123456789");
    if (length < 1 || length > 2 || digits[length] || digits[0] == '0') return -1;
    *top = atoi(digits);
    return *top >= 1 && *top <= SPEC_CANDIDATES_MAX ? 0 : -1;
}

static const char *text_at(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    return cJSON_IsString(node) ? node->valuestring : "";
}

/* Names, operators and their number need no file: refused before anything is read. */
static int candidates_check(const cJSON *tree, struct error *error)
{
    struct study_spec *spec = memory_new(sizeof *spec);
    if (!spec) return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the request; try again later");
    fields_store(tree, "", spec);
    int code = candidates_resolve(json_member(tree, "candidates"), NULL, spec, error);
    study_spec_fini(spec);
    memory_free(spec);
    return code;
}

int request_new(struct request **request, const char *text, size_t length, struct error *error)
{
    struct error own = {0};
    struct place place = {0};
    if (!error) error = &own;
    *request = NULL;
    struct request *made = memory_new(sizeof *made);
    if (!made) return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the request; try again later");
    cJSON *filled = NULL;
    int code = json_read(text, length, &made->tree, error);
    if (!code && !cJSON_IsObject(made->tree))
        code = refuse(error, &place, "a study must be a JSON object, not %s", json_kind(made->tree));
    if (!code && request_is_staged(made)) code = stages_template_tree(made->tree, &filled, error);
    const cJSON *checked = filled ? filled : made->tree;
    if (!code) code = fields_check(checked, "", &place, error);
    if (!code && !(filled && !json_member(checked, "candidates"))) code = candidates_check(checked, error);
    if (!code) code = stages_check(made, error);
    cJSON_Delete(filled);
    if (code) {
        request_free(made);
        return code;
    }
    const cJSON *data = json_member(made->tree, "data");
    snprintf(made->checkpoint, sizeof made->checkpoint, "%s", text_at(made->tree, "checkpoint"));
    snprintf(made->train, sizeof made->train, "%s", text_at(data, "train"));
    snprintf(made->valid, sizeof made->valid, "%s", text_at(data, "valid"));
    *request = made;
    return 0;
}

void request_free(struct request *request)
{
    if (!request) return;
    cJSON_Delete(request->tree);
    memory_free(request);
}

const char *request_checkpoint(const struct request *request) { return request->checkpoint; }
const char *request_train(const struct request *request) { return request->train; }
const char *request_valid(const struct request *request) { return request->valid; }

enum corpus_format request_format(const struct request *request)
{
    enum corpus_format format = CORPUS_AUTO;
    const char *name = text_at(json_member(request->tree, "data"), "format");
    return *name && !corpus_format_parse(name, &format) ? format : CORPUS_AUTO;
}

static int reference_set(char to[FILE_PATH_BYTES], const char *reference, const char *pointer, struct error *error)
{
    if (strlen(reference) >= FILE_PATH_BYTES)
        return error_set_at(error, ERROR_INVALID, pointer,
                            "the path has %zu bytes; at most %d are possible: shorten it", strlen(reference),
                            FILE_PATH_BYTES - 1);
    snprintf(to, FILE_PATH_BYTES, "%s", reference);
    return 0;
}

int request_set_checkpoint(struct request *request, const char *reference, struct error *error)
{
    return reference_set(request->checkpoint, reference, "/checkpoint", error);
}

int request_set_data(struct request *request, const char *train, const char *valid, struct error *error)
{
    int code = train ? reference_set(request->train, train, "/data/train", error) : 0;
    return code || !valid ? code : reference_set(request->valid, valid, "/data/valid", error);
}

int request_context(const struct request *request, const struct shape *parent)
{
    const cJSON *context = json_member(json_member(request->tree, "training"), "context");
    return context ? (int)context->valuedouble : training_defaults(parent).context;
}

/* Reads an object that stands alone in a file and checks it against the rows below `pattern`. */
static int object_read(const char *text, size_t length, const char *pattern, cJSON **tree, struct error *error)
{
    struct place place = {0};
    int code = json_read(text, length, tree, error);
    if (code) return code;
    if (!cJSON_IsObject(*tree)) code = refuse(error, &place, "expected an object, got %s", json_kind(*tree));
    if (!code) code = fields_check(*tree, pattern, &place, error);
    if (code) {
        cJSON_Delete(*tree);
        *tree = NULL;
    }
    return code;
}

int request_training(const char *text, size_t length, const struct shape *shape, uint64_t steps,
                     struct training *training, struct error *error)
{
    struct error own = {0};
    struct place place = {0};
    cJSON *tree;
    if (!error) error = &own;
    int code = object_read(text, length, "/training", &tree, error);
    if (code) return code;
    const bool takes = steps > 0 && !json_member(tree, "steps");
    struct study_spec *spec = memory_new(sizeof *spec);
    if (!spec || (takes && !cJSON_AddNumberToObject(tree, "steps", (double)steps))) {
        code = error_set(error, ERROR_NO_MEMORY, "not enough memory to read the training; try again later");
    } else {
        spec->training.objective = objective_defaults(shape->family);
        code = training_resolve(tree, shape, shape->context, spec, &place, error);
    }
    if (!code) *training = spec->training;
    memory_free(spec);
    cJSON_Delete(tree);
    return code;
}

int request_data(const char *text, size_t length, struct spec_data *data, struct objective_spec *objective,
                 struct error *error)
{
    struct error own = {0};
    struct place place = {0};
    cJSON *tree;
    if (!error) error = &own;
    int code = object_read(text, length, "/data", &tree, error);
    if (code) return code;
    struct study_spec *spec = memory_new(sizeof *spec);
    if (!spec) {
        code = error_set(error, ERROR_NO_MEMORY, "not enough memory to read the data; try again later");
    } else {
        spec->training.objective = *objective;
        fields_store(tree, "/data", spec);
        if (!spec->data.train[0]) code = refuse_member(error, &place, "train", "train is missing: name the token file");
        *data = spec->data;
        *objective = spec->training.objective;
    }
    memory_free(spec);
    cJSON_Delete(tree);
    return code;
}
