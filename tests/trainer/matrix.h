/* The matrix of training: every family with every optimizer, schedule, parametrization, way of several learners and running
 * average. Its axes are the tables; each row of a table has an entry here, and matrix_check_entries fails without. What does
 * not go together is said by a list of rules of its own, with the pointer and the remedy that the refusal must have.
 * Header only: each program uses what it needs. */
#ifndef TESTS_TRAINER_MATRIX_H
#define TESTS_TRAINER_MATRIX_H

#include "tests/trainer/family_worlds.h"

enum { MATRIX_STEPS = 12, MATRIX_HORIZON = 16, MATRIX_BATCH = 8, MATRIX_ODD_BATCH = 7, MATRIX_CONTEXT = 8 };

/* Row 0 of each axis is the default that the others must differ from. */
enum matrix_axis {
    MATRIX_FAMILY, MATRIX_OPTIMIZER, MATRIX_SCHEDULE, MATRIX_PARAMETRIZATION, MATRIX_LEARNERS, MATRIX_AVERAGE,
    MATRIX_TRAINED,                    /* the axes above have weights of their own; those below only wrong rows */
    MATRIX_WIDTH_RATE = MATRIX_TRAINED, MATRIX_ROWS, MATRIX_AXES
};
struct combination { int at[MATRIX_AXES]; };

/* ---- the entries: a name, and members of a request's `training` that say the same as matrix_training ---- */

struct matrix_row { const char *name, *json; };

static const struct matrix_row matrix_optimizers[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = {"adamw", "\"name\": \"adamw\""},
    [OPTIMIZER_SGD] = {"sgd", "\"name\": \"sgd\", \"nesterov\": true"},
    [OPTIMIZER_SCHEDULE_FREE_ADAMW] = {"schedule_free_adamw", "\"name\": \"schedule_free_adamw\""},
    [OPTIMIZER_SCHEDULE_FREE_SGD] = {"schedule_free_sgd", "\"name\": \"schedule_free_sgd\", \"decoupling\": 5"},
};
static const double matrix_rates[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = 0.01, [OPTIMIZER_SGD] = 0.1, [OPTIMIZER_SCHEDULE_FREE_ADAMW] = 0.01, [OPTIMIZER_SCHEDULE_FREE_SGD] = 0.5,
};
static const struct matrix_row matrix_schedules[SCHEDULE_COUNT] = {
    [SCHEDULE_CONSTANT] = {"constant", "\"name\": \"constant\", \"warmup_steps\": 3"},
    [SCHEDULE_WSD] = {"wsd", "\"name\": \"wsd\", \"warmup_steps\": 3, \"decay_steps\": 8"},
    [SCHEDULE_LINEAR] = {"linear", "\"name\": \"linear\", \"warmup_steps\": 3"},
    [SCHEDULE_COSINE] = {"cosine", "\"name\": \"cosine\", \"warmup_steps\": 3"},
    [SCHEDULE_POWER] = {"power", "\"name\": \"power\", \"warmup_steps\": 3, \"decay_steps\": 8, \"tokens_seen\": 1000"},
    [SCHEDULE_INVERSE_SQRT] = {"inverse_sqrt", "\"name\": \"inverse_sqrt\", \"warmup_steps\": 3"},
};
static const struct matrix_row matrix_parametrizations[PARAMETRIZATION_COUNT] = {
    [PARAMETRIZATION_STANDARD] = {"standard", "\"standard\""},
    [PARAMETRIZATION_MUP] = {"mup", "\"mup\""},
    [PARAMETRIZATION_COMPLETEP] = {"completep", "\"completep\""},
    [PARAMETRIZATION_NTP] = {"ntp", "\"ntp\""},
};
static const struct matrix_row matrix_averages[AVERAGE_KIND_COUNT] = {
    [AVERAGE_NONE] = {"none", "\"kind\": \"none\""},
    [AVERAGE_WINDOW] = {"window", "\"kind\": \"window\", \"fraction\": 0.5"},
    [AVERAGE_EMA] = {"ema", "\"kind\": \"ema\", \"decay\": 0.9"},
};
static const struct matrix_row matrix_width_rates[2] = {{"scaled", "\"scaled\""}, {"given", "\"given\""}};
static const struct matrix_row matrix_batches[2] = {{"even batch", "8"}, {"odd batch", "7"}};

