#include "trainer/training.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH_MAX = 1 << 20 };

uint64_t training_default_warmup(uint64_t steps)
{
    return steps / 20 < 100 ? steps / 20 : 100;
}

uint64_t training_default_decay(uint64_t steps)
{
    return steps / 10;
}

double training_default_rate(enum optimizer_name optimizer, enum schedule_name schedule, int width)
{
    const double adamw = fmin(2e-3, 0.4 / width);
    if (schedule == SCHEDULE_POWER) {
        return 0.02;
    }
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

double training_default_clip(enum optimizer_name optimizer)
{
    return optimizer_is_schedule_free(optimizer) ? 0 : 1;
}

enum average_kind training_default_average(enum optimizer_name optimizer)
{
    return optimizer_is_schedule_free(optimizer) ? AVERAGE_NONE : AVERAGE_WINDOW;
}

void training_continue_tokens(struct training *training, uint64_t step, uint64_t tokens_seen)
{
    struct schedule_spec *schedule = &training->schedule;
    const uint64_t before = training_tokens(training, step);
    /* counted from the run's begin where it can be: then two pieces of a run have the values of the whole one */
    schedule->tokens_step = tokens_seen >= before ? 0 : step;
    schedule->tokens_seen = tokens_seen >= before ? tokens_seen - before : tokens_seen;
}

double training_hidden_rate_scale(const struct training *training, double width_factor)
{
    return training->width_rate_scaled && training->parametrization == PARAMETRIZATION_STANDARD ? 1 / width_factor : 1;
}

struct training training_defaults(const struct shape *shape)
{
    const uint64_t steps = 20000;
    return (struct training){
        .batch = 16,
        .context = shape->context < 256 ? shape->context : 256,
        .steps = steps,
        .learning_rate = training_default_rate(OPTIMIZER_ADAMW, SCHEDULE_CONSTANT, shape->width),
        .optimizer = optimizer_defaults(OPTIMIZER_ADAMW),
        .schedule = {.name = SCHEDULE_CONSTANT,
                     .warmup_steps = training_default_warmup(steps),
                     .decay_steps = training_default_decay(steps),
                     .decay_form = DECAY_LINEAR,
                     .minimum = 0,
                     .a = 4,
                     .b = -0.51},
        .average = {.kind = AVERAGE_WINDOW, .fraction = 0.2, .decay = 0.999},
        .clip = 1,
        .seed = 1,
        .width_rate_scaled = true,
        .learners = learners_defaults(),
        .objective = objective_defaults(shape->family),
    };
}

static const char *power_warning(const struct training *training)
{
    if (training->parametrization == PARAMETRIZATION_MUP && training->optimizer.name == OPTIMIZER_ADAMW) {
        return NULL;
    }
    return training->optimizer.name == OPTIMIZER_ADAMW
               ? "the power schedule's a, b and maximum were fitted under mup (arXiv 2408.13359); with another parametrization "
                 "give a maximum that suits the model, or \"parametrization\": \"mup\""
               : "the power schedule's a and b were fitted to adamw's rates (arXiv 2408.13359); give your own, or use adamw";
}

const char *training_compute_warning(const struct training *training, const struct kernels *kernels)
{
    if (training->compute != PRODUCT_BF16 || kernels_have_bf16(kernels)) {
        return NULL;
    }
    return "this processor has no bfloat16 products: compute \"bf16\" is emulated and slower than \"f32\" here";
}

int training_warnings(const struct training *training, const struct kernels *kernels,
                      const char *texts[TRAINING_WARNINGS_MAX])
{
    const bool power = training->schedule.name == SCHEDULE_POWER;
    const char *const all[TRAINING_WARNINGS_MAX] = {
        training_compute_warning(training, kernels),
        power ? power_warning(training) : NULL,
        power && !training->schedule.tokens_known
            ? "how many tokens the checkpoint has seen is not known (it has no lag_report.json): the power schedule counts from "
              "0; say it as training.schedule.tokens_seen" : NULL,
        learners_warning(training),
    };
    int count = 0;
    for (int i = 0; i < TRAINING_WARNINGS_MAX; i++) {
        if (all[i] != NULL) {
            texts[count++] = all[i];
        }
    }
    return count;
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

/* Schedule-free's average takes the place of a decay, which its weights would only undo: only warm-up goes with it. */
static void check_schedule_free(struct error *error, const struct training *training)
{
    const enum optimizer_name name = training->optimizer.name;
    char text[200];
    if (!optimizer_is_schedule_free(name)) {
        return;
    }
    if (training->schedule.name != SCHEDULE_CONSTANT && (unsigned)training->schedule.name < SCHEDULE_COUNT) {
        snprintf(text, sizeof text, "%s needs no decaying schedule: use constant, which has a warm-up, or the optimizer %s.",
                 optimizer_rows(&(int){0})[name].name, name == OPTIMIZER_SCHEDULE_FREE_SGD ? "sgd" : "adamw");
        disagree(error, "/schedule/name", text);
    }
    if (training->average.kind != AVERAGE_NONE) {
        snprintf(text, sizeof text, "%s is evaluated at an average of its own: use the average none, or leave it out.",
                 optimizer_rows(&(int){0})[name].name);
        disagree(error, "/average/kind", text);
    }
}

static void check_schedule(struct error *error, const struct training *training)
{
    const struct schedule_spec *schedule = &training->schedule;
    check_row(error, "/schedule/name", schedule_rows(&(int){0}), SCHEDULE_COUNT, (unsigned)schedule->name);
    check_number(error, "/schedule/minimum", schedule->minimum, 0, 1);
    if (schedule->warmup_steps > training->steps) {
        disagree(error, "/schedule/warmup_steps", "The warm-up is longer than steps, the horizon: give a smaller one.");
    }
    if ((schedule->name == SCHEDULE_WSD || schedule->name == SCHEDULE_POWER) && schedule->decay_steps > training->steps) {
        disagree(error, "/schedule/decay_steps", "The decay is longer than steps, the horizon: give a smaller one.");
    }
    if (schedule->name == SCHEDULE_POWER) {
        check_number(error, "/schedule/a", schedule->a, 1e-9, 1e9);
        check_number(error, "/schedule/b", schedule->b, -5, 0);
        check_number(error, "/schedule/tokens_seen", (double)schedule->tokens_seen, 0, TRAINING_STEPS_MAX);
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
        check_number(error, "/average/decay", average->decay, 0, TRAINING_BETA_MAX);
    }
}

static void check_optimizer(struct error *error, const struct optimizer_spec *optimizer)
{
    check_row(error, "/optimizer/name", optimizer_rows(&(int){0}), OPTIMIZER_COUNT, (unsigned)optimizer->name);
    check_number(error, "/optimizer/betas/0", optimizer->beta1, 0, TRAINING_BETA_MAX);
    check_number(error, "/optimizer/betas/1", optimizer->beta2, 0, TRAINING_BETA_MAX);
    check_number(error, "/optimizer/epsilon", optimizer->epsilon, 0, 1);
    check_number(error, "/optimizer/weight_decay", optimizer->weight_decay, 0, 10);
    check_number(error, "/optimizer/momentum", optimizer->momentum, 0, TRAINING_BETA_MAX);
    check_number(error, "/optimizer/r", optimizer->r, 0, 10);
    check_number(error, "/optimizer/weight_power", optimizer->weight_power, 0, 10);
    if (optimizer->decoupling != 0) {    /* not given */
        check_number(error, "/optimizer/decoupling", optimizer->decoupling, 1e-3, 1e6);
    }
    if (optimizer->decay_at != DECAY_AT_Y && optimizer->decay_at != DECAY_AT_Z) {
        disagree(error, "/optimizer/decay_at", "The point of the weight decay is unknown: use y or z.");
    }
}

static void check_learners(struct error *error, const struct training *training)
{
    struct error found = {0};
    learners_check(training, &found);
    for (int i = 0; i < found.detail_count; i++) {
        disagree(error, found.details[i].pointer, found.details[i].text);
    }
}

static void check_parametrization(struct error *error, const struct training *training)
{
    if ((unsigned)training->parametrization >= PARAMETRIZATION_COUNT) {
        disagree(error, "/parametrization", "The parametrization is unknown: use standard, mup, completep or ntp.");
    } else if (training->parametrization != PARAMETRIZATION_STANDARD && !training->width_rate_scaled) {
        char text[200];
        snprintf(text, sizeof text, "%s sets the rates of hidden matrices by its own rule, \"given\" would keep them: leave "
                 "width_learning_rate out, or use the parametrization standard.",
                 parametrization_name(training->parametrization));
        disagree(error, "/width_learning_rate", text);
    }
}

int training_check(const struct training *training, const struct shape *shape, struct error *error)
{
    struct error found = {0};
    check_number(&found, "/batch", training->batch, 1, BATCH_MAX);
    check_number(&found, "/context", training->context, 1, shape->context);
    check_number(&found, "/steps", (double)training->steps, 1, TRAINING_STEPS_MAX);
    if (!(training->learning_rate > 0 && training->learning_rate <= 1000)) {
        disagree(&found, "/learning_rate", "learning_rate must be above 0 and at most 1000.");
    }
    check_number(&found, "/clip", training->clip, 0, 1e9);
    check_optimizer(&found, &training->optimizer);
    check_schedule(&found, training);
    check_average(&found, &training->average);
    check_schedule_free(&found, training);
    check_parametrization(&found, training);
    if (training->compute != PRODUCT_F32 && training->compute != PRODUCT_BF16) {
        disagree(&found, "/compute", "The precision of products is unknown: use f32 or bf16.");
    }
    check_learners(&found, training);
    if (found.code != ERROR_NONE && error != NULL && error->code == ERROR_NONE) {
        *error = found;
    }
    return (int)found.code;
}
