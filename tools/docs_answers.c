/* Blocks about what the service answers. An example study is resolved and answered by the real code; every field of the
 * answer must have its meaning here, and every meaning its field, or the program stops. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"
#include "api/response.h"
#include "base/memory.h"
#include "server/metrics.h"
#include "server/service.h"
#include "tools/docs.h"

struct meaning { const char *field, *text; };

static const char shortest_request[] =
    "{\"checkpoint\": \"ckpt_1\", \"data\": {\"train\": \"data_1\"}, \"candidates\": ["
    "{\"operators\": [{\"op\": \"stack\", \"layers\": 12}]}, {\"operators\": [{\"op\": \"identity\", \"layers\": 12}]}]}";

/* ---- the example study ---- */

struct example {
    struct study_spec spec;
    struct shape parent;
    struct candidate candidates[2];
    struct study study;
    struct ranking_row rows[2];
    struct study_outcome outcome;
    struct study_view view;
};

static void example_init(struct example *example)
{
    struct request *request = NULL;
    struct error error = { 0 };
    struct request_facts facts = { .format = CORPUS_U16, .train_tokens = 1 << 24, .valid_tokens = 1 << 20 };

    *example = (struct example){ .parent = { .family = FAMILY_GPT2, .layers = 6, .width = 256, .heads = 4, .kv_heads = 4,
                                             .head_size = 64, .ff = 1024, .context = 512, .vocabulary = 50257,
                                             .tied = true, .norm_epsilon = 1e-5 } };
    facts.parent = example->parent;
    if (request_new(&request, shortest_request, strlen(shortest_request), &error)
        || request_resolve(request, &facts, &example->spec, &error))
        stop("the example: %s", error.message);
    request_free(request);
    example->candidates[0] = (struct candidate){ .state = CANDIDATE_COMPLETED, .same_as = -1, .grown = true };
    example->candidates[1] = (struct candidate){ .state = CANDIDATE_DIVERGED, .same_as = 0, .grown = true,
                                                 .reason = "diverged" };
    example->study = (struct study){ .spec = &example->spec, .candidates = example->candidates, .finished = true };
    example->rows[1].candidate = 1;
    example->outcome = (struct study_outcome){ .ranking = { example->rows, 2, 1 }, .settled = true, .k = 659 };
    example->view = (struct study_view){ .id = "study_1", .state = STUDY_FAILED, .reason = "why", .spec = &example->spec,
                                         .study = &example->study, .outcome = &example->outcome,
                                         .parent = &example->parent, .has_files = true };
}

/* ---- fields and their meanings ---- */

struct listing {
    struct buffer *out;
    const struct meaning *meanings;
    bool used[64];
};

static void list_field(struct listing *listing, const char *field)
{
    for (int i = 0; listing->meanings[i].field; i++)
        if (strcmp(listing->meanings[i].field, field) == 0) {
            if (!listing->used[i]) {
                buffer_format(listing->out, "| `%s` | ", field);
                write_cell(listing->out, listing->meanings[i].text);
                buffer_text(listing->out, " |\n");
            }
            listing->used[i] = true;
            return;
        }
    stop("the field \"%s\" has no meaning in tools/docs_answers.c", field);
}

/* Is the field said to hold something that is described elsewhere, "request" for example? */
static bool is_closed(const struct listing *listing, const char *field)
{
    size_t length = strlen(field);

    for (int i = 0; listing->meanings[i].field; i++)
        if (strncmp(listing->meanings[i].field, field, length) == 0 && strchr(".[", listing->meanings[i].field[length])
            && listing->meanings[i].field[length])
            return false;
    return true;
}

static void list_fields(struct listing *listing, const cJSON *object, const char *prefix)
{
    const cJSON *child;

    cJSON_ArrayForEach(child, object) {
        const cJSON *element;
        char field[128];
        snprintf(field, sizeof field, "%s%s%s", prefix, *prefix ? "." : "", child->string);
        list_field(listing, field);
        if (is_closed(listing, field))
            continue;
        if (cJSON_IsObject(child))
            list_fields(listing, child, field);
        strncat(field, "[]", sizeof field - strlen(field) - 1);
        if (cJSON_IsArray(child))
            cJSON_ArrayForEach(element, child) list_fields(listing, element, field);
    }
}

/* A table of the fields of `json`. */
static void write_meanings(struct buffer *out, struct buffer *json, const struct meaning *meanings)
{
    struct listing listing = { .out = out, .meanings = meanings };
    cJSON *tree = json->failed || !json->data ? NULL : cJSON_Parse(json->data);

    if (!tree)
        stop("an answer is no JSON: %s", json->data ? json->data : "out of memory");
    buffer_text(out, "| field | meaning |\n|---|---|\n");
    list_fields(&listing, tree, "");
    for (int i = 0; meanings[i].field; i++)
        if (!listing.used[i])
            stop("the field \"%s\" of tools/docs_answers.c is in no answer", meanings[i].field);
    cJSON_Delete(tree);
    buffer_fini(json);
}

