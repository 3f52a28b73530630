/* The ranked table for a terminal, and the few plain sentences below it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/response_parts.h"
#include "api/sentences.h"

/* ---- cells ---- */

struct row_facts { const struct study *study; const struct study_outcome *outcome; const struct ranking_row *row; };

enum { CELL_BYTES = 48 };

static void cell_number(char cell[CELL_BYTES], const char *format, double value)
{
    if (!isfinite(value)) snprintf(cell, CELL_BYTES, "-");
    else snprintf(cell, CELL_BYTES, format, value);
}

static void cell_rank(const struct row_facts *f, char cell[CELL_BYTES])
{
    snprintf(cell, CELL_BYTES, "%d", f->row->rank);
}
static void cell_tie(const struct row_facts *f, char cell[CELL_BYTES])
{
    if (f->row->tie_group) snprintf(cell, CELL_BYTES, "%d", f->row->tie_group);
    else snprintf(cell, CELL_BYTES, "-");
}
static void cell_loss(const struct row_facts *f, char cell[CELL_BYTES]) { cell_number(cell, "%.4f", f->row->loss); }
static void cell_margin(const struct row_facts *f, char cell[CELL_BYTES])
{
    cell_number(cell, "%+.4f", f->row->margin);
}
static void cell_error(const struct row_facts *f, char cell[CELL_BYTES])
{
    cell_number(cell, "%.4f", f->row->standard_error);
}
static void cell_best(const struct row_facts *f, char cell[CELL_BYTES]) { cell_number(cell, "%.2f", f->row->p_best); }
static void cell_start(const struct row_facts *f, char cell[CELL_BYTES])
{
    cell_number(cell, "%.4f", f->row->loss_at_0);
}
static void cell_slope(const struct row_facts *f, char cell[CELL_BYTES]) { cell_number(cell, "%.3f", f->row->slope); }
static void cell_final(const struct row_facts *f, char cell[CELL_BYTES])
{
    cell_number(cell, "%.4f", f->row->predicted_final_loss);
}
static void cell_state(const struct row_facts *f, char cell[CELL_BYTES])
{
    const struct candidate *candidate = &f->study->candidates[f->row->candidate];
    snprintf(cell, CELL_BYTES, "%s", candidate->same_as >= 0 ? "same" : candidate_state_text(candidate->state));
}

/* Columns in the order shown; when the terminal is narrow, those with the highest `drop` go first. */
static const struct column {
    const char *head;
    int width, drop;
    void (*cell)(const struct row_facts *facts, char cell[CELL_BYTES]);
} COLUMNS[] = {
    {"rank", 4, 0, cell_rank},       {"tie", 3, 5, cell_tie},         {"loss", 7, 0, cell_loss},
    {"margin", 8, 3, cell_margin},   {"error", 6, 4, cell_error},     {"P(best)", 7, 2, cell_best},
    {"at 0", 7, 6, cell_start},      {"final", 7, 7, cell_final},     {"slope", 6, 8, cell_slope},
    {"state", 11, 1, cell_state},
};
enum { COLUMN_COUNT = sizeof COLUMNS / sizeof *COLUMNS, NAME_LEAST = 12, NAME_MOST = 40 };

/* ---- table ---- */

static bool all_completed(const struct study *study)
{
    for (int i = 0; i < study->spec->candidate_count; i++)
        if (study->candidates[i].state != CANDIDATE_COMPLETED || study->candidates[i].same_as >= 0) return false;
    return true;
}

static int longest_name(const struct study_spec *spec)
{
    int longest = (int)strlen("candidate");
    for (int i = 0; i < spec->candidate_count; i++) {
        int length = text_characters(spec->candidates[i].name);
        if (length > longest) longest = length;
    }
    return longest < NAME_MOST ? longest : NAME_MOST;
}

/* Chooses what is shown and how wide names are. */
static int table_fit(const struct study *study, int columns, bool shown[COLUMN_COUNT])
{
    int wanted = longest_name(study->spec), least = wanted < NAME_LEAST ? wanted : NAME_LEAST, used = 0;
    bool plain = all_completed(study);
    for (int i = 0; i < COLUMN_COUNT; i++) {
        shown[i] = !(plain && COLUMNS[i].cell == cell_state);
        if (shown[i]) used += COLUMNS[i].width + 2;
    }
    while (used + least > columns) {
        int worst = -1;
        for (int i = 0; i < COLUMN_COUNT; i++)
            if (shown[i] && COLUMNS[i].drop && (worst < 0 || COLUMNS[i].drop > COLUMNS[worst].drop)) worst = i;
        if (worst < 0) break;
        shown[worst] = false;
        used -= COLUMNS[worst].width + 2;
    }
    int room = columns - used;
    return wanted < room ? wanted : room > least ? room : least;
}

static void pad(struct buffer *out, int spaces)
{
    buffer_format(out, "%*s", spaces > 0 ? spaces : 0, "");
}

/* Numbers stand to the right, the name after the rank and the state at the end to the left. */
static void table_line(struct buffer *out, const bool shown[COLUMN_COUNT], int name_width, const char *name,
                       const struct row_facts *facts)
{
    char cell[CELL_BYTES];
    for (int i = 0; i < COLUMN_COUNT; i++) {
        if (!shown[i]) continue;
        if (facts) COLUMNS[i].cell(facts, cell);
        else snprintf(cell, sizeof cell, "%s", COLUMNS[i].head);
        if (i) buffer_text(out, "  ");
        if (COLUMNS[i].cell != cell_state) pad(out, COLUMNS[i].width - text_characters(cell));
        buffer_text(out, cell);
        if (i) continue;
        buffer_text(out, "  ");
        text_cut_middle(out, name, name_width);
        pad(out, name_width - text_characters(name));
    }
    buffer_text(out, "\n");
}

static void table(struct buffer *out, const struct study *study, const struct study_outcome *outcome, int columns)
{
    bool shown[COLUMN_COUNT];
    int name_width = table_fit(study, columns, shown);
    table_line(out, shown, name_width, "candidate", NULL);
    for (int i = 0; i < outcome->ranking.count; i++) {
        struct row_facts facts = {study, outcome, &outcome->ranking.rows[i]};
        table_line(out, shown, name_width, study->spec->candidates[facts.row->candidate].name, &facts);
    }
}

/* ---- the whole ---- */

void response_table(struct buffer *out, const struct study *study, const struct study_outcome *outcome, int columns)
{
    char text[SENTENCE_BYTES];
    if (columns < 40) columns = 40;
    if (!outcome) {
        text_wrap(out, "There is no ranking yet.", columns, 0);
        return;
    }
    table(out, study, outcome, columns);
    buffer_text(out, "\n");
    if (sentence_start(study, outcome, text)) text_wrap(out, text, columns, 0);
    if (sentence_order(outcome, text)) text_wrap(out, text, columns, 0);
    if (sentence_choice(study, outcome, text)) text_wrap(out, text, columns, 0);
    if (sentence_ties(study, outcome, text)) text_wrap(out, text, columns, 0);
    if (sentence_status(study, outcome, text)) text_wrap(out, text, columns, 0);
}