/* Modes and outer optimizers have rows of their own, and so has each way in which learners may differ. */
struct matrix_learners {
    struct matrix_row row;
    struct learners_spec spec;
    bool joint;                 /* the same step as one learner's but for rounding: it must agree instead of differ */
};
static const struct matrix_learners matrix_learners[] = {
    {{"one learner", ""}, {.count = 1}, false},
    {{"weights", "\"learners\": 2, \"average_every\": 3"}, {.count = 2, .local_steps = {3, 3}}, false},
    {{"gradients", "\"learners\": 2, \"learners_mode\": \"gradients\""}, {.count = 2, .mode = LEARNERS_GRADIENTS}, true},
    {{"nesterov", "\"learners\": 2, \"average_every\": 3, \"outer\": {\"name\": \"nesterov\"}"},
     {.count = 2, .local_steps = {3, 3}, .outer = {OUTER_NESTEROV, 0.7, 0.9}}, false},
    {{"averaged moments", "\"learners\": 4, \"average_every\": 2"},
     {.count = 4, .local_steps = {2, 2, 2, 2}, .averaged_moments = true}, false},
    {{"unequal learners", "\"learners\": 2, \"average_every\": [3, 1]"}, {.count = 2, .local_steps = {3, 1}}, false},
    {{"growing batch", "\"learners\": 2, \"average_every\": 3, \"batch_growth\": 0.5"},
     {.count = 2, .local_steps = {3, 3}, .batch_growth = 0.5}, false},
};
enum { MATRIX_LEARNERS_ROWS = sizeof matrix_learners / sizeof *matrix_learners };

static const int matrix_sizes[MATRIX_AXES] = {
    FAMILY_WORLDS, OPTIMIZER_COUNT, SCHEDULE_COUNT, PARAMETRIZATION_COUNT, MATRIX_LEARNERS_ROWS, AVERAGE_KIND_COUNT, 2, 2,
};

static inline const char *matrix_name(int axis, int row)
{
    switch (axis) {
    case MATRIX_FAMILY: return family_worlds[row].title;
    case MATRIX_OPTIMIZER: return matrix_optimizers[row].name;
    case MATRIX_SCHEDULE: return matrix_schedules[row].name;
    case MATRIX_PARAMETRIZATION: return matrix_parametrizations[row].name;
    case MATRIX_LEARNERS: return matrix_learners[row].row.name;
    case MATRIX_AVERAGE: return matrix_averages[row].name;
    case MATRIX_WIDTH_RATE: return matrix_width_rates[row].name;
    default: return matrix_batches[row].name;
    }
}

/* "gpt2, sgd, wsd, …": static, until the next call. */
static inline const char *matrix_title(const struct combination *c)
{
    static char text[256];
    int length = 0;
    for (int axis = 0; axis < MATRIX_AXES; axis++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", axis > 0 ? ", " : "",
                           matrix_name(axis, c->at[axis]));
    return text;
}

static inline void matrix_expect_name(const char *entry, const char *row)
{
    if (entry == NULL || strcmp(entry, row) != 0)
        fail_msg("the row %s has no entry in tests/trainer/matrix.h", row);
}

/* Every row of every table takes part. */
static inline void matrix_check_entries(void)
{
    bool families[FAMILY_COUNT] = {0}, objectives[OBJECTIVE_COUNT] = {0}, modes[LEARNERS_MODE_COUNT] = {0};
    bool outers[OUTER_COUNT] = {0};
    for (int i = 0; i < OPTIMIZER_COUNT; i++)
        matrix_expect_name(matrix_optimizers[i].name, optimizer_rows(&(int){0})[i].name);
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        matrix_expect_name(matrix_schedules[i].name, schedule_rows(&(int){0})[i].name);
    for (int i = 0; i < PARAMETRIZATION_COUNT; i++)
        matrix_expect_name(matrix_parametrizations[i].name, parametrization_name((enum parametrization)i));
    for (int i = 0; i < AVERAGE_KIND_COUNT; i++)
        matrix_expect_name(matrix_averages[i].name, average_kind_name((enum average_kind)i));
    for (int i = 0; i < FAMILY_WORLDS; i++) {
        families[family_worlds[i].shape.family] = true;
        objectives[family_worlds[i].objective] = true;
    }
    for (int i = 0; i < MATRIX_LEARNERS_ROWS; i++) {
        modes[matrix_learners[i].spec.mode] = true;
        outers[matrix_learners[i].spec.outer.name] = true;
    }
    for (int i = 0; i < FAMILY_COUNT; i++)
        assert_true(families[i]);
    for (int i = 0; i < OBJECTIVE_COUNT; i++)
        assert_true(objectives[i]);
    for (int i = 0; i < LEARNERS_MODE_COUNT; i++)
        assert_true(modes[i]);
    for (int i = 0; i < OUTER_COUNT; i++)
        assert_true(outers[i]);
}

