/* The rows of optimizers and schedules with their parameters: what parser, JSON Schema, documents and defaults read. */
#include <string.h>

#include "trainer/training.h"

#define BETAS(first_summary)                                                                                              \
    {.name = "betas", .type = PARAMETER_NUMBERS, .minimum = 0, .maximum = TRAINING_BETA_MAX, .fallback = "[0.9, 0.95]",    \
     .summary = first_summary}
#define EPSILON                                                                                       \
    {.name = "epsilon", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 1, .fallback = "1e-8",     \
     .summary = "added to the root of the second moment"}
#define WEIGHT_DECAY(value, text)                                                                                        \
    {.name = "weight_decay", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 10, .fallback = value, .summary = text}
#define AVERAGING                                                                                                     \
    {.name = "r", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 10, .fallback = "0",                             \
     .summary = "update k counts for (k + 1)^r in the average"},                                                      \
    {.name = "weight_power", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 10, .fallback = "2",                  \
     .summary = "and for this power of the largest rate so far"},                                                     \
    {.name = "decay_at", .type = PARAMETER_CHOICE, .choices = "y|z", .fallback = "\"y\"",                             \
     .summary = "weight decay of the point where gradients are taken, or of the iterate"},                            \
    {.name = "decoupling", .type = PARAMETER_NUMBER, .minimum = 1e-3, .maximum = 1e6,                                 \
     .summary = "C of arXiv 2507.09846: the average's window is about t / C updates whatever beta is; default "       \
                "1 / (1 - beta), the original average"}

#define AVERAGED_MOMENTS                                                                     \
    {.name = "averaged_moments", .type = PARAMETER_BOOLEAN, .fallback = "false",              \
     .summary = "with several learners: moments are averaged with the weights; else each learner keeps its own"}

static const struct parameter adamw_parameters[] = {
    BETAS("decay of the first and second moment"),
    EPSILON,
    WEIGHT_DECAY("0.1", "decoupled decay of tensors of two or more dimensions"),
    AVERAGED_MOMENTS,
};
static const struct parameter sgd_parameters[] = {
    {.name = "momentum", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = TRAINING_BETA_MAX, .fallback = "0.9",
     .summary = "what is kept of the sum of gradients"},
    {.name = "nesterov", .type = PARAMETER_BOOLEAN, .fallback = "false",
     .summary = "looks one step ahead: gradient plus momentum times the sum"},
    WEIGHT_DECAY("0", "times the weights, added to the gradient of tensors of two or more dimensions"),
    AVERAGED_MOMENTS,
};
static const struct parameter schedule_free_adamw_parameters[] = {
    BETAS("beta of y = beta x + (1 - beta) z, where gradients are taken, and decay of the second moment"),
    EPSILON,
    WEIGHT_DECAY("0.1", "decoupled decay of tensors of two or more dimensions"),
    AVERAGING,
    AVERAGED_MOMENTS,
};
static const struct parameter schedule_free_sgd_parameters[] = {
    {.name = "momentum", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = TRAINING_BETA_MAX, .fallback = "0.9",
     .summary = "beta of y = beta x + (1 - beta) z, where gradients are taken"},
    WEIGHT_DECAY("0", "decay of tensors of two or more dimensions"),
    AVERAGING,
};

#define WARMUP_PARAMETER                                                                                 \
    {.name = "warmup_steps", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = TRAINING_STEPS_MAX,     \
     .summary = "updates of linear warm-up; default min(100, steps / 20)"}
#define MINIMUM_PARAMETER                                                                             \
    {.name = "minimum", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 1, .fallback = "0",        \
     .summary = "fraction of the rate at the end of the decay"}
#define TAIL_PARAMETERS(form)                                                                            \
    {.name = "decay_steps", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = TRAINING_STEPS_MAX,      \
     .summary = "updates of the decay at the end of the horizon; default steps / 10"},                   \
    {.name = "decay_form", .type = PARAMETER_CHOICE, .choices = "linear|exponential|sqrt", .fallback = form,   \
     .summary = "how the rate falls; sqrt: 1 - sqrt(u)"},                                                \
    MINIMUM_PARAMETER

static const struct parameter constant_parameters[] = {WARMUP_PARAMETER};
static const struct parameter wsd_parameters[] = {WARMUP_PARAMETER, TAIL_PARAMETERS("\"linear\"")};
static const struct parameter falling_parameters[] = {WARMUP_PARAMETER, MINIMUM_PARAMETER};
static const struct parameter power_parameters[] = {
    WARMUP_PARAMETER,
    TAIL_PARAMETERS("\"exponential\""),
    {.name = "a", .type = PARAMETER_NUMBER, .minimum = 1e-9, .maximum = 1e9, .fallback = "4",
     .summary = "the rate is batch * context / 4096 * a * tokens^b"},
    {.name = "b", .type = PARAMETER_NUMBER, .minimum = -5, .maximum = 0, .fallback = "-0.51",
     .summary = "exponent of the tokens seen"},
    {.name = "maximum", .type = PARAMETER_NUMBER, .minimum = 1e-12, .maximum = 1000,
     .summary = "the largest rate; default learning_rate, 0.02 without one"},
    {.name = "tokens_seen", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = TRAINING_STEPS_MAX,
     .summary = "tokens that the model was trained on before; default what the checkpoint's lag_report.json says, else 0"},
};

/* The parameters of each row. */
#define LISTED(parameters) parameters, (int)(sizeof(parameters) / sizeof((parameters)[0]))
#define PARAMETERS_OF_OPTIMIZER_ADAMW LISTED(adamw_parameters)
#define PARAMETERS_OF_OPTIMIZER_SGD LISTED(sgd_parameters)
#define PARAMETERS_OF_OPTIMIZER_SCHEDULE_FREE_ADAMW LISTED(schedule_free_adamw_parameters)
#define PARAMETERS_OF_OPTIMIZER_SCHEDULE_FREE_SGD LISTED(schedule_free_sgd_parameters)
#define PARAMETERS_OF_SCHEDULE_CONSTANT LISTED(constant_parameters)
#define PARAMETERS_OF_SCHEDULE_WSD LISTED(wsd_parameters)
#define PARAMETERS_OF_SCHEDULE_LINEAR LISTED(falling_parameters)
#define PARAMETERS_OF_SCHEDULE_COSINE LISTED(falling_parameters)
#define PARAMETERS_OF_SCHEDULE_POWER LISTED(power_parameters)
#define PARAMETERS_OF_SCHEDULE_INVERSE_SQRT LISTED(constant_parameters)

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

struct optimizer_spec optimizer_defaults(enum optimizer_name name)
{
    const bool adaptive = name == OPTIMIZER_ADAMW || name == OPTIMIZER_SCHEDULE_FREE_ADAMW;
    return (struct optimizer_spec){
        .name = name, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = adaptive ? 0.1 : 0, .momentum = 0.9,
        .nesterov = false, .r = 0, .weight_power = 2, .decay_at = DECAY_AT_Y, .decoupling = 0,
    };
}

bool optimizer_is_schedule_free(enum optimizer_name name)
{
    return name == OPTIMIZER_SCHEDULE_FREE_ADAMW || name == OPTIMIZER_SCHEDULE_FREE_SGD;
}

double optimizer_beta(const struct optimizer_spec *spec)
{
    return spec->name == OPTIMIZER_SCHEDULE_FREE_SGD ? spec->momentum : spec->beta1;
}
