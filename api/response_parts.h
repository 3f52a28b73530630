/* What the responses share; private to this room. Thread rule: const and caller-owned. */
#ifndef API_RESPONSE_PARTS_H
#define API_RESPONSE_PARTS_H

#include "api/json.h"
#include "api/response.h"

/* `"name": <number or null>` and friends, as members of an object. */
void member_number(struct buffer *out, bool *first, const char *name, double value);
void member_unsigned(struct buffer *out, bool *first, const char *name, uint64_t value);
void member_text(struct buffer *out, bool *first, const char *name, const char *text);     /* NULL: null */
void member_time(struct buffer *out, bool *first, const char *name, int64_t wall_ms);      /* 0: null */

/* "settled", "provisional", or NULL before the study has ended. */
const char *outcome_status(const struct study *study, const struct study_outcome *outcome);
const char *spec_candidate_name(const struct study_spec *spec, int candidate);             /* NULL: no such */
const struct ranking_row *outcome_row(const struct study_outcome *outcome, int candidate); /* NULL: none */
/* One object of `ranking`; `row` NULL: not ranked yet. */
void write_ranking_row(struct buffer *out, const struct study_view *view, int candidate, const struct ranking_row *row);
/* The members transition, choice, ranking, rank_agreement, cost. */
void write_answer(struct buffer *out, bool *first, const struct study_view *view);
/* [warnings of admission, why provisional, warnings of ranking] */
void write_warnings(struct buffer *out, const struct study_view *view);
/* A drawing or page among others: its names of elements, and what refers to them, get "stage-<number>-" before them. */
void write_apart(struct buffer *out, const char *text, int number);
/* Percent-encodes everything but letters, digits, '.', '_', '-', '~'. */
void write_url_part(struct buffer *out, const char *text);

/* By how much the candidate's list clones the width; NaN if it can't be told (no parent shape; or no memory, which
 * shows in out->failed). */
double candidate_width_factor(struct buffer *out, const struct study_view *view, int candidate);

/* Characters of UTF-8 text; and `text` cut to `characters` of them (with "…" when cut). */
int text_characters(const char *text);
void text_cut(struct buffer *out, const char *text, int characters);
/* The same, cut in the middle: names often differ at their ends. */
void text_cut_middle(struct buffer *out, const char *text, int characters);
/* Appends `text` broken into lines of at most `columns` characters, each after `indent` spaces. */
void text_wrap(struct buffer *out, const char *text, int columns, int indent);

#endif
