#include "study/study.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* An averaged loss this far above its bound, at two successive points, is divergence (methods C.1). */
static const double divergence_margin = 1;

int study_init(struct study *study, const struct study_spec *spec, int windows, struct error *error)
{
    *study = (struct study){ .spec = spec, .windows = windows };
    study->tokens_per_step = (double)training_tokens(&spec->training, spec->selection.max_k) /
                             (double)(spec->selection.max_k ? spec->selection.max_k : 1);
    if (spec->candidate_count < 1 || spec->candidate_count > SPEC_CANDIDATES_MAX)
        return error_set_at(error, ERROR_INVALID, "/candidates", "a study has 1 to %d candidates, not %d",
                            SPEC_CANDIDATES_MAX, spec->candidate_count);
    if (spec->selection.max_k < 1)
        return error_set_at(error, ERROR_INVALID, "/selection/max_k", "a study needs at least one step");
    int failed = grid_init(&study->grid, spec->selection.max_k, spec->selection.evaluate_every, error);
    if (failed)
        return failed;
    failed = grid_add(&study->grid, spec->landscape.asked ? spec->landscape.every : 0, error);
    if (failed) {
        grid_fini(&study->grid);
        return failed;
    }
    grid_round(&study->grid, learners_round_steps(&spec->training));
    study->candidates = memory_array((size_t)spec->candidate_count, sizeof *study->candidates);
    if (!study->candidates) {
        grid_fini(&study->grid);
        return error_set(error, ERROR_NO_MEMORY, "no memory for %d candidates", spec->candidate_count);
    }
    for (int i = 0; i < spec->candidate_count; i++) {
        study->candidates[i].same_as = -1;
        study->candidates[i].preservation = study->candidates[i].loss_before = NAN;
        curve_init(&study->candidates[i].curve, windows);
    }
    return 0;
}

void study_fini(struct study *study)
{
    for (int i = 0; study->candidates && i < study->spec->candidate_count; i++)
        curve_fini(&study->candidates[i].curve);
    memory_free(study->candidates);
    memory_free(study->decisions);
    grid_fini(&study->grid);
    *study = (struct study){ .spec = study->spec };
}

bool candidate_is_dead(const struct candidate *candidate)
{
    return candidate->state == CANDIDATE_DIVERGED || candidate->state == CANDIDATE_FAILED ||
           candidate->state == CANDIDATE_ELIMINATED;
}

bool study_takes_part(const struct study *study, int candidate, uint64_t step)
{
    const struct candidate *it = &study->candidates[candidate];
    if (it->same_as >= 0 || (it->state == CANDIDATE_DIVERGED && it->diverged_step <= step))
        return false;
    const struct point *point = curve_at(&it->curve, step);
    /* the second condition holds after study_point's verdict; it guards against what a store may hold */
    return point && isfinite(point->loss) && isfinite(point->raw_loss);
}

/* The same weights train alike only from the same moments, which the hash of a checkpoint leaves out. */
static bool grew_alike(const struct study *study, int a, int b)
{
    const struct candidate *x = &study->candidates[a], *y = &study->candidates[b];
    return x->grown && y->grown && x->hash[0] && strcmp(x->hash, y->hash) == 0 &&
           study->spec->candidates[a].moments == study->spec->candidates[b].moments;
}

static void find_copies(struct study *study)
{
    for (int i = 0; i < study->spec->candidate_count; i++) {
        study->candidates[i].same_as = -1;
        for (int j = 0; j < i; j++)
            if (grew_alike(study, i, j)) {
                study->candidates[i].same_as = j;
                break;
            }
    }
}

void study_grown(struct study *study, int candidate, const char *hash, uint64_t parameters, double flops_per_token,
                 double preservation, double loss_before)
{
    struct candidate *it = &study->candidates[candidate];
    it->grown = true;
    snprintf(it->hash, sizeof it->hash, "%s", hash);
    it->parameters = parameters;
    it->flops_per_token = flops_per_token;
    it->preservation = preservation;
    it->loss_before = loss_before;
    find_copies(study);
}

/* A candidate that is being worked on runs. */
static void set_running(struct candidate *candidate)
{
    if (candidate->state == CANDIDATE_PENDING || candidate->state == CANDIDATE_INTERRUPTED)
        candidate->state = CANDIDATE_RUNNING;
}

void study_trained(struct study *study, int candidate, uint64_t step)
{
    study->candidates[candidate].step = step;
    set_running(&study->candidates[candidate]);
}

void study_diverged(struct study *study, int candidate, uint64_t step, const char *reason)
{
    struct candidate *it = &study->candidates[candidate];
    if (candidate_is_dead(it))
        return;
    it->state = CANDIDATE_DIVERGED;
    it->diverged_step = step;
    snprintf(it->reason, sizeof it->reason, "%s", reason);
}

void study_candidate_failed(struct study *study, int candidate, const char *reason)
{
    struct candidate *it = &study->candidates[candidate];
    if (candidate_is_dead(it))
        return;
    it->state = CANDIDATE_FAILED;
    snprintf(it->reason, sizeof it->reason, "%s", reason);
}

/* The last deciding point before `step` and after warm-up. Regular points are for drawing and change nothing. */
static const struct point *deciding_point_before(const struct study *study, const struct curve *curve, uint64_t step)
{
    for (int i = curve->count - 1; i >= 0; i--) {
        const struct point *point = &curve->points[i];
        if (point->step <= study->spec->training.schedule.warmup_steps)
            return NULL;
        if (point->step < step && grid_is_geometric(&study->grid, point->step))
            return point;
    }
    return NULL;
}

/* Averaged loss above max(L(0), ln V) + 1 at two successive points after warm-up (methods C.1). */
static void judge_divergence(struct study *study, int candidate, const struct point *point)
{
    const struct curve *curve = &study->candidates[candidate].curve;
    const struct point *start = curve_at(curve, 0);
    if (!isfinite(point->loss) || !isfinite(point->raw_loss)) {
        study_diverged(study, candidate, point->step, "the validation loss is not finite");
        return;
    }
    if (!start || point->step <= study->spec->training.schedule.warmup_steps ||
        !grid_is_geometric(&study->grid, point->step))
        return;
    double bound = start->loss;
    if (study->vocabulary > 0 && log(study->vocabulary) > bound)
        bound = log(study->vocabulary);
    bound += divergence_margin;
    const struct point *before = deciding_point_before(study, curve, point->step);
    if (!before || !(point->loss > bound && before->loss > bound))
        return;
    char reason[sizeof study->candidates->reason];
    snprintf(reason, sizeof reason, "the averaged loss is above %.4f at steps %" PRIu64 " (%.4f) and %" PRIu64
             " (%.4f)", bound, before->step, before->loss, point->step, point->loss);
    study_diverged(study, candidate, point->step, reason);
}

int study_point(struct study *study, int candidate, const struct point *point, struct error *error)
{
    struct candidate *it = &study->candidates[candidate];
    int failed = curve_append(&it->curve, point, error);
    if (failed)
        return failed;
    set_running(it);
    if (!candidate_is_dead(it))
        judge_divergence(study, candidate, point);
    return 0;
}
