/* Responses: structs -> bytes. Everything that users see of a study, in one place. Numbers that can be NaN become
 * null; doubles print shortest-round-trip (%.17g trimmed), so that identical results are identical text. */
#ifndef API_RESPONSE_H
#define API_RESPONSE_H

#include "base/buffer.h"
#include "base/error.h"
#include "study/rank.h"
#include "study/stages.h"

/* A study as the API shows it. */
struct study_view {
    const char *id;
    enum study_state_name state;
    const char *reason;                    /* why queued again, failed or cancelled; "" otherwise */
    const struct study_spec *spec;
    const struct study *study;             /* NULL before it ran */
    const struct study_outcome *outcome;   /* NULL: none yet */
    const char *recipe;                    /* JSON object text or NULL */
    int64_t created_ms, started_ms, ended_ms;      /* wall clock; 0: not yet */
    uint64_t parent_tokens_seen, first_data_step;
    const char *const *warnings;           /* from admission (dropout, symmetric copies …) */
    int warning_count;
    bool has_files;                        /* choice.files can be downloaded */
    const struct shape *base;              /* that the parametrization starts from; NULL: the checkpoint's */
    const struct shape *parent;            /* the checkpoint's shape; NULL: not known (then width factors are null) */
};

/* Contract 4: one flat object. */
void response_study(struct buffer *out, const struct study_view *view);
/* One line of GET /v1/studies: id, name, state, status, created, choice. */
void response_study_line(struct buffer *out, const struct study_view *view);
/* curves.csv: candidate,seed,step,tokens,flops,loss,standard_error,raw_loss,learning_rate */
void response_curves_csv(struct buffer *out, const struct study *study);
/* curves.json: the same + 32 fixed blocks of validation windows per point, integers of 1e-5 nats. */
void response_curves_json(struct buffer *out, const struct study *study);
/* plot.svg: all curves on a log step axis, transition marked, ranking as the legend; light and dark. `outcome` may be
 * NULL. */
void response_plot(struct buffer *out, const struct study *study, const struct study_outcome *outcome,
                   const char *title);
/* Ranked table for a terminal of `columns` columns, and the few plain sentences (what step 0 would have picked, what
 * was picked, how sure). */
void response_table(struct buffer *out, const struct study *study, const struct study_outcome *outcome, int columns);

/* report.html: the same numbers for a reader, with the curves, as one file that loads and runs nothing. */
void response_report(struct buffer *out, const struct study_view *view);

/* lag_report.json and README.md (model card) of a candidate's directory. */
struct candidate_files {
    const struct study_view *view;
    int candidate;
    uint64_t step, tokens_seen, data_cursor;
    uint64_t ramp_steps;       /* of masks that the candidate was grown in behind; 0: none */
};
void response_candidate_report(struct buffer *out, const struct candidate_files *files);
void response_candidate_card(struct buffer *out, const struct candidate_files *files);
/* README.md of a directory that `lag train` (operators NULL) or `lag grow` wrote. loss NaN: not measured. */
struct plain_card {
    const struct shape *shape;
    const struct growth_list *operators;
    uint64_t step, tokens_seen;
    double loss;
};
void response_plain_card(struct buffer *out, const struct plain_card *card);
/* The recipe object: how to continue the winner. */
void response_recipe(struct buffer *out, const struct study_view *view);
/* Its text for users of PyTorch. There is a choice. */
void response_recipe_words(struct buffer *out, const struct study_view *view);

/* ---- stages: a staged study is shown from the answers of its parts (study/stages.h). */
struct stages_view {
    const char *id, *name, *reason;
    enum study_state_name state;
    const char *request;                       /* JSON text of the echo */
    const struct stages *stages;
    const char *const *search, *const *training;   /* per stage: response_study's text of the part; NULL: not begun */
    const char *comparison;                    /* response_stages_comparison's text; NULL: none yet */
    bool has_files, keeps_all;
};
/* Contract 4: the top-level members are the last stage's, cost is the sum, `stages` tells all, `comparison` ranks the
 * chain of winners against the baselines, where there are any. */
void response_stages(struct buffer *out, const struct stages_view *view);
/* The last parts of all chains as candidates of a study, after `steps` steps each in all stages. */
void response_stages_comparison(struct buffer *out, const struct study *study, const struct study_outcome *outcome,
                                uint64_t steps);
/* The candidate object of a search's choice, out of its answer. ERROR_DAMAGED: there is none. */
int response_part_winner(const char *text, struct buffer *out, struct error *error);
/* A part's curves.csv with the columns stage and chain behind the others. */
struct stages_rows { int stage; const char *chain; bool header, has_after; uint64_t after_step; };   /* only later steps */
void response_stages_curves_csv(struct buffer *out, const char *csv, const struct stages_rows *rows);
void response_stages_plot(struct buffer *out, const char *const *plots, int count);
void response_comparison_table(struct buffer *out, const char *comparison);
/* One page of the stages: `result` is response_stages' text, `reports` the searches' pages by stage, NULL where there is
 * none. */
void response_stages_report(struct buffer *out, const char *result, const char *const *reports, int count);

/* Tables: GET /v1/operators, /v1/optimizers, /v1/schedules and `lag operators --json`; and as text. */
void response_operators(struct buffer *out);
void response_optimizers(struct buffer *out);
void response_schedules(struct buffer *out);
void response_operators_text(struct buffer *out, int columns);
void response_optimizers_text(struct buffer *out, int columns);
void response_schedules_text(struct buffer *out, int columns);

/* FLOPs per second of a worker: in steps, whose products are of training.compute's type, and in float32, as evaluations and
 * fits are. 0: not known. */
struct response_speed { double steps, float32; };
/* Dry run (POST /v1/studies/validate): resolved spec, and per candidate layer and unit maps, parameters, FLOPs, bytes;
 * predicted seconds at `speed` (not known: null). */
int response_validate(struct buffer *out, const struct study_spec *spec, const struct shape *parent,
                      struct response_speed speed, int workers, struct error *error);

/* Events of a study's stream: the data object of each kind. */
void response_event_state(struct buffer *out, enum study_state_name state, const char *reason);
void response_event_evaluation(struct buffer *out, const char *candidate, const struct point *point);
void response_event_ranking(struct buffer *out, const struct study *study, const struct study_outcome *outcome);
/* A candidate that diverged or failed (step NaN: none), or the study (candidate NULL). */
void response_event_error(struct buffer *out, const char *candidate, double step, const char *reason);
void response_event_decision(struct buffer *out, const struct study *study, const struct decision *decision);

/* application/problem+json (RFC 9457). */
void response_problem(struct buffer *out, const struct error *error, const char *instance, const char *request_id);

#endif
