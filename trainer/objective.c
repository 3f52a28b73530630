#include "trainer/objective.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* One row per objective; a row's file is its own. */
static const struct objective *const objectives[OBJECTIVE_COUNT] = {
    [OBJECTIVE_CAUSAL] = &objective_causal,
    [OBJECTIVE_MLM] = &objective_mlm,
    [OBJECTIVE_SPAN_CORRUPTION] = &objective_span_corruption,
    [OBJECTIVE_UL2] = &objective_ul2,
};

static const char *const names[OBJECTIVE_COUNT] = {
#define X(code, name, summary, source) [code] = name,
    OBJECTIVE_TABLE(X)
#undef X
};

const char *objective_name(enum objective_name name)
{
    return (unsigned)name < OBJECTIVE_COUNT ? names[name] : "unknown";
}

int objective_parse(const char *text, enum objective_name *name)
{
    for (int i = 0; i < OBJECTIVE_COUNT; i++) {
        if (strcmp(text, names[i]) == 0) {
            *name = (enum objective_name)i;
            return 0;
        }
    }
    return -1;
}

const struct objective *objective_of(enum objective_name name)
{
    return (unsigned)name < OBJECTIVE_COUNT ? objectives[name] : NULL;
}

struct objective_spec objective_defaults(enum family family)
{
    struct objective_spec spec = {
        .name = family == FAMILY_BERT ? OBJECTIVE_MLM : family == FAMILY_T5 ? OBJECTIVE_SPAN_CORRUPTION : OBJECTIVE_CAUSAL,
        .mask_token = TOKEN_NONE, .pad_token = TOKEN_NONE, .eos_token = TOKEN_NONE,
        .sentinel_first = TOKEN_NONE, .sentinel_step = -1,
    };
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        spec.mode_tokens[mode] = TOKEN_NONE;
    }
    return spec;
}

bool objective_is_special(const struct objective_spec *spec, int32_t token)
{
    if (token == spec->pad_token || token == spec->eos_token || token == spec->mask_token) {
        return true;
    }
    for (int i = 0; i < spec->special_tokens.count; i++) {
        if (token == spec->special_tokens.ids[i]) {
            return true;
        }
    }
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        if (token == spec->mode_tokens[mode]) {
            return true;
        }
    }
    const int64_t step = spec->sentinel_step, distance = (int64_t)token - spec->sentinel_first;
    return spec->sentinel_count > 0 && step != 0 && distance % step == 0 && distance / step >= 0 &&
           distance / step < spec->sentinel_count;
}

/* ---- checks ---- */

/* Records the first disagreement, adds the others as details. */
__attribute__((format(printf, 3, 4)))
static void disagree(struct error *error, const char *pointer, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (error->code == ERROR_NONE) {
        error_set_at(error, ERROR_INVALID, pointer, "%s", text);
    } else {
        error_add_detail(error, pointer, "%s", text);
    }
}

int objective_need_token(const struct objective_spec *spec, int32_t token, const char *pointer, struct error *error)
{
    if (token != TOKEN_NONE) {
        return 0;
    }
    return error_set_at(error, ERROR_INVALID, pointer, "The objective %s needs %s: give its id.",
                        objective_name(spec->name), pointer + 1);
}

static void check_token(struct error *found, const char *pointer, int64_t token, bool may_lack, int vocabulary)
{
    if ((token != TOKEN_NONE || !may_lack) && (token < 0 || token >= vocabulary)) {
        disagree(found, pointer, "%s is token %lld; the model's tokens are 0 to %d.", pointer + 1, (long long)token,
                 vocabulary - 1);
    }
}