/* ---- a combination as values, and as a request says it ---- */

static inline struct training matrix_training(const struct combination *c)
{
    const enum optimizer_name optimizer = (enum optimizer_name)c->at[MATRIX_OPTIMIZER];
    const struct family_world *world = &family_worlds[c->at[MATRIX_FAMILY]];
    const struct learners_spec *learners = &matrix_learners[c->at[MATRIX_LEARNERS]].spec;
    struct training training = training_defaults(&world->shape);
    training.batch = c->at[MATRIX_ROWS] == 0 ? MATRIX_BATCH : MATRIX_ODD_BATCH;
    training.context = MATRIX_CONTEXT;
    training.steps = MATRIX_HORIZON;
    training.learning_rate = matrix_rates[optimizer];
    training.seed = 3;
    training.optimizer = optimizer_defaults(optimizer);
    training.optimizer.nesterov = optimizer == OPTIMIZER_SGD;
    training.optimizer.decoupling = optimizer == OPTIMIZER_SCHEDULE_FREE_SGD ? 5 : 0;
    training.clip = training_default_clip(optimizer);
    training.schedule.name = (enum schedule_name)c->at[MATRIX_SCHEDULE];
    training.schedule.warmup_steps = 3;
    if (training.schedule.name == SCHEDULE_WSD || training.schedule.name == SCHEDULE_POWER)
        training.schedule.decay_steps = 8;
    if (training.schedule.name == SCHEDULE_POWER) {
        training.schedule.decay_form = DECAY_EXPONENTIAL;
        training.schedule.tokens_seen = 1000;
        training.schedule.tokens_known = true;
    }
    training.parametrization = (enum parametrization)c->at[MATRIX_PARAMETRIZATION];
    training.width_rate_scaled = c->at[MATRIX_WIDTH_RATE] == 0;
    training.average = (struct average_spec){.kind = (enum average_kind)c->at[MATRIX_AVERAGE], .fraction = 0.5, .decay = 0.9};
    training.objective = family_objective(world);
    training.learners = learners_defaults();
    training.learners.count = learners->count;
    training.learners.mode = learners->mode;
    training.learners.averaged_moments = learners->averaged_moments;
    training.learners.batch_growth = learners->batch_growth;
    if (learners->outer.name != OUTER_NONE)
        training.learners.outer = learners->outer;
    for (int i = 0; i < learners->count; i++)
        training.learners.local_steps[i] = learners->local_steps[i] > 0 ? learners->local_steps[i] : 1;
    return training;
}

/* The `training` object of a request; the objective is the data's. */
static inline void matrix_json(const struct combination *c, char *text, size_t size)
{
    const struct matrix_learners *learners = &matrix_learners[c->at[MATRIX_LEARNERS]];
    int length = snprintf(text, size, "{\"batch\": %s, \"context\": %d, \"steps\": %d, \"learning_rate\": %.17g, \"seed\": 3, "
                          "\"optimizer\": {%s%s}, \"schedule\": {%s}, \"parametrization\": %s, \"width_learning_rate\": %s, "
                          "\"average\": {%s}%s%s}", matrix_batches[c->at[MATRIX_ROWS]].json, MATRIX_CONTEXT, MATRIX_HORIZON,
                          matrix_rates[c->at[MATRIX_OPTIMIZER]],
                          matrix_optimizers[c->at[MATRIX_OPTIMIZER]].json,
                          learners->spec.averaged_moments ? ", \"averaged_moments\": true" : "",
                          matrix_schedules[c->at[MATRIX_SCHEDULE]].json,
                          matrix_parametrizations[c->at[MATRIX_PARAMETRIZATION]].json,
                          matrix_width_rates[c->at[MATRIX_WIDTH_RATE]].json, matrix_averages[c->at[MATRIX_AVERAGE]].json,
                          learners->row.json[0] != '\0' ? ", " : "", learners->row.json);
    assert_true(length > 0 && (size_t)length < size);
}

/* ---- what does not go together ---- */

static inline bool matrix_schedule_free(const struct combination *c)
{
    return strncmp(matrix_optimizers[c->at[MATRIX_OPTIMIZER]].name, "schedule_free", 13) == 0;
}

static inline bool decays_without_need(const struct combination *c)
{
    return matrix_schedule_free(c) && c->at[MATRIX_SCHEDULE] != SCHEDULE_CONSTANT;
}

static inline bool averages_twice(const struct combination *c)
{
    return matrix_schedule_free(c) && c->at[MATRIX_AVERAGE] != AVERAGE_NONE;
}

