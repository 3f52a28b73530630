/* lag_report.json and README.md of a candidate's directory. */
#include <math.h>
#include <string.h>

#include "api/report_parts.h"
#include "api/request_parts.h"
#include "growth/plan.h"

/* What `lag eval` takes its defaults from. */
static void write_data(struct buffer *out, const struct study_spec *spec)
{
    bool first = true;
    buffer_text(out, "{");
    echo_members(spec, "/data", &first, out);
    member_number(out, &first, "context", spec->training.context);
    member_unsigned(out, &first, "valid_tokens", spec->selection.valid_tokens);
    member_unsigned(out, &first, "seed", spec->training.seed);
    buffer_text(out, "}");
}

static void write_study(struct buffer *out, const struct study_view *view)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "id", view->id);
    member_text(out, &first, "name", view->spec->name);
    member_text(out, &first, "status", outcome_status(view->study, view->outcome));
    member_number(out, &first, "k", view->outcome && view->outcome->k ? (double)view->outcome->k : NAN);
    member_text(out, &first, "checkpoint", view->spec->checkpoint);
    buffer_text(out, "}");
}

/* The study's answer beside the candidate's own row, and what report.html shows beyond it. */
static void write_result(struct buffer *out, const struct study_view *view)
{
    bool first = true;
    buffer_text(out, "{");
    write_answer(out, &first, view);
    report_write_facts(out, &first, view);
    json_key(out, &first, "warnings");
    write_warnings(out, view);
    buffer_text(out, "}");
}

/* `training` is what the checkpoint loader reads back (provenance); the rest is for `lag eval` and for people. */
void response_candidate_report(struct buffer *out, const struct candidate_files *files)
{
    const struct study_view *view = files->view;
    const struct study_spec *spec = view->spec;
    const struct study_outcome *outcome = view->outcome;
    const struct spec_candidate *candidate = &spec->candidates[files->candidate];
    bool first = true, inner = true;
    buffer_text(out, "{");
    json_key(out, &first, "training");
    buffer_text(out, "{");
    member_unsigned(out, &inner, "step", files->step);
    member_unsigned(out, &inner, "tokens_seen", files->tokens_seen);
    member_unsigned(out, &inner, "data_cursor", files->data_cursor);
    member_unsigned(out, &inner, "seed", spec->training.seed);
    buffer_text(out, "}");
    json_key(out, &first, "settings");
    echo_object(spec, "/training", out);
    json_key(out, &first, "data");
    write_data(out, spec);
    json_key(out, &first, "study");
    write_study(out, view);
    member_text(out, &first, "candidate", candidate->name);
    json_key(out, &first, "operators");
    growth_list_json(&candidate->operators, out);
    member_text(out, &first, "moments", moments_policy_name(candidate->moments));
    if (files->ramp_steps > 0) {      /* instead of initial/model.safetensors */
        member_unsigned(out, &first, "ramp_steps", files->ramp_steps);
        member_text(out, &first, "initial", "not kept: grown in behind masks that were gone after ramp_steps steps, the model "
                                            "had no standard file before");
    }
    json_key(out, &first, "chosen");
    buffer_text(out, outcome && outcome->choice == files->candidate ? "true" : "false");
    member_text(out, &first, "choice_reason", outcome ? outcome->choice_reason : NULL);
    json_key(out, &first, "ranking");
    write_ranking_row(out, view, files->candidate, outcome_row(outcome, files->candidate));
    json_key(out, &first, "result");
    write_result(out, view);
    buffer_text(out, "}\n");
}

/* ---- model card ---- */

/* Text inside Markdown prose: nothing of it may become markup. */
static void markdown_text(struct buffer *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20) { buffer_text(out, " "); continue; }
        if ((unsigned char)*c < 0x80 && strchr("\\`*_{}[]()<>#+-.!|&~", *c)) buffer_text(out, "\\");
        buffer_append(out, c, 1);
    }
}

static void card_head(struct buffer *out, enum family family)
{
    buffer_format(out, "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
                       "tags:\n- lag\n- model-growth\n- %s\n---\n\n", family_name(family));
}

static void card_number(struct buffer *out, const char *label, int decimals, double value)
{
    if (isfinite(value)) buffer_format(out, "| %s | %.*f |\n", label, decimals, value);
}

