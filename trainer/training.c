#include "trainer/training.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* 2^53: the largest range of integers that JSON numbers keep exactly. */
#define STEPS_MAX 9007199254740992.0
/* Betas and decays: 1 itself would never forget. */
#define DECAY_MAX 0.9999999
enum { BATCH_MAX = 1 << 20 };

static const struct parameter adamw_parameters[] = {
    {.name = "betas", .type = PARAMETER_NUMBERS, .minimum = 0, .maximum = DECAY_MAX, .fallback = "[0.9, 0.95]",
     .summary = "decay of the first and second moment"},
    {.name = "epsilon", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 1, .fallback = "1e-8",
     .summary = "added to the root of the second moment"},
    {.name = "weight_decay", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 10, .fallback = "0.1",
     .summary = "decoupled decay of tensors of two or more dimensions"},
};

#define WARMUP_PARAMETER                                                                        \
    {.name = "warmup_steps", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = STEPS_MAX,     \
     .summary = "updates of linear warm-up; default min(100, steps / 20)"}

static const struct parameter constant_parameters[] = {WARMUP_PARAMETER};
static const struct parameter wsd_parameters[] = {
    WARMUP_PARAMETER,
    {.name = "decay_steps", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = STEPS_MAX,
     .summary = "updates of the decay at the end of the horizon; default steps / 10"},
    {.name = "decay_form", .type = PARAMETER_CHOICE, .choices = "linear|exponential|sqrt", .fallback = "\"linear\"",
     .summary = "how the rate falls; sqrt: 1 - sqrt(u)"},
    {.name = "minimum", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 1, .fallback = "0",
     .summary = "fraction of the rate at the end of the decay"},
};

/* The parameters of each row; those of rows that are not available come with them. */
#define LISTED(parameters) parameters, (int)(sizeof(parameters) / sizeof((parameters)[0]))
#define PARAMETERS_OF_OPTIMIZER_ADAMW LISTED(adamw_parameters)
#define PARAMETERS_OF_OPTIMIZER_SGD NULL, 0
#define PARAMETERS_OF_OPTIMIZER_SCHEDULE_FREE_ADAMW NULL, 0
#define PARAMETERS_OF_OPTIMIZER_SCHEDULE_FREE_SGD NULL, 0
#define PARAMETERS_OF_SCHEDULE_CONSTANT LISTED(constant_parameters)
#define PARAMETERS_OF_SCHEDULE_WSD LISTED(wsd_parameters)
#define PARAMETERS_OF_SCHEDULE_LINEAR NULL, 0
#define PARAMETERS_OF_SCHEDULE_COSINE NULL, 0
#define PARAMETERS_OF_SCHEDULE_POWER NULL, 0
#define PARAMETERS_OF_SCHEDULE_INVERSE_SQRT NULL, 0

#define X(code, name, available, summary, source) [code] = {name, available, summary, source, PARAMETERS_OF_##code},
static const struct table_row optimizer_table[OPTIMIZER_COUNT] = {OPTIMIZER_TABLE(X)};
static const struct table_row schedule_table[SCHEDULE_COUNT] = {SCHEDULE_TABLE(X)};
#undef X

#define X(code, name) [code] = name,
static const char *const decay_form_names[DECAY_FORM_COUNT] = {DECAY_FORMS(X)};
static const char *const average_kind_names[AVERAGE_KIND_COUNT] = {AVERAGE_KINDS(X)};
#undef X

const struct table_row *optimizer_rows(int *count)
{
    *count = OPTIMIZER_COUNT;
    return optimizer_table;
}

const struct table_row *schedule_rows(int *count)
{
    *count = SCHEDULE_COUNT;
    return schedule_table;
}

const char *decay_form_name(enum decay_form form)
{
    return (unsigned)form < DECAY_FORM_COUNT ? decay_form_names[form] : "unknown";
}

const char *average_kind_name(enum average_kind kind)
{
    return (unsigned)kind < AVERAGE_KIND_COUNT ? average_kind_names[kind] : "unknown";
}

int average_kind_parse(const char *text, enum average_kind *kind)
{
    for (int i = 0; i < AVERAGE_KIND_COUNT; i++) {
        if (strcmp(text, average_kind_names[i]) == 0) {
            *kind = (enum average_kind)i;
            return 0;
        }
    }
    return -1;
}

uint64_t training_default_warmup(uint64_t steps)
{
    return steps / 20 < 100 ? steps / 20 : 100;
}

uint64_t training_default_decay(uint64_t steps)
{
    return steps / 10;
}

double training_default_rate(enum optimizer_name optimizer, int width)
{
    const double adamw = fmin(2e-3, 0.4 / width);
    switch (optimizer) {
    case OPTIMIZER_SGD:
        return 0.1;
    case OPTIMIZER_SCHEDULE_FREE_ADAMW:
        return 2 * adamw;
    case OPTIMIZER_SCHEDULE_FREE_SGD:
        return 1;
    default:
        return adamw;
    }
}