/* ---- the resolved request ---- */

static void write_resolved(struct buffer *out)
{
    struct example example;
    struct buffer json;
    cJSON *tree;
    char *text;

    example_init(&example);
    buffer_init(&json);
    request_echo(&example.spec, &json);
    if (json.failed || !(tree = cJSON_Parse(json.data)) || !(text = cJSON_Print(tree)))
        stop("out of memory");
    buffer_text(out, "```json\n");
    for (const char *c = text; *c; c++)
        buffer_text(out, *c != '\t' ? (char[2]){ *c } : c > text && strchr("\n\t", c[-1]) ? "  " : " ");
    buffer_text(out, "\n```\n");
    cJSON_free(text);
    cJSON_Delete(tree);
    buffer_fini(&json);
    study_spec_fini(&example.spec);
}

/* ---- a result ---- */

static const struct meaning result_meanings[] = {
    { "id", "the study's id; opaque, sortable by time" },
    { "name", "as in the request" },
    { "state", "see below" },
    { "reason", "why it is queued again, failed or cancelled; left out when there is nothing to say" },
    { "status", "`settled`: the rule was fulfilled; `provisional`: the cap came first, and `warnings` say why and what to do; "
                "null before the end" },
    { "k", "the step at which candidates are compared" },
    { "request", "the request with every default filled in; sent again, it gives the same study" },
    { "transition", "what the rule saw" },
    { "transition.step", "first of the two successive points at which the rule held; null if it never did" },
    { "transition.method", "always `agreement`" },
    { "transition.agreement", "Kendall's tau-b, at k, between the order now and the order that the slopes predict; null for "
                              "fewer than 4 candidates" },
    { "transition.knees", "per candidate the step at which its fast regime ended; null: none seen" },
    { "choice", "null if no candidate completed" },
    { "choice.candidate", "its name" },
    { "choice.reason", "the numbers that decided, in a sentence or two" },
    { "choice.files", "where its files are; null until they are" },
    { "ranking", "completed candidates first, best first; then eliminated, diverged, failed ones" },
    { "ranking[].rank", "from 1" },
    { "ranking[].candidate", "its name" },
    { "ranking[].state", "see below" },
    { "ranking[].tie_group", "1: not significantly worse than the best; 2: the same on the rest, and so on; null if it did not "
                             "complete" },
    { "ranking[].score", "what is ranked by: `loss`, or the loss predicted for step min(3 k, T) with `rank_by` `predicted`" },
    { "ranking[].loss", "validation loss at k on the averaged weights, nats per token" },
    { "ranking[].margin", "best score minus own; for the first: its score minus the second's" },
    { "ranking[].standard_error", "of that difference, paired over the validation windows, jitter of the curves included" },
    { "ranking[].p_best", "probability of being the best at k, by a paired bootstrap" },
    { "ranking[].slope", "of the curve around k, nats per unit of ln(step + 10)" },
    { "ranking[].predicted_final_loss", "a power law through the slow part of the curve, at the horizon: a guess" },
    { "ranking[].loss_at_0", "right after growing" },
    { "ranking[].loss_at_transition", "at `transition.step`" },
    { "ranking[].preservation", "largest difference of logits to the parent's, over the largest logit; 0: same function" },
    { "ranking[].stability_ratio",
      "learning rate over the largest stable one, at the last measurement up to k; null unless `landscape` was asked for with "
      "`preconditioned` ([landscape.md](landscape.md))" },
    { "ranking[].parameters", "of the grown model" },
    { "ranking[].flops_per_token", "to train on one token" },
    { "ranking[].flops_spent", "operations spent on training it, and on fitting operators that learn from data; work redone after a crash not counted" },
    { "ranking[].seconds", "worker time spent on it" },
    { "ranking[].same_as", "the earlier candidate that grew into the same weights and was trained for both" },
    { "ranking[].diverged_step", "where its loss or gradient stopped being a number, or its curve ran away" },
    { "ranking[].reason", "why it diverged or failed" },
    { "rank_agreement", "Spearman's correlation with the ranking at k, null for fewer than 3" },
    { "rank_agreement.at_0", "of the order right after growing" },
    { "rank_agreement.at_transition", "of the order at `transition.step`" },
    { "cost", "training operations" },
    { "cost.search_flops", "spent on all candidates but the chosen one" },
    { "cost.exhaustive_flops", "the same, had all been trained to the horizon" },
    { "cost.fraction", "their quotient" },
    { "recipe", "how to go on with the chosen one; `lag train --recipe` reads it" },
    { "warnings", "what a reader of the ranking must know" },
    { NULL, NULL },
};

