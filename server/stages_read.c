/* What a staged study tells, put together from what its parts tell: in memory while they run, as stored afterwards. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

int stages_of(struct service *service, const char *id, struct stages *stages, struct error *error)
{
    struct sql_query query;

    *stages = (struct stages){ 0 };
    sql_query(&query, service->store.reader, error,
              "SELECT json_extract(j.value, '$.layers'), json_extract(j.value, '$.steps')"
              " FROM study s, json_each(s.request, '$.stages') j WHERE s.id=? ORDER BY j.key", "t", id);
    while (!error->code && sql_next(&query, error) == 0 && query.row && stages->count < SPEC_STAGES_MAX)
        stages->of[stages->count++] = (struct stage){ (int)sql_integer(&query, 0), (uint64_t)sql_integer(&query, 1) };
    sql_finish(&query);
    if (error->code || stages->count == 0)
        return (int)error->code;
    sql_query(&query, service->store.reader, error,
              "SELECT j.value='middle' FROM study s, json_each(s.request, '$.baselines') j WHERE s.id=? ORDER BY j.key", "t",
              id);
    while (!error->code && sql_next(&query, error) == 0 && query.row && stages->baseline_count < STAGES_BASELINES_MAX)
        stages->baselines[stages->baseline_count++] = sql_integer(&query, 0) ? "middle" : "gradual_last";
    sql_finish(&query);
    return (int)error->code;
}

/* What the part answers; NULL in *text where it has not begun. */
static int part_json(struct service *service, const char *whole, struct stage_part part, char **text, struct error *error)
{
    char id[SERVICE_ID_BYTES];
    struct error found = { 0 };
    struct buffer out;
    bool ended;

    *text = NULL;
    stages_part_id(whole, &part, id);
    buffer_init(&out);
    if (service_study_json(service, id, &out, &ended, &found) == 0) {
        *text = buffer_take(&out, NULL);
        return *text ? 0 : error_set(error, ERROR_NO_MEMORY, "showing study %s: out of memory; try again", whole);
    }
    buffer_fini(&out);
    return found.code == ERROR_NOT_FOUND ? 0 : error_set(error, found.code, "%s", found.message);
}

int stages_json(struct service *service, const struct study_row *row, const struct stages *stages, const struct run *run,
                bool ended, struct buffer *out, struct error *error)
{
    char *search[SPEC_STAGES_MAX] = { 0 }, *training[SPEC_STAGES_MAX] = { 0 };
    const struct staging *staging = run ? run->staging : NULL;
    struct stages_view view = {
        .id = row->id, .name = row->name, .state = run ? run->row.state : row->state,
        .reason = run ? run->reason : row->reason, .request = row->request, .stages = stages,
        .search = (const char *const *)search, .training = (const char *const *)training,
        .comparison = staging ? staging->comparison : NULL, .has_files = ended,
        .keeps_all = staging && staging->compare.keep == KEEP_ALL,
    };

    for (int j = 0; j < stages->count && !error->code; j++) {
        part_json(service, row->id, (struct stage_part){ .stage = j + 1, .search = true }, &search[j], error);
        if (!error->code && search[j])
            part_json(service, row->id, (struct stage_part){ .stage = j + 1 }, &training[j], error);
    }
    if (!error->code)
        response_stages(out, &view);
    for (int j = 0; j < stages->count; j++) {
        memory_free(search[j]);
        memory_free(training[j]);
    }
    if (out->failed)
        error_set(error, ERROR_NO_MEMORY, "showing study %s: out of memory; try again", row->id);
    return (int)error->code;
}

/* ---- documents */

/* A part's document; NULL where there is none (yet). */
static char *part_document(struct service *service, const char *id, const char *what, struct error *error)
{
    struct error found = { 0 };
    struct buffer text;
    char *taken = NULL;

    buffer_init(&text);
    if (service_study_document(service, id, what, &text, &found) == 0) {
        taken = buffer_take(&text, NULL);
        if (!taken)
            error_set(error, ERROR_NO_MEMORY, "reading a stage's %s: out of memory", what);
        return taken;
    }
    buffer_fini(&text);
    if (found.code == ERROR_NO_MEMORY)
        error_set(error, found.code, "%s", found.message);
    return NULL;
}

