/* Rules that stop candidates one after the other: successive halving, ASHA, median stopping, Hyperband. All look at the
 * averaged losses, as the other rules do. Their resource R, the most steps that a candidate gets, is the largest
 * evaluation step at which all candidates together stay within settings.step steps each. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "study/rules_parts.h"
#include "study/sentence.h"

enum { HALVING_FACTOR = 3, HYPERBAND_FACTOR = 3, ASHA_FACTOR = 4, SHUFFLE_STREAM = 1 };

/* The candidates of a race, in the order in which a rule takes them up. */
struct race {
    const struct replay *replay;
    uint64_t resource;                       /* R */
    int ids[SPEC_CANDIDATES_MAX], count;
    uint64_t reached[SPEC_CANDIDATES_MAX];   /* by candidate: its last rung */
};

typedef void race_function(struct race *race);

/* Loss at a rung; who has none there is last. */
static double loss_at(const struct race *race, int candidate, uint64_t step)
{
    double loss = replay_loss(race->replay, candidate, step);
    return isnan(loss) ? INFINITY : loss;
}

/* R / factor^level, on the evaluation grid, after step 0. */
static uint64_t rung(const struct race *race, int factor, int level)
{
    uint64_t step = race->resource;
    for (int i = 0; i < level; i++)
        step /= (uint64_t)factor;
    step = replay_step(race->replay, step);
    return step ? step : race->replay->study.grid.steps[1];
}

static void train(struct race *race, int candidate, uint64_t step)
{
    if (step > race->reached[candidate])
        race->reached[candidate] = step;
}

/* Orders ids[0 … count) by the loss at a step; equal ones keep their order. */
static void sort_by_loss(const struct race *race, int *ids, int count, uint64_t step)
{
    for (int i = 1; i < count; i++) {
        int id = ids[i], at = i;
        for (; at > 0 && loss_at(race, id, step) < loss_at(race, ids[at - 1], step); at--)
            ids[at] = ids[at - 1];
        ids[at] = id;
    }
}

/* Rungs R / factor^level … R over the first `count` of ids, the best 1 / factor of each goes on. */
static void halve(struct race *race, int *ids, int count, int factor, int level)
{
    for (; level >= 0; level--) {
        uint64_t step = rung(race, factor, level);
        for (int i = 0; i < count; i++)
            train(race, ids[i], step);
        sort_by_loss(race, ids, count, step);
        count = count / factor > 1 ? count / factor : 1;
    }
}

/* How often a field can be divided so that two at least are compared at the last rung. */
static int halvings(int count, int factor)
{
    int levels = 0;
    for (; count / factor >= 2; count /= factor)
        levels++;
    return levels;
}

static void race_halving(struct race *race)
{
    halve(race, race->ids, race->count, HALVING_FACTOR, halvings(race->count, HALVING_FACTOR));
}

/* Brackets s = s_max … 0 of ceil((s_max + 1) / (s + 1) factor^s) candidates each, beginning at R / factor^s
 * (algorithm 1 of the paper); the next bracket takes up where the last one left the list. */
static void race_hyperband(struct race *race)
{
    int most = halvings(race->count, HYPERBAND_FACTOR) + 1, begin = 0;
    for (int s = most; s >= 0; s--) {
        int ids[SPEC_CANDIDATES_MAX], count = (int)ceil((most + 1) / (s + 1.0) * pow(HYPERBAND_FACTOR, s));
        if (count > race->count)
            count = race->count;
        for (int i = 0; i < count; i++)
            ids[i] = race->ids[(begin + i) % race->count];
        begin += count;
        halve(race, ids, count, HYPERBAND_FACTOR, s);
    }
}

/* One worker. A job is a promotion from the highest rung that has one (among the best 1 / factor of those that came to
 * the rung so far, not yet promoted), else the next candidate's first rung (algorithm 2 of the paper). */
struct asha { int at[SPEC_CANDIDATES_MAX]; int rungs; int started; };

static int asha_promotable(const struct race *race, const struct asha *asha, int level)
{
    int arrived[SPEC_CANDIDATES_MAX], count = 0;
    for (int i = 0; i < asha->started; i++)
        if (asha->at[race->ids[i]] >= level)
            arrived[count++] = race->ids[i];
    sort_by_loss(race, arrived, count, rung(race, ASHA_FACTOR, asha->rungs - level));
    for (int i = 0; i < count / ASHA_FACTOR; i++)
        if (asha->at[arrived[i]] == level)
            return arrived[i];
    return -1;
}