static void write_result(struct buffer *out)
{
    struct example example;
    struct buffer json;

    example_init(&example);
    buffer_init(&json);
    response_study(&json, &example.view);
    write_meanings(out, &json, result_meanings);
    study_spec_fini(&example.spec);
}

static const struct meaning validate_meanings[] = {
    { "request", "with every default filled in" },
    { "parent", "shape of the checkpoint" },
    { "candidates", "one entry each" },
    { "candidates[].candidate", "its name" },
    { "candidates[].shape", "shape of the grown model" },
    { "candidates[].maps", "`layers`: the old layer of each new one, null for a fresh one; `identity`: new layers that do "
                           "nothing at first; `width`, `heads`, `kv_heads`, `ff` where they grow; `masked`, `ramp_steps` where "
                           "something is grown in behind masks" },
    { "candidates[].promise", "`exact`: the function is kept; `none`" },
    { "candidates[].parameters", "of the grown model" },
    { "candidates[].flops_per_token", "to train on one token" },
    { "candidates[].flops", "training up to max_k, all evaluations and measurements of the landscape" },
    { "candidates[].trial_bytes", "weights, moments, running average" },
    { "candidates[].scratch_bytes", "gradients and activations of one worker" },
    { "candidates[].warnings", "such as copies that training never separates" },
    { "warnings", "such as `compute` `bf16` on a processor that has to emulate it" },
    { "k_min", "the first step at which the study can settle" },
    { "max_k", "the last step of a trial" },
    { "flops", "of all candidates" },
    { "bytes_least", "memory with one trial per worker" },
    { "bytes_all", "memory with all trials at once" },
    { "workers", "of this server" },
    { "predicted_seconds", "at the speed that this process has seen in steps of that compute, else of products of its "
      "type, measured for this answer; null: not known" },
    { NULL, NULL },
};

static void write_validate(struct buffer *out)
{
    struct example example;
    struct error error = { 0 };
    struct buffer json;

    example_init(&example);
    buffer_init(&json);
    if (response_validate(&json, &example.spec, &example.parent, (struct response_speed){ 0 }, 2, &error))
        stop("%s", error.message);
    write_meanings(out, &json, validate_meanings);
    study_spec_fini(&example.spec);
}

/* ---- states, events ---- */

static const struct meaning study_states[] = {
    { "queued", "admitted, or waiting after trouble such as a full disk; `reason` says which" },
    { "running", "candidates are being grown, trained or ranked" },
    { "succeeded", "at least one candidate completed; the result is final" },
    { "failed", "no candidate completed, or its files are not what they were; can be resumed" },
    { "cancelled", "on request; can be resumed" },
    { NULL, NULL },
};

static const struct meaning candidate_states[] = {
    { "pending", "not begun" },
    { "running", "being trained or evaluated" },
    { "completed", "reached k" },
    { "eliminated", "stopped early (later release)" },
    { "diverged", "its loss or gradient stopped being a number, or its loss ran away" },
    { "failed", "could not be worked on" },
    { "cancelled", "the study was cancelled" },
    { "interrupted", "the server stopped; goes on at the next start" },
    { NULL, NULL },
};

static void write_states(struct buffer *out, const char *title, const struct meaning *meanings, int count,
                         const char *(*text)(int state))
{
    buffer_format(out, "| %s | meaning |\n|---|---|\n", title);
    for (int i = 0; i < count; i++) {
        const struct meaning *row = meanings;
        while (row->field && strcmp(row->field, text(i)) != 0)
            row++;
        if (!row->field)
            stop("the state \"%s\" has no meaning in tools/docs_answers.c", text(i));
        buffer_format(out, "| `%s` | %s |\n", row->field, row->text);
    }
}

static const char *study_state_at(int state)
{
    return study_state_text((enum study_state_name)state);
}

static const char *candidate_state_at(int state)
{
    return candidate_state_text((enum candidate_state_name)state);
}

static void write_study_states(struct buffer *out)
{
    write_states(out, "state of a study", study_states, STUDY_STATE_COUNT, study_state_at);
}

static void write_candidate_states(struct buffer *out)
{
    write_states(out, "state of a candidate", candidate_states, CANDIDATE_STATE_COUNT, candidate_state_at);
}

/* `a`, `b`, `c`: the members of an object. */
static void write_members(struct buffer *out, const char *event, const char *when, struct buffer *json)
{
    cJSON *tree = json->failed ? NULL : cJSON_Parse(json->data);
    const cJSON *child;

    if (!tree)
        stop("an event is no JSON");
    buffer_format(out, "| `%s` | %s | ", event, when);
    cJSON_ArrayForEach(child, tree) buffer_format(out, "%s`%s`", child == tree->child ? "" : ", ", child->string);
    buffer_text(out, " |\n");
    cJSON_Delete(tree);
    buffer_fini(json);
}