/* Step of the search's choice from which its training went on. */
static bool taken_over_at(struct service *service, const char *whole, int stage, uint64_t *step, struct error *error)
{
    struct stage_part search = { .stage = stage, .search = true };
    struct sql_query query;
    char id[SERVICE_ID_BYTES];
    bool known = false;

    stages_part_id(whole, &search, id);
    sql_query(&query, service->store.reader, error, "SELECT json_extract(result, '$.k') FROM study WHERE id=? AND result<>''",
              "t", id);
    if (!error->code && sql_next(&query, error) == 0 && query.row) {
        *step = (uint64_t)sql_integer(&query, 0);
        known = true;
    }
    sql_finish(&query);
    return known;
}

struct composing {
    struct service *service;
    const char *id;
    const struct stages *stages;
    const char *what;
    struct buffer *out;
    int parts;                       /* written so far */
    char *drawn[SPEC_STAGES_MAX];    /* of the searches, by stage: plots or pages; NULL: none */
    char *plots[SPEC_STAGES_MAX];    /* those that there are, one after the other; borrowed */
    int plot_count;
};

static void add_csv(struct composing *composing, const struct stage_part *part, const char *text, struct error *error)
{
    struct stages_rows rows = { .stage = part->stage, .chain = stages_chain_name(composing->stages, part->chain),
                                .header = composing->parts == 0 };

    if (part->chain == 0 && !part->search)
        rows.has_after = taken_over_at(composing->service, composing->id, part->stage, &rows.after_step, error);
    response_stages_curves_csv(composing->out, text, &rows);
}

static void add_json(struct composing *composing, const struct stage_part *part, const char *text)
{
    buffer_format(composing->out, "%s{\"stage\": %d, \"chain\": \"%s\", \"part\": \"%s\", \"curves\": ",
                  composing->parts ? ",\n" : "{\"parts\": [\n", part->stage,
                  stages_chain_name(composing->stages, part->chain), part->search ? "search" : "training");
    buffer_text(composing->out, text);
    buffer_text(composing->out, "}");
}

static void add_table(struct composing *composing, const struct stage_part *part, const char *text)
{
    const struct stage *stage = &composing->stages->of[part->stage - 1];

    if (!part->search)
        return;
    buffer_format(composing->out, "%sStage %d of %d: %d layers, %llu steps\n\n", composing->parts ? "\n" : "", part->stage,
                  composing->stages->count, stage->layers, (unsigned long long)stage->steps);
    buffer_text(composing->out, text);
}

/* Only the searches have them, with their rankings; and they are put together once all are known. */
static bool is_drawn(const char *what)
{
    return strcmp(what, "plot.svg") == 0 || strcmp(what, "report.html") == 0;
}

static void add_part(struct composing *composing, const struct stage_part *part, struct error *error)
{
    char id[SERVICE_ID_BYTES], *text;

    if (!part->search && (strcmp(composing->what, "table.txt") == 0 || is_drawn(composing->what)))
        return;                      /* the searches' ones have the rankings */
    stages_part_id(composing->id, part, id);
    text = part_document(composing->service, id, composing->what, error);
    if (!text)
        return;
    if (strcmp(composing->what, "curves.csv") == 0)
        add_csv(composing, part, text, error);
    else if (strcmp(composing->what, "curves.json") == 0)
        add_json(composing, part, text);
    else if (strcmp(composing->what, "table.txt") == 0)
        add_table(composing, part, text);
    else
        composing->drawn[part->stage - 1] = composing->plots[composing->plot_count++] = text;
    composing->parts++;
    if (!is_drawn(composing->what))
        memory_free(text);
}

/* The comparison with the baselines, out of the stored result. */
static void add_comparison(const struct composing *composing, struct error *error)
{
    struct sql_query query;

    sql_query(&query, composing->service->store.reader, error,
              "SELECT json_extract(result, '$.comparison') FROM study WHERE id=? AND result<>''", "t", composing->id);
    if (!error->code && sql_next(&query, error) == 0 && query.row)
        response_comparison_table(composing->out, sql_text(&query, 0));
    sql_finish(&query);
}