static void card_table(struct buffer *out, const struct candidate_files *files, const struct ranking_row *row)
{
    const struct study_view *view = files->view;
    const struct candidate *facts = view->study ? &view->study->candidates[files->candidate] : NULL;
    buffer_text(out, "| | |\n|---|---|\n");
    buffer_format(out, "| optimizer steps since growing | %llu |\n", (unsigned long long)files->step);
    buffer_format(out, "| tokens seen, parent included | %llu |\n", (unsigned long long)files->tokens_seen);
    if (facts && facts->grown) buffer_format(out, "| parameters | %llu |\n", (unsigned long long)facts->parameters);
    if (row && row->tie_group) buffer_format(out, "| rank of %d | %d |\n", view->outcome->ranking.count, row->rank);
    if (!row) return;
    card_number(out, "validation loss, nats per token", 4, row->loss);
    card_number(out, "standard error of the difference to the best", 4, row->standard_error);
    card_number(out, "probability of being the best", 2, row->p_best);
    card_number(out, "loss right after growing", 4, row->loss_at_0);
    card_number(out, "predicted loss at the horizon", 4, row->predicted_final_loss);
}

static void card_verdict(struct buffer *out, const struct candidate_files *files)
{
    const struct study_outcome *outcome = files->view->outcome;
    const char *status = outcome_status(files->view->study, outcome);
    if (!status) return;
    if (outcome->choice == files->candidate) {
        buffer_text(out, "The study chose this model: ");
        markdown_text(out, outcome->choice_reason);
        buffer_text(out, "\n\n");
    } else {
        const char *chosen = spec_candidate_name(files->view->spec, outcome->choice);
        buffer_text(out, "The study chose another candidate, \"");
        markdown_text(out, chosen ? chosen : "none");
        buffer_text(out, "\".\n\n");
    }
    if (!outcome->settled) {
        buffer_text(out, "The answer is provisional: ");
        markdown_text(out, outcome->provisional_reason);
        buffer_text(out, "\n\n");
    }
}

/* How to go on, for whoever has only this directory. */
static void card_recipe(struct buffer *out, const struct candidate_files *files)
{
    struct buffer words;
    if (!files->view->outcome || files->view->outcome->choice != files->candidate) return;
    buffer_init(&words);
    response_recipe_words(&words, files->view);
    out->failed = out->failed || words.failed;
    buffer_text(out, "\n## To go on\n\n`lag train --recipe` goes on bit for bit from here, given `recipe` of the study's "
                     "result. In PyTorch:\n\n```text\n");
    if (words.data) text_wrap(out, words.data, 100, 0);
    buffer_text(out, "```\n");
    buffer_fini(&words);
}

void response_candidate_card(struct buffer *out, const struct candidate_files *files)
{
    const struct study_view *view = files->view;
    const struct study_spec *spec = view->spec;
    const struct spec_candidate *candidate = &spec->candidates[files->candidate];
    card_head(out, view->parent ? view->parent->family : FAMILY_GPT2);
    buffer_text(out, "# ");
    markdown_text(out, candidate->name);
    buffer_text(
        out,
        "\n\nA model that was made by growing a smaller one and training it for a short while, to compare ways of "
        "growing (landscape-aware growing, arXiv 2406.02469). It is a start for further training, not a finished "
        "model: it saw few tokens after growing, and nobody has judged what it writes.\n\n");
    card_table(out, files, outcome_row(view->outcome, files->candidate));
    buffer_text(out, "\n");
    card_verdict(out, files);
    buffer_text(out, "Study: \"");
    markdown_text(out, spec->name);
    buffer_text(out, "\". Grown by:\n\n```json\n");
    growth_list_json(&candidate->operators, out);
    buffer_format(
        out,
        "\n```\n\nTrained with %s at a rate of %g, batches of %d sequences of %d tokens, seed %llu. The "
        "weights here are %s. `lag_report.json` has every number; `optimizer.safetensors` has the raw iterate and "
        "the moments to go on from.\n",
        optimizer_rows(&(int){0})[spec->training.optimizer.name].name, spec->training.learning_rate,
        spec->training.batch, spec->training.context, (unsigned long long)spec->training.seed,
        optimizer_is_schedule_free(spec->training.optimizer.name) ? "the average x of the schedule-free optimizer"
        : spec->training.average.kind == AVERAGE_NONE ? "the raw ones" : "a running average over the last steps");
    card_recipe(out, files);
}

void response_plain_card(struct buffer *out, const struct plain_card *card)
{
    const struct shape *shape = card->shape;

    card_head(out, shape->family);
    buffer_format(out, "# %s, %d layers x %d\n\n%s It is a start for further training; nobody has judged what it writes.\n\n",
                  family_name(shape->family), shape->layers, shape->width,
                  card->operators ? "A model that was made by growing a smaller one, not trained since."
                                  : "A model that `lag train` trained.");
    buffer_format(out, "| | |\n|---|---|\n| parameters | %llu |\n| optimizer steps | %llu |\n| tokens seen | %llu |\n",
                  (unsigned long long)shape_parameters(shape), (unsigned long long)card->step,
                  (unsigned long long)card->tokens_seen);
    card_number(out, "validation loss, nats per token", 4, card->loss);
    if (card->operators) {
        buffer_text(out, "\nGrown by:\n\n```json\n");
        growth_list_json(card->operators, out);
        buffer_text(out, "\n```\n");
    }
}
