#include "trainer/learners.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "trainer/training.h"

struct learners_spec learners_defaults(void)
{
    struct learners_spec learners = {.count = 1, .outer = {OUTER_NONE, 0.7, 0.9}};
    for (int i = 0; i < LEARNERS_MAX; i++) {
        learners.local_steps[i] = 1;
    }
    return learners;
}

static int learner_number(const struct training *training)
{
    return training->learners.count > 1 ? training->learners.count : 1;
}

uint64_t learners_round_steps(const struct training *training)
{
    const struct learners_spec *learners = &training->learners;
    uint64_t most = 1;
    if (learners->mode == LEARNERS_GRADIENTS) {
        return 1;
    }
    for (int i = 0; i < learners->count && learners->count > 1; i++) {
        most = learners->local_steps[i] > most ? learners->local_steps[i] : most;
    }
    return most;
}

const char *learners_warning(const struct training *training)
{
    const struct learners_spec *learners = &training->learners;
    const struct optimizer_spec *optimizer = &training->optimizer;
    const bool moments = optimizer->name != OPTIMIZER_SCHEDULE_FREE_SGD &&
                         !(optimizer->name == OPTIMIZER_SGD && optimizer->momentum <= 0);
    if (learners->count < 2 || learners->mode == LEARNERS_GRADIENTS) {
        return NULL;
    }
    if (learners->outer.name != OUTER_NONE) {
        return "the outer optimizer's velocity is in no checkpoint: training that goes on from a candidate's files begins it anew";
    }
    return moments && !learners->averaged_moments
               ? "each learner keeps moments of its own, a candidate's files hold the first one's: training that goes on from them "
                 "gives them to all; with averaged_moments it goes on bit for bit" : NULL;
}

uint64_t learners_round_end(const struct training *training, uint64_t step, uint64_t until)
{
    const uint64_t k = learners_round_steps(training), end = step - step % k + k;
    return end < until ? end : until;
}

uint64_t learners_local_steps(const struct training *training, int learner, uint64_t steps)
{
    const uint64_t k = learners_round_steps(training);
    if (k == 1) {
        return steps;
    }
    const uint64_t own = (training->learners.local_steps[learner] * steps + k - 1) / k;
    return own > 0 ? own : 1;
}

/* Rows per learner in round n. A row more than memory has is nothing to ask for: see learners_check. */
static int round_rows(const struct training *training, uint64_t n)
{
    const double first = training->batch / learner_number(training);
    const double rows = floor(first * (1 + training->learners.batch_growth * (double)n));
    return rows < 1 << 24 ? (int)rows : 1 << 24;
}

int learners_rows(const struct training *training, uint64_t step)
{
    return round_rows(training, training->learners.batch_growth > 0 ? step / learners_round_steps(training) : 0);
}

int learners_rows_most(const struct training *training)
{
    return learners_rows(training, training->steps > 0 ? training->steps - 1 : 0);
}

/* Steps of all learners together in a round of `steps`. */
static uint64_t steps_of_all(const struct training *training, uint64_t steps)
{
    uint64_t sum = 0;
    for (int i = 0; i < learner_number(training) && steps > 0; i++) {
        sum += learners_local_steps(training, i, steps);
    }
    return sum;
}

/* The sum over rounds of `full` times the rows of a whole round, and of `cut` times those of the last. */
static uint64_t rows_sum(const struct training *training, uint64_t rounds, uint64_t full, uint64_t cut)
{
    if (!(training->learners.batch_growth > 0)) {
        return (rounds * full + cut) * (uint64_t)round_rows(training, 0);
    }
    uint64_t sum = cut * (uint64_t)round_rows(training, rounds);
    for (uint64_t n = 0; n < rounds; n++) {
        sum += full * (uint64_t)round_rows(training, n);
    }
    return sum;
}

uint64_t learners_rows_before(const struct training *training, uint64_t step)
{
    const uint64_t k = learners_round_steps(training), p = (uint64_t)learner_number(training);
    return rows_sum(training, step / k, p * k, p * (step % k));
}

uint64_t training_tokens(const struct training *training, uint64_t step)
{
    const uint64_t k = learners_round_steps(training);
    const uint64_t rows = rows_sum(training, step / k, steps_of_all(training, k), steps_of_all(training, step % k));
    return rows * (uint64_t)training->context;
}

double learners_rate_factor(const struct training *training, uint64_t step)
{
    if (!(training->learners.batch_growth > 0)) {
        return 1;
    }
    return sqrt((double)round_rows(training, 0) / learners_rows(training, step));
}

/* ---- checks ---- */

static void disagree(struct error *error, const char *pointer, const char *text)
{
    if (error->code == ERROR_NONE) {
        error_set_at(error, ERROR_INVALID, pointer, "%s", text);
    } else {
        error_add_detail(error, pointer, "%s", text);
    }
}

static bool is_uneven(const struct learners_spec *learners)
{
    for (int i = 1; i < learners->count; i++) {
        if (learners->local_steps[i] != learners->local_steps[0]) {
            return true;
        }
    }
    return false;
}