static void write_report(struct composing *composing, struct error *error)
{
    struct buffer result;
    bool ended;

    buffer_init(&result);
    if (service_study_json(composing->service, composing->id, &result, &ended, error) == 0)
        response_stages_report(composing->out, result.data, (const char *const *)composing->drawn, composing->stages->count);
    buffer_fini(&result);
}

static void finish_document(struct composing *composing, struct error *error)
{
    if (strcmp(composing->what, "curves.json") == 0)
        buffer_text(composing->out, composing->parts ? "\n]}\n" : "{\"parts\": []}\n");
    else if (strcmp(composing->what, "plot.svg") == 0)
        response_stages_plot(composing->out, (const char *const *)composing->plots, composing->plot_count);
    else if (strcmp(composing->what, "report.html") == 0)
        write_report(composing, error);
    else if (strcmp(composing->what, "table.txt") == 0)
        add_comparison(composing, error);
    for (int i = 0; i < composing->plot_count; i++)
        memory_free(composing->plots[i]);
}

int stages_document(struct service *service, const char *id, const struct stages *stages, const char *what,
                    struct buffer *out, struct error *error)
{
    struct composing composing = { .service = service, .id = id, .stages = stages, .what = what, .out = out };

    for (int i = 0; i < stages_chains(stages) && !error->code; i++) {
        struct stage_part part = stages_first(i);
        do {
            add_part(&composing, &part, error);
        } while (!error->code && stages_next(stages, &part));
    }
    finish_document(&composing, error);
    if (composing.parts == 0 && strcmp(what, "table.txt") == 0)
        return error_set(error, ERROR_CONFLICT, "study %s has no ranking yet", id);
    if (out->failed)
        error_set(error, ERROR_NO_MEMORY, "composing %s: out of memory", what);
    return (int)error->code;
}

/* ---- files */

/* The last search's candidates by number: name, and whether it is the choice. */
static bool last_candidate(struct service *service, const char *id, const struct stages *stages, int number, char name[65],
                           bool *chosen, struct error *error)
{
    struct stage_part last = { .stage = stages->count, .search = true };
    struct sql_query query;
    char part[SERVICE_ID_BYTES];
    bool found = false;

    stages_part_id(id, &last, part);
    sql_query(&query, service->store.reader, error,
              "SELECT json_extract(c.value, '$.name'), json_extract(c.value, '$.name')=json_extract(s.result, "
              "'$.choice.candidate') FROM study s, json_each(s.result, '$.request.candidates') c WHERE s.id=?"
              " AND CAST(c.key AS INTEGER)=? AND s.result<>''", "ti", part, (int64_t)number);
    if (!error->code && sql_next(&query, error) == 0 && query.row) {
        snprintf(name, 65, "%s", sql_text(&query, 0));
        *chosen = sql_integer(&query, 1) != 0;
        found = true;
    }
    sql_finish(&query);
    return found;
}

bool stages_candidate_name(struct service *service, const char *id, const struct stages *stages, int nth, char name[65],
                           struct error *error)
{
    bool chosen;
    int earlier = stages->count - 1;

    if (nth < earlier)
        snprintf(name, 65, "stage-%d", nth + 1);
    return nth < earlier || last_candidate(service, id, stages, nth - earlier, name, &chosen, error);
}

int stages_find_candidate(struct service *service, const char *id, const struct stages *stages, const char *name,
                          char part[SERVICE_ID_BYTES], int *number, struct error *error)
{
    struct stage_part where = { .stage = stages->count };
    char own[65];
    bool chosen;
    int stage;

    if (sscanf(name, "stage-%d", &stage) == 1 && stage >= 1 && stage < stages->count) {
        where.stage = stage;
        *number = 0;
        stages_part_id(id, &where, part);
        return 0;
    }
    for (int i = 0; last_candidate(service, id, stages, i, own, &chosen, error); i++)
        if (strcmp(own, name) == 0) {
            where.search = !chosen;
            *number = chosen ? 0 : i;
            stages_part_id(id, &where, part);
            return 0;
        }
    return error->code ? (int)error->code
                       : error_set(error, ERROR_NOT_FOUND, "study %s has no candidate \"%.64s\" in its last stage; GET the "
                                   "study for its names", id, name);
}