static inline bool keeps_rates_of_another_rule(const struct combination *c)
{
    return c->at[MATRIX_PARAMETRIZATION] != PARAMETRIZATION_STANDARD && c->at[MATRIX_WIDTH_RATE] == 1;
}

static inline bool leaves_rows_over(const struct combination *c)
{
    return c->at[MATRIX_ROWS] == 1 && matrix_learners[c->at[MATRIX_LEARNERS]].spec.count > 1;
}

static inline bool steps_away_from_its_average(const struct combination *c)
{
    return matrix_schedule_free(c) && matrix_learners[c->at[MATRIX_LEARNERS]].spec.outer.name != OUTER_NONE;
}

static inline bool counts_unequal_steps(const struct combination *c)
{
    const struct learners_spec *spec = &matrix_learners[c->at[MATRIX_LEARNERS]].spec;
    return matrix_schedule_free(c) && spec->count == 2 && spec->local_steps[0] != spec->local_steps[1];
}

static inline bool has_no_moments_to_average(const struct combination *c)
{
    return c->at[MATRIX_OPTIMIZER] == OPTIMIZER_SCHEDULE_FREE_SGD &&
           matrix_learners[c->at[MATRIX_LEARNERS]].spec.averaged_moments;
}

struct matrix_rule { bool (*is_broken)(const struct combination *c); const char *pointer, *remedy;
                     const char *request; };     /* what a request is told where fields of other rows are; NULL: remedy */
static const struct matrix_rule matrix_rules[] = {
    {decays_without_need, "/schedule/name", "use constant", NULL},
    {averages_twice, "/average/kind", "use the average none", NULL},
    {keeps_rates_of_another_rule, "/width_learning_rate", "leave width_learning_rate out", NULL},
    {leaves_rows_over, "/learners", "give a batch of 8", NULL},
    {steps_away_from_its_average, "/outer/name", "use adamw or sgd", NULL},
    {counts_unequal_steps, "/average_every", "give one number", NULL},
    {has_no_moments_to_average, "/optimizer/averaged_moments", "give averaged_moments false",
     "leave it out or use that optimizer"},
};
enum { MATRIX_RULES = sizeof matrix_rules / sizeof *matrix_rules };

static inline int matrix_broken_rules(const struct combination *c)
{
    int count = 0;
    for (int i = 0; i < MATRIX_RULES; i++)
        count += matrix_rules[i].is_broken(c);
    return count;
}

/* ---- walking ---- */

/* The next of all combinations; false after the last. Axes up to `first` stay. */
static inline bool matrix_next(struct combination *c, int first)
{
    for (int axis = MATRIX_AXES - 1; axis >= first; axis--) {
        if (++c->at[axis] < matrix_sizes[axis])
            return true;
        c->at[axis] = 0;
    }
    return false;
}

/* Rows of pairs: of axes i < j, [row of i][row of j]. */
enum { MATRIX_SIDE = 16 };
typedef bool matrix_pairs[MATRIX_TRAINED][MATRIX_TRAINED][MATRIX_SIDE][MATRIX_SIDE];

static inline int matrix_take_pairs(const struct combination *c, matrix_pairs covered, bool take)
{
    int count = 0;
    for (int i = 0; i < MATRIX_TRAINED; i++)
        for (int j = i + 1; j < MATRIX_TRAINED; j++) {
            bool *one = &covered[i][j][c->at[i]][c->at[j]];
            count += !*one;
            *one = *one || take;
        }
    return count;
}

/* A pairwise covering array of what goes together: each pair of rows that any allowed combination has is in one of these.
 * Greedy: the one with most new pairs next, of equals the first; so the first few are also a good handful. The count, at most
 * `most`. */
static inline int matrix_cover(struct combination *list, int most)
{
    static matrix_pairs covered;
    int count = 0;
    memset(covered, 0, sizeof covered);
    for (int i = 0; i < MATRIX_TRAINED; i++)
        assert_true(matrix_sizes[i] <= MATRIX_SIDE);
    while (count < most) {
        struct combination c = {0}, best = {0};
        int most_pairs = 0;
        do {
            if (c.at[MATRIX_WIDTH_RATE] != 0 || c.at[MATRIX_ROWS] != 0 || matrix_broken_rules(&c) > 0)
                continue;
            const int pairs = matrix_take_pairs(&c, covered, false);
            if (pairs > most_pairs)
                most_pairs = pairs, best = c;
        } while (matrix_next(&c, 0));
        if (most_pairs == 0)
            break;
        matrix_take_pairs(&best, covered, true);
        list[count++] = best;
    }
    return count;
}

#endif