static void write_events(struct buffer *out)
{
    struct example example;
    struct point point = { 0 };
    struct decision decision = { 0 };
    struct buffer json;

    example_init(&example);
    buffer_text(out, "| event | sent when | members of its data |\n|---|---|---|\n");
    buffer_init(&json);
    response_event_state(&json, STUDY_QUEUED, "");
    write_members(out, "state", "the study's state changes", &json);
    point.landscape.measured = true;
    response_event_evaluation(&json, "stack", &point);
    write_members(out, "evaluation", "a candidate's evaluation is durable; `landscape` where it was measured", &json);
    response_event_decision(&json, &example.study, &decision);
    write_members(out, "decision", "a round is decided", &json);
    buffer_text(out, "| `transition` | the rule is fulfilled | `step`, `method`, `settled_at` |\n");
    response_event_ranking(&json, &example.study, &example.outcome);
    write_members(out, "ranking", "with every decision: how the candidates stand", &json);
    response_event_error(&json, "stack", 120, "why");
    write_members(out, "error", "a candidate diverged or failed, or (candidate null) the study failed", &json);
    response_event_state(&json, STUDY_QUEUED, "");
    write_members(out, "end", "last of all", &json);
    study_spec_fini(&example.spec);
}

/* ---- recipe ---- */

static const struct meaning recipe_meanings[] = {
    { "format", "1" },
    { "study", "name of the study, for humans" },
    { "candidate", "name of the candidate" },
    { "step", "optimizer updates done; the schedule goes on from here up to `steps`" },
    { "tokens", "training tokens of these updates" },
    { "total_tokens", "training tokens of all `steps`" },
    { "tokens_seen", "tokens of the whole lineage, the parent's included" },
    { "data_cursor", "the sampler's next step" },
    { "data", "the study's `data`" },
    { "width_factor", "copies of each unit of the stream, on average: n of an n-fold width clone, else 1" },
    { "learning_rate_scale", "what the rate of the matrices inside the blocks is multiplied by" },
    { "base", "sizes that the parametrization's ratios refer to: the parent's; null for standard" },
    { "laws", "tensors with factors of their own: rate, decay and epsilon multiply learning rate, weight decay and epsilon, "
      "gradient their part of the norm that is clipped" },
    { "state", "the file with raw weights and moments" },
    { "pytorch", "the same in words of PyTorch" },
    { NULL, NULL },
};

static void write_recipe(struct buffer *out)
{
    static const char *const training[] = { "batch", "context", "steps", "learning_rate", "optimizer", "schedule", "clip",
                                            "seed", "average", "parametrization", "width_learning_rate", "learners",
                                            "recompute", "compute" };
    struct example example;
    struct buffer json;
    cJSON *tree;

    example_init(&example);
    buffer_init(&json);
    response_recipe(&json, &example.view);
    if (json.failed || !(tree = cJSON_Parse(json.data)))
        stop("out of memory");
    for (size_t i = 0; i < sizeof training / sizeof *training; i++)
        cJSON_DeleteItemFromObject(tree, training[i]);
    char *text = cJSON_PrintUnformatted(tree);
    cJSON_Delete(tree);
    json.length = 0;
    buffer_text(&json, text ? text : "");
    cJSON_free(text);
    write_meanings(out, &json, recipe_meanings);
    study_spec_fini(&example.spec);
}

/* ---- metrics: the help lines of what is really written ---- */

static void write_metrics(struct buffer *out)
{
    struct service_counts counts = { 0 };
    struct metrics metrics;
    struct buffer text;

    metrics_init(&metrics);
    buffer_init(&text);
    metrics_write(&metrics, &counts, "", &text);
    metrics_write_process(&text);
    if (text.failed)
        stop("out of memory");
    buffer_text(out, "| metric | kind | meaning |\n|---|---|---|\n");
    for (char *line = strtok(text.data, "\n"), name[128], help[256] = ""; line; line = strtok(NULL, "\n")) {
        char kind[32];
        if (sscanf(line, "# HELP %127s %255[^\n]", name, help) == 2)
            continue;
        if (sscanf(line, "# TYPE %127s %31s", name, kind) != 2)
            continue;
        buffer_format(out, "| `%s` | %s | ", name, kind);
        write_cell(out, help);
        buffer_text(out, " |\n");
    }
    buffer_fini(&text);
}

const struct block blocks_answers[] = {
    { "resolved", write_resolved },
    { "result", write_result },
    { "validate", write_validate },
    { "study-states", write_study_states },
    { "candidate-states", write_candidate_states },
    { "events", write_events },
    { "recipe", write_recipe },
    { "metrics", write_metrics },
    { NULL, NULL },
};
