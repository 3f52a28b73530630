/* What this room's tests share: a parent shape, facts, requests, and a finished study made by hand. */
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include "tests/support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "api/recipe.h"
#include "api/request.h"
#include "api/response.h"
#include "base/memory.h"

static inline struct shape parent_shape(void)
{
    return (struct shape){.family = FAMILY_GPT2, .layers = 3, .width = 64, .heads = 4, .kv_heads = 4, .head_size = 16,
                          .ff = 256, .context = 64, .vocabulary = 256, .tied = true,
                          .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
}

static inline struct request_facts parent_facts(void)
{
    return (struct request_facts){.parent = parent_shape(), .format = CORPUS_BYTES, .train_tokens = 1000000,
                                  .valid_tokens = 100000};
}

static const char DEMO_REQUEST[] =
    "{\"name\": \"small to medium\", \"checkpoint\": \"ckpt_1\", \"data\": {\"train\": \"data_1\", \"valid\": "
    "\"data_2\"},\n"
    " \"candidates\": [\n"
    "  {\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]},\n"
    "  {\"name\": \"interleave\", \"operators\": [{\"op\": \"interleave\", \"layers\": 6}]},\n"
    "  {\"name\": \"middle by one\", \"operators\": [{\"op\": \"middle\", \"layers\": 6, \"block\": 1}]},\n"
    "  {\"name\": \"first by one\", \"operators\": [{\"op\": \"first\", \"layers\": 6, \"block\": 1}]},\n"
    "  {\"name\": \"gradual_last\", \"operators\": [{\"op\": \"gradual_last\", \"layers\": 6, \"block\": 1}]},\n"
    "  {\"name\": \"map\", \"operators\": [{\"op\": \"layer_map\", \"map\": [0, 1, 2, 2, 1, 0]}]},\n"
    "  {\"name\": \"identity\", \"operators\": [{\"op\": \"identity\", \"layers\": 6}], \"moments\": \"carry\"},\n"
    "  {\"name\": \"random\", \"operators\": [{\"op\": \"random\", \"layers\": 6}]}],\n"
    " \"training\": {\"batch\": 12, \"context\": 64, \"steps\": 20000, \"learning_rate\": 1e-3},\n"
    " \"selection\": {\"max_k\": 1000, \"valid_tokens\": 12000}}";

/* Parses and resolves; on failure the spec needs no fini. */
static inline int resolve_text(const char *text, size_t length, struct study_spec *spec, struct error *error)
{
    struct request *request;
    struct request_facts facts = parent_facts();
    int code = request_new(&request, text, length, error);
    if (code) return code;
    code = request_resolve(request, &facts, spec, error);
    request_free(request);
    return code;
}

static inline char *echo_text(const struct study_spec *spec)
{
    struct buffer out;
    buffer_init(&out);
    request_echo(spec, &out);
    char *text = buffer_take(&out, NULL);
    assert_non_null(text);
    return text;
}

/* ---- a finished study ---- */

enum { FIXTURE_WINDOWS = 40 };

struct finished { struct study_spec spec; struct study study; struct study_outcome outcome; };

/* Curves like those of methods 7.8: a fast start, then a slow slope; those that start low end high. */
static inline double curve_loss(int candidate, double step)
{
    static const double start[] = {2.81, 2.6, 2.45, 3.65, 2.3, 2.9, 2.05, 2.12};
    static const double level[] = {1.56, 1.57, 1.585, 1.566, 1.6, 1.58, 1.63, 1.62};
    double end = level[candidate % 8] + 0.35 * exp(-step / 260) + 0.12 / (1 + step / 700);
    double extra = start[candidate % 8] - level[candidate % 8] - 0.47;
    double jitter = 0.003 * sin(step * 0.7 + candidate * 2.1);
    return end + extra * exp(-step / 22) + (step > 0 ? jitter : 0);
}

static inline void fill_curve(struct study *study, int candidate, uint64_t last)
{
    for (uint64_t step = 0;; step = grid_next(&study->grid, step)) {
        float losses[FIXTURE_WINDOWS];
        double loss = curve_loss(candidate, (double)step);
        for (int i = 0; i < FIXTURE_WINDOWS; i++) losses[i] = (float)(loss + 0.1 * sin(i));
        struct point point = {.step = step,
                              .tokens = step * 768,
                              .flops = (double)step * 768 * 1.5e6,
                              .loss = loss,
                              .standard_error = 0.011,
                              .raw_loss = loss + 0.01,
                              .learning_rate = 1e-3,
                              .losses = losses};
        struct error error = {0};
        assert_ok(curve_append(&study->candidates[candidate].curve, &point, &error), &error);
        study->candidates[candidate].step = step;
        if (step >= last) break;
    }
}

static inline void fill_outcome(struct finished *f, uint64_t k)
{
    int count = f->spec.candidate_count;
    struct study_outcome *outcome = &f->outcome;
    *outcome = (struct study_outcome){.settled = true, .k = k, .has_transition = true, .transition_step = 549,
        .agreement = 0.7142857142857143, .choice_reason = "It has the lowest loss at k and the best prediction.",
        .rank_agreement_at_0 = -0.42, .rank_agreement_at_transition = 0.9, .search_flops = 6.1e12,
        .exhaustive_flops = 1.8e14, .cost_fraction = 0.034};
    outcome->ranking.rows = memory_array((size_t)count, sizeof *outcome->ranking.rows);
    outcome->knees = memory_array((size_t)count, sizeof *outcome->knees);
    assert_non_null(outcome->ranking.rows);
    assert_non_null(outcome->knees);
    outcome->ranking.count = outcome->ranking.completed = count;
    for (int i = 0; i < count; i++) {
        double loss = curve_loss(i, (double)k);
        int place = i;
        for (; place > 0 && outcome->ranking.rows[place - 1].loss > loss; place--)
            outcome->ranking.rows[place] = outcome->ranking.rows[place - 1];
        outcome->ranking.rows[place] = (struct ranking_row){.candidate = i, .score = loss, .loss = loss,
            .standard_error = 0.004, .p_best = 0.1, .slope = -0.08, .predicted_final_loss = loss - 0.05,
            .loss_at_0 = curve_loss(i, 0), .loss_at_transition = curve_loss(i, 549), .flops_spent = 7.6e11};
        outcome->knees[i] = i == 6 ? NAN : 44;
    }
    for (int i = 0; i < count; i++) {
        struct ranking_row *row = &outcome->ranking.rows[i];
        row->rank = i + 1;
        row->tie_group = i < 2 ? 1 : 2;
        row->margin = i ? outcome->ranking.rows[0].loss - row->loss
                        : count > 1 ? row->loss - outcome->ranking.rows[1].loss : NAN;
        row->p_best = i == 0 ? 0.91 : i == 1 ? 0.09 : 0;
    }
    outcome->choice = outcome->ranking.rows[0].candidate;
}

static inline void finished_init(struct finished *f, const char *request)
{
    struct error error = {0};
    *f = (struct finished){0};
    assert_ok(resolve_text(request, strlen(request), &f->spec, &error), &error);
    assert_ok(study_init(&f->study, &f->spec, FIXTURE_WINDOWS, &error), &error);
    for (int i = 0; i < f->spec.candidate_count; i++) {
        struct candidate *candidate = &f->study.candidates[i];
        candidate->state = CANDIDATE_COMPLETED;
        candidate->grown = true;
        candidate->same_as = -1;
        candidate->parameters = 320064;
        candidate->flops_per_token = 1.5e6;
        candidate->preservation = i == 6 ? 3e-7 : 0.93;
        candidate->seconds = 12.5;
        fill_curve(&f->study, i, 659);
    }
    f->study.finished = true;
    fill_outcome(f, 659);
}

static inline void finished_fini(struct finished *f)
{
    memory_free(f->outcome.ranking.rows);
    memory_free(f->outcome.knees);
    study_fini(&f->study);
    study_spec_fini(&f->spec);
}

static inline struct study_view finished_view(const struct finished *f)
{
    static struct shape parent;
    parent = parent_shape();
    return (struct study_view){.id = "study_01", .state = STUDY_SUCCEEDED, .reason = "", .spec = &f->spec,
                               .study = &f->study, .outcome = &f->outcome, .parent_tokens_seen = 1000,
                               .has_files = true, .parent = &parent};
}

#endif
