#include "study/replay.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

int replay_init(struct replay *replay, int candidates, int windows, struct error *error)
{
    *replay = (struct replay){ .spec.selection = { .k_auto = true, .max_k = 1 } };
    if (candidates < 1 || candidates > SPEC_CANDIDATES_MAX)
        return error_set_at(error, ERROR_INVALID, "/candidates", "curves of 1 to %d candidates can be replayed, not of %d",
                            SPEC_CANDIDATES_MAX, candidates);
    replay->spec.candidates = memory_array((size_t)candidates, sizeof *replay->spec.candidates);
    if (!replay->spec.candidates)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %d candidates", candidates);
    replay->spec.candidate_count = candidates;
    int failed = study_init(&replay->study, &replay->spec, windows, error);
    if (failed)
        study_spec_fini(&replay->spec);
    return failed;
}

void replay_fini(struct replay *replay)
{
    if (replay->study.spec)
        study_fini(&replay->study);
    study_spec_fini(&replay->spec);
    *replay = (struct replay){ 0 };
}

/* The least step that the cursors stand at, and moves those that do; UINT64_MAX: all are at their ends. */
static uint64_t next_step(const struct study *study, int cursors[SPEC_CANDIDATES_MAX])
{
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct curve *curve = &study->candidates[i].curve;
        if (cursors[i] < curve->count && curve->points[cursors[i]].step < next)
            next = curve->points[cursors[i]].step;
    }
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct curve *curve = &study->candidates[i].curve;
        if (cursors[i] < curve->count && curve->points[cursors[i]].step == next)
            cursors[i]++;
    }
    return next;
}

static int grid_of_points(struct study *study, uint64_t last, struct grid *grid, struct error *error)
{
    int cursors[SPEC_CANDIDATES_MAX] = { 0 };
    size_t most = 0;
    *grid = (struct grid){ 0 };
    for (int i = 0; i < study->spec->candidate_count; i++)
        most += (size_t)study->candidates[i].curve.count;
    grid->steps = memory_array(most, sizeof *grid->steps);
    grid->geometric = memory_array(most, sizeof *grid->geometric);
    if (!grid->steps || !grid->geometric) {
        grid_fini(grid);
        return error_set(error, ERROR_NO_MEMORY, "no memory for %zu evaluation points", most);
    }
    for (uint64_t step = next_step(study, cursors); step != UINT64_MAX && step <= last; step = next_step(study, cursors))
        grid->steps[grid->count++] = step;
    if (grid->count < 2) {
        grid_fini(grid);
        return error_set(error, ERROR_INVALID, "the curves have no two evaluation points; there is nothing to decide from");
    }
    return 0;
}

/* The first point at or after each of the geometric sequence decides. */
static int grid_mark(struct grid *grid, struct error *error)
{
    struct grid sequence;
    uint64_t last = grid->steps[grid->count - 1];
    if (grid_init(&sequence, last, 0, error))
        return (int)(error ? error->code : ERROR_NO_MEMORY);
    for (int s = 1, g = 0; s < sequence.count; s++) {
        while (grid->steps[g] < sequence.steps[s])
            g++;
        grid->geometric[g] = true;
    }
    grid_fini(&sequence);
    return 0;
}

static void end_candidate(struct study *study, int i)
{
    struct candidate *it = &study->candidates[i];
    const struct grid *grid = &study->grid;
    int good = 0;
    while (good < it->curve.count && isfinite(it->curve.points[good].loss) && isfinite(it->curve.points[good].raw_loss))
        good++;
    uint64_t end = good ? it->curve.points[good - 1].step : 0;
    it->state = CANDIDATE_RUNNING;
    it->step = end;
    if (good == 0) {
        study_candidate_failed(study, i, "it has no evaluation points");
    } else if (end < grid->steps[grid->count - 1]) {
        curve_truncate(&it->curve, end);
        study_diverged(study, i, grid_next(grid, end), "its curve ends before those of the others");
    }
}

int replay_finish(struct replay *replay, uint64_t last, struct error *error)
{
    struct study *study = &replay->study;
    struct grid grid;
    int failed = grid_of_points(study, last, &grid, error);
    if (!failed)
        failed = grid_mark(&grid, error);
    if (failed) {
        grid_fini(&grid);
        return failed;
    }
    grid_fini(&study->grid);
    study->grid = grid;
    replay->spec.selection.max_k = replay_last(replay);
    for (int i = 0; i < replay->spec.candidate_count; i++) {
        curve_truncate(&study->candidates[i].curve, replay_last(replay));
        end_candidate(study, i);
    }
    return 0;
}

static int take_point(struct curve *curve, const struct point *point, const int *windows, float *losses,
                      struct error *error)
{
    struct point taken = *point;
    double sum = 0;
    if (windows) {
        for (int w = 0; w < curve->windows; w++)
            sum += losses[w] = point->losses[windows[w]];
        if (curve->windows > 0)
            taken.loss = sum / curve->windows;
        taken.losses = losses;
    }
    return curve_append(curve, &taken, error);
}

static int take_curves(struct replay *taken, const struct replay *whole, const struct replay_part *part,
                       struct error *error)
{
    int windows = whole->study.windows;
    float *losses = memory_array((size_t)windows, sizeof *losses);
    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the losses of %d validation windows", windows);
    int failed = 0;
    for (int i = 0; i < taken->spec.candidate_count && !failed; i++) {
        int from = part->candidates ? part->candidates[i] : i;
        const struct candidate *source = &whole->study.candidates[from];
        struct candidate *it = &taken->study.candidates[i];
        memcpy(taken->spec.candidates[i].name, whole->spec.candidates[from].name, sizeof whole->spec.candidates[from].name);
        it->flops_per_token = source->flops_per_token;
        for (int j = 0; j < source->curve.count && source->curve.points[j].step <= part->last && !failed; j++)
            failed = take_point(&it->curve, &source->curve.points[j], part->windows, losses, error);
    }
    memory_free(losses);
    return failed;
}

int replay_take(struct replay *taken, const struct replay *whole, const struct replay_part *part,
                struct error *error)
{
    int count = part->candidates ? part->count : whole->spec.candidate_count;
    int failed = replay_init(taken, count, whole->study.windows, error);
    if (failed)
        return failed;
    taken->spec.training = whole->spec.training;
    taken->spec.selection = whole->spec.selection;
    taken->spec.selection.k_auto = true;
    taken->study.tokens_per_step = whole->study.tokens_per_step;
    taken->study.vocabulary = whole->study.vocabulary;
    failed = take_curves(taken, whole, part, error);
    if (!failed)
        failed = replay_finish(taken, part->last, error);
    if (failed)
        replay_fini(taken);
    return failed;
}

int replay_decide(struct replay *replay, struct error *error)
{
    struct error own = { 0 }, *told = error ? error : &own;
    while (study_decide(&replay->study, told).kind != DECISION_NONE)
        ;
    return (int)told->code;
}

uint64_t replay_step(const struct replay *replay, uint64_t step)
{
    const struct grid *grid = &replay->study.grid;
    uint64_t found = grid->steps[0];
    for (int i = 0; i < grid->count && grid->steps[i] <= step; i++)
        found = grid->steps[i];
    return found;
}

uint64_t replay_last(const struct replay *replay)
{
    return replay->study.grid.steps[replay->study.grid.count - 1];
}

bool replay_has(const struct replay *replay, int candidate, uint64_t step)
{
    return study_takes_part(&replay->study, candidate, step);
}