static void check_sentinels(struct error *found, const struct objective_spec *spec, int vocabulary)
{
    if (spec->sentinel_first == TOKEN_NONE && spec->sentinel_count == 0) {
        return;
    }
    check_token(found, "/sentinel_first", spec->sentinel_first, false, vocabulary);
    if (spec->sentinel_step == 0) {
        disagree(found, "/sentinel_step", "sentinel_step is 0: the sentinels would all be one token; use -1 or 1.");
    }
    if (spec->sentinel_count < 1 || spec->sentinel_count > vocabulary) {
        disagree(found, "/sentinel_count", "sentinel_count is %d; give a number from 1 to %d.", spec->sentinel_count,
                 vocabulary);
        return;
    }
    const int64_t last = spec->sentinel_first + ((int64_t)spec->sentinel_count - 1) * spec->sentinel_step;
    if (last < 0 || last >= vocabulary) {
        disagree(found, "/sentinel_count", "The last sentinel would be token %lld; the model's tokens are 0 to %d.",
                 (long long)last, vocabulary - 1);
    }
}

static void check_tokens(struct error *found, const struct objective_spec *spec, int vocabulary)
{
    static const char *const modes[MODE_COUNT] = {"/mode_tokens/r", "/mode_tokens/s", "/mode_tokens/x"};
    check_token(found, "/mask_token", spec->mask_token, true, vocabulary);
    check_token(found, "/pad_token", spec->pad_token, true, vocabulary);
    check_token(found, "/eos_token", spec->eos_token, true, vocabulary);
    for (int i = 0; i < spec->special_tokens.count; i++) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/special_tokens/%d", i);
        check_token(found, pointer, spec->special_tokens.ids[i], false, vocabulary);
    }
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        check_token(found, modes[mode], spec->mode_tokens[mode], true, vocabulary);
    }
    check_sentinels(found, spec, vocabulary);
}

/* The names that this family can learn: "mlm", "causal or ul2". */
static void list_objectives(enum family family, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < OBJECTIVE_COUNT && used < room; i++) {
        if (objectives[i] != NULL && (objectives[i]->families >> family & 1u) != 0) {
            used += (size_t)snprintf(text + used, room - used, "%s%s", used > 0 ? " or " : "", names[i]);
        }
    }
}

int objective_check(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error)
{
    const struct objective *objective = objective_of(spec->name);
    struct error found = {0};
    if (objective == NULL || (objective->families >> shape->family & 1u) == 0) {
        char fitting[128];
        list_objectives(shape->family, fitting, sizeof fitting);
        return error_set_at(error, ERROR_INVALID, "/objective", "A %s model can not learn the objective %s; use %s.",
                            family_name(shape->family), objective_name(spec->name), fitting);
    }
    check_tokens(&found, spec, shape->vocabulary);
    if (found.code == ERROR_NONE && objective->check != NULL) {
        objective->check(spec, shape, context, &found);
    }
    if (found.code != ERROR_NONE && error != NULL && error->code == ERROR_NONE) {
        *error = found;
    }
    return (int)found.code;
}

struct objective_sizes objective_sizes_of(const struct objective_spec *spec, const struct shape *shape, int context)
{
    return objective_of(spec->name)->sizes(spec, shape, context);
}

double objective_flops_per_token(const struct objective_spec *spec, const struct shape *shape, int context)
{
    const struct objective_sizes sizes = objective_sizes_of(spec, shape, context);
    return shape_flops_per_row(shape, sizes.inputs, sizes.targets) / context;
}

/* ---- causal ---- */

static struct objective_sizes causal_sizes(const struct objective_spec *spec, const struct shape *shape, int context)
{
    (void)spec, (void)shape;
    return (struct objective_sizes){.inputs = context, .targets = context};
}

static void causal_fill(struct objective_window *window)
{
    const size_t bytes = (size_t)window->context * sizeof(int32_t);
    memcpy(window->inputs, window->tokens, bytes);
    memcpy(window->targets, window->tokens + 1, bytes);
}

const struct objective objective_causal = {
    .name = OBJECTIVE_CAUSAL,
    .families = 1u << FAMILY_GPT2 | 1u << FAMILY_LLAMA | 1u << FAMILY_MISTRAL | 1u << FAMILY_QWEN2 |
                1u << FAMILY_MIXTRAL,
    .sizes = causal_sizes,
    .fill = causal_fill,
};