static void check_batch(struct error *error, const struct training *training)
{
    const struct learners_spec *learners = &training->learners;
    char text[256];
    if (training->batch % learners->count != 0) {
        const int rest = training->batch % learners->count;
        snprintf(text, sizeof text, "A batch of %d sequences does not divide among %d learners: give a batch of %d, or "
                 "other learners.", training->batch, learners->count, training->batch - rest + learners->count);
        disagree(error, "/learners", text);
    }
    if (!(learners->batch_growth >= 0 && learners->batch_growth <= 1)) {
        disagree(error, "/batch_growth", "batch_growth is a share of the batch per round: give a number from 0 to 1.");
    } else if ((double)learners_rows_most(training) * learners->count > 1 << 20) {
        snprintf(text, sizeof text, "The batch grows to more than %d sequences by step %" PRIu64 ": give a smaller "
                 "batch_growth or fewer steps.", 1 << 20, training->steps);
        disagree(error, "/batch_growth", text);
    }
}

/* What only replicas with steps of their own have. */
static void check_one(struct error *error, const struct learners_spec *learners, const char *instead)
{
    char text[256];
    const bool every = learners->automatic || learners->local_steps[0] != 1 || is_uneven(learners);
    if (every) {
        snprintf(text, sizeof text, "average_every is of learners that average their weights: leave it out%s.", instead);
        disagree(error, "/average_every", text);
    }
    if (learners->outer.name != OUTER_NONE) {
        snprintf(text, sizeof text, "The outer step is taken on averages of weights: give \"none\"%s.", instead);
        disagree(error, "/outer/name", text);
    }
    if (learners->averaged_moments) {
        snprintf(text, sizeof text, "There are no moments to average: give averaged_moments false%s.", instead);
        disagree(error, "/optimizer/averaged_moments", text);
    }
}

static void check_local_steps(struct error *error, const struct training *training)
{
    const struct learners_spec *learners = &training->learners;
    char text[256];
    for (int i = 0; i < learners->count && !learners->automatic; i++) {
        const uint64_t most = training->steps < LEARNERS_STEPS_MAX ? training->steps : LEARNERS_STEPS_MAX;
        if (learners->local_steps[i] < 1 || learners->local_steps[i] > most) {
            snprintf(text, sizeof text, "average_every is %" PRIu64 ": give a number from 1 to %" PRIu64 ", the steps of "
                     "the run.", learners->local_steps[i], most);
            disagree(error, "/average_every", text);
            return;
        }
    }
    if (is_uneven(learners) && !learners->automatic && optimizer_is_schedule_free(training->optimizer.name)) {
        disagree(error, "/average_every", "A schedule-free average counts every learner's steps alike: give one number "
                 "for average_every, or use adamw or sgd.");
    }
    if (is_uneven(learners) && !learners->automatic && learners->averaged_moments) {
        disagree(error, "/average_every", "Averaged moments must have seen equally many steps: give one number for "
                 "average_every, or averaged_moments false.");
    }
}

static void check_moments(struct error *error, const struct training *training)
{
    const struct optimizer_spec *optimizer = &training->optimizer;
    const bool none = (optimizer->name == OPTIMIZER_SGD && optimizer->momentum <= 0) ||
                      optimizer->name == OPTIMIZER_SCHEDULE_FREE_SGD;
    if (training->learners.averaged_moments && none) {
        disagree(error, "/optimizer/averaged_moments", "This optimizer has no moments to average: give averaged_moments "
                 "false, or sgd a momentum.");
    }
}

static void check_outer(struct error *error, const struct training *training)
{
    const struct outer_spec *outer = &training->learners.outer;
    if ((unsigned)outer->name >= OUTER_COUNT) {
        disagree(error, "/outer/name", "The outer optimizer is unknown: use none or nesterov.");
    }
    if (outer->name == OUTER_NONE) {
        return;
    }
    if (!(outer->learning_rate > 0 && outer->learning_rate <= 10)) {
        disagree(error, "/outer/learning_rate", "The outer learning rate must be above 0 and at most 10.");
    }
    if (!(outer->momentum >= 0 && outer->momentum < 1)) {
        disagree(error, "/outer/momentum", "The outer momentum must be at least 0 and below 1.");
    }
    if (optimizer_is_schedule_free(training->optimizer.name)) {
        disagree(error, "/outer/name", "A schedule-free optimizer evaluates an average of its own, which an outer step "
                 "would move away from its iterate: use adamw or sgd, or outer none.");
    }
}

int learners_check(const struct training *training, struct error *error)
{
    const struct learners_spec *learners = &training->learners;
    struct error found = {0};
    if (learners->count < 1 || learners->count > LEARNERS_MAX) {
        char text[128];
        snprintf(text, sizeof text, "%d learners: give a number from 1 to %d.", learners->count, LEARNERS_MAX);
        disagree(&found, "/learners", text);
    } else if ((unsigned)learners->mode >= LEARNERS_MODE_COUNT) {
        disagree(&found, "/learners_mode", "The mode of learners is unknown: use weights or gradients.");
    } else {
        check_batch(&found, training);
        if (learners->count == 1) {
            check_one(&found, learners, ", or raise learners");
        } else if (learners->mode == LEARNERS_GRADIENTS) {
            check_one(&found, learners, ", or use learners_mode weights");
        } else {
            check_local_steps(&found, training);
            check_outer(&found, training);
            check_moments(&found, training);
        }
    }
    if (found.code != ERROR_NONE && error != NULL && error->code == ERROR_NONE) {
        *error = found;
    }
    return (int)found.code;
}