static void race_asha(struct race *race)
{
    struct asha asha = { .rungs = halvings(race->count, ASHA_FACTOR) };
    for (;;) {
        int candidate = -1;
        for (int level = asha.rungs - 1; level >= 0 && candidate < 0; level--)
            candidate = asha_promotable(race, &asha, level);
        if (candidate >= 0) {
            asha.at[candidate]++;
        } else {
            if (asha.started == race->count)
                return;
            candidate = race->ids[asha.started++];
        }
        train(race, candidate, rung(race, ASHA_FACTOR, asha.rungs - asha.at[candidate]));
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

struct running { double sum, least; bool stopped; };

/* Everyone side by side: at each deciding point from k_min on, who never was better than the median of the others'
 * running means stops. */
static void race_median(struct race *race)
{
    const struct grid *grid = &race->replay->study.grid;
    struct running running[SPEC_CANDIDATES_MAX];
    int seen = 0;
    for (int i = 0; i < race->count; i++)
        running[i] = (struct running){ .least = INFINITY };
    for (int g = 1; g < grid->count && grid->steps[g] <= race->resource; g++) {
        if (!grid->geometric[g] && grid->steps[g] != race->resource)
            continue;
        double means[SPEC_CANDIDATES_MAX];
        int live = 0, at[SPEC_CANDIDATES_MAX];
        seen++;
        for (int i = 0; i < race->count; i++) {
            if (running[i].stopped)
                continue;
            double loss = loss_at(race, race->ids[i], grid->steps[g]);
            train(race, race->ids[i], grid->steps[g]);
            running[i].sum += loss;
            running[i].least = fmin(running[i].least, loss);
            at[live] = i;
            means[live++] = running[i].sum / seen;
        }
        if (grid->steps[g] < race->replay->spec.selection.k_min || live < 2)
            continue;
        double median = median_of(means, live);
        for (int i = 0; i < live; i++)
            running[at[i]].stopped = running[at[i]].least > median;
    }
}

static void race_enter(struct race *race, const struct replay *replay, const struct rule_settings *settings,
                       uint64_t resource)
{
    struct rng rng = rng_stream(settings->seed, SHUFFLE_STREAM, RNG_BOOTSTRAP);
    *race = (struct race){ .replay = replay, .resource = resource };
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (replay_has(replay, i, 0))
            race->ids[race->count++] = i;
    for (int i = race->count - 1; i > 0; i--) {
        int other = (int)rng_below(&rng, (uint64_t)i + 1), id = race->ids[i];
        race->ids[i] = race->ids[other];
        race->ids[other] = id;
    }
}

static uint64_t race_steps(const struct race *race)
{
    uint64_t steps = 0;
    for (int i = 0; i < race->count; i++)
        steps += race->reached[race->ids[i]];
    return steps;
}

/* Further is better, then the lower loss there. */
static bool is_ahead(const struct race *race, int a, int b)
{
    uint64_t x = race->reached[a], y = race->reached[b];
    return x != y ? x > y : loss_at(race, a, x) < loss_at(race, b, y);
}

static void race_result(const struct race *race, struct rule_answer *answer)
{
    for (int i = 0; i < race->count; i++) {
        int id = race->ids[i], before = 0;
        answer->trained[id] = race->reached[id];
        if (race->reached[id] > answer->step)
            answer->step = race->reached[id];
        if (isinf(loss_at(race, id, race->reached[id])))
            continue;
        for (int j = 0; j < race->count; j++)
            before += is_ahead(race, race->ids[j], id);
        answer->scores[id] = before + 1;
    }
    answer_choose_least(race->replay, answer);
}

static int run_race(const struct replay *replay, const struct rule_settings *settings, race_function *run,
                    struct rule_answer *answer)
{
    const struct grid *grid = &replay->study.grid;
    struct race race = { 0 };
    for (int g = grid->count - 1; g > 0; g--) {
        race_enter(&race, replay, settings, grid->steps[g]);
        if (race.count)
            run(&race);
        if (race_steps(&race) <= settings->step * (uint64_t)race.count)
            break;
    }
    sentence_add(answer->reason, sizeof answer->reason, "At most %" PRIu64 " steps for one candidate, %" PRIu64
                 " for all together.", race.resource, race_steps(&race));
    race_result(&race, answer);
    return 0;
}

#define RACE(name)                                                                                                    \
    int rule_##name(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,     \
                    struct error *error)                                                                               \
    {                                                                                                                  \
        (void)error;                                                                                                   \
        return run_race(replay, settings, race_##name, answer);                                                        \
    }
RACE(halving)
RACE(asha)
RACE(median)
RACE(hyperband)