struct training training_defaults(const struct shape *shape)
{
    const uint64_t steps = 20000;
    return (struct training){
        .batch = 16,
        .context = shape->context < 256 ? shape->context : 256,
        .steps = steps,
        .learning_rate = training_default_rate(OPTIMIZER_ADAMW, shape->width),
        .optimizer = {.name = OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1},
        .schedule = {.name = SCHEDULE_CONSTANT,
                     .warmup_steps = training_default_warmup(steps),
                     .decay_steps = training_default_decay(steps),
                     .decay_form = DECAY_LINEAR,
                     .minimum = 0},
        .average = {.kind = AVERAGE_WINDOW, .fraction = 0.2, .decay = 0.999},
        .clip = 1,
        .seed = 1,
        .width_rate_scaled = true,
        .objective = objective_defaults(shape->family),
    };
}

const char *training_compute_warning(const struct training *training, const struct kernels *kernels)
{
    if (training->compute != PRODUCT_BF16 || kernels_have_bf16(kernels)) {
        return NULL;
    }
    return "this processor has no bfloat16 products: compute \"bf16\" is emulated and slower than \"f32\" here";
}

/* Records the first disagreement, adds the others as details. */
static void disagree(struct error *error, const char *pointer, const char *text)
{
    if (error->code == ERROR_NONE) {
        error_set_at(error, ERROR_INVALID, pointer, "%s", text);
    } else {
        error_add_detail(error, pointer, "%s", text);
    }
}

/* NaN is outside every range. */
static void check_number(struct error *error, const char *pointer, double value, double low, double high)
{
    if (!(value >= low && value <= high)) {
        char text[160];
        snprintf(text, sizeof text, "%s is %g; give a number from %g to %g.", pointer + 1, value, low, high);
        disagree(error, pointer, text);
    }
}

static void check_row(struct error *error, const char *pointer, const struct table_row *rows, int count, unsigned row)
{
    if (row < (unsigned)count && rows[row].available) {
        return;
    }
    char text[256];
    int length = snprintf(text, sizeof text, "%s is not available in this version; use",
                          row < (unsigned)count ? rows[row].name : "This row");
    const char *separator = " ";
    for (int i = 0; i < count; i++) {
        if (rows[i].available) {
            length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", separator, rows[i].name);
            separator = " or ";
        }
    }
    snprintf(text + length, sizeof text - (size_t)length, ".");
    disagree(error, pointer, text);
}

static void check_schedule(struct error *error, const struct training *training)
{
    const struct schedule_spec *schedule = &training->schedule;
    check_row(error, "/schedule/name", schedule_table, SCHEDULE_COUNT, (unsigned)schedule->name);
    check_number(error, "/schedule/minimum", schedule->minimum, 0, 1);
    if (schedule->warmup_steps > training->steps) {
        disagree(error, "/schedule/warmup_steps", "The warm-up is longer than steps, the horizon: give a smaller one.");
    }
    if (schedule->name == SCHEDULE_WSD && schedule->decay_steps > training->steps) {
        disagree(error, "/schedule/decay_steps", "The decay is longer than steps, the horizon: give a smaller one.");
    }
    if ((unsigned)schedule->decay_form >= DECAY_FORM_COUNT) {
        disagree(error, "/schedule/decay_form", "The form of the decay is unknown: use linear, exponential or sqrt.");
    }
}

static void check_average(struct error *error, const struct average_spec *average)
{
    if ((unsigned)average->kind >= AVERAGE_KIND_COUNT) {
        disagree(error, "/average/kind", "The kind of average is unknown: use window, ema or none.");
    } else if (average->kind == AVERAGE_WINDOW) {
        check_number(error, "/average/fraction", average->fraction, 1e-6, 1);
    } else if (average->kind == AVERAGE_EMA) {
        check_number(error, "/average/decay", average->decay, 0, DECAY_MAX);
    }
}

static void check_optimizer(struct error *error, const struct optimizer_spec *optimizer)
{
    check_row(error, "/optimizer/name", optimizer_table, OPTIMIZER_COUNT, (unsigned)optimizer->name);
    check_number(error, "/optimizer/betas/0", optimizer->beta1, 0, DECAY_MAX);
    check_number(error, "/optimizer/betas/1", optimizer->beta2, 0, DECAY_MAX);
    check_number(error, "/optimizer/epsilon", optimizer->epsilon, 0, 1);
    check_number(error, "/optimizer/weight_decay", optimizer->weight_decay, 0, 10);
}

int training_check(const struct training *training, const struct shape *shape, struct error *error)
{
    struct error found = {0};
    check_number(&found, "/batch", training->batch, 1, BATCH_MAX);
    check_number(&found, "/context", training->context, 1, shape->context);
    check_number(&found, "/steps", (double)training->steps, 1, STEPS_MAX);
    if (!(training->learning_rate > 0 && training->learning_rate <= 1000)) {
        disagree(&found, "/learning_rate", "learning_rate must be above 0 and at most 1000.");
    }
    check_number(&found, "/clip", training->clip, 0, 1e9);
    check_optimizer(&found, &training->optimizer);
    check_schedule(&found, training);
    check_average(&found, &training->average);
    if (training->compute != PRODUCT_F32 && training->compute != PRODUCT_BF16) {
        disagree(&found, "/compute", "The precision of products is unknown: use f32 or bf16.");
    }
    if (found.code != ERROR_NONE && error != NULL && error->code == ERROR_NONE) {
        *error = found;
    }
    return (int)found.code;
}
