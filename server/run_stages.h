/* Staging: a staged study at work (study/stages.h). Its run trains nothing itself: each part is an ordinary run with a row
 * of its own, whose id is that of the whole, a slash, and the part's name. Rows of parts are never listed; their events
 * are the whole study's.
 *
 *     chain:  LOOKING ──no row──> COMMITTING (the part's row) ──> LOOKING ──> RUNNING ──its run has gone──> LOOKING
 *                │ the part succeeded: the next one, or ENDED after the last; it failed: FAILED
 *
 * What comes next is a function of the rows alone, so a kill at any moment changes nothing. A training takes over what
 * the search stored of its choice: points with the same commit that makes its row, the saved trial by its path.
 * Thread rule: loop thread; run_stages_load on a worker. */
#ifndef SERVER_RUN_STAGES_H
#define SERVER_RUN_STAGES_H

#include "server/run.h"

enum chain_state { CHAIN_LOOKING, CHAIN_COMMITTING, CHAIN_RUNNING, CHAIN_ENDED, CHAIN_FAILED };

struct chain {
    struct run *whole;
    struct stage_part part;
    enum chain_state state;
    char reason[512];                /* why failed */
    struct journal_entry entry;
};

struct staging {
    struct stages stages;
    struct chain chains[STAGES_CHAINS_MAX];
    struct study_spec compare;       /* the chains as candidates of the last stage */
    int windows, vocabulary, parent_layers;
    char *comparison;                /* against the baselines, once all chains have ended */
};

/* ---- run_part.c: a part's run */
/* The part's id. */
void stages_part_id(const char *whole, const struct stage_part *part, char id[SERVICE_ID_BYTES]);
void run_part_id(const struct run *whole, const struct stage_part *part, char id[SERVICE_ID_BYTES]);
/* The study that clients know: the whole's id for a part's run. */
const char *run_public_id(const struct run *run);
/* Of a training: where the parent's part kept it; "" for a part that grows the study's own checkpoint. */
int run_part_parent(const struct run *run, char directory[FILE_PATH_BYTES], struct error *error);
/* Where a candidate's saved trial is: its own file, or what a training takes over from the search. */
int run_saved_trial(const struct run *run, int candidate, char path[FILE_PATH_BYTES], struct error *error);
bool run_part_keeps(const struct run *run, bool chosen);       /* may the files of a ranked candidate be kept? */
void run_part_tidy(const struct run *run);                     /* after its end: what the next parts don't need (worker) */

/* Removes a directory of a part, as far as that is possible (worker). `run`: the whole's, or any of its parts'. */
void run_part_remove(const struct run *run, const struct stage_part *part, const char *what);

/* ---- the whole's run: run_stages.c; run_stages_end.c */
int run_stages_load(struct run *run, struct error *error);     /* resolves all stages; the sources are open */
void run_stages_free(struct run *run);
void run_stages_advance(struct run *run);
void run_stages_stop(struct run *run);                         /* its parts save and leave */
bool run_stages_are_quiet(const struct run *run);              /* none of its parts is in memory */
void run_stages_finish(struct run *run);

/* stages_read.c: what a staged study tells, out of what its parts tell */
/* The stages of a stored study; count 0: it has none. */
int stages_of(struct service *service, const char *id, struct stages *stages, struct error *error);
/* Its answer: state and reason from `run` (NULL: from the row). `comparison`: NULL, or text. */
int stages_json(struct service *service, const struct study_row *row, const struct stages *stages, const struct run *run,
                bool ended, struct buffer *out, struct error *error);
int stages_document(struct service *service, const char *id, const struct stages *stages, const char *what,
                    struct buffer *out, struct error *error);
/* The part and number under which the files of a candidate lie. ERROR_NOT_FOUND. */
int stages_find_candidate(struct service *service, const char *id, const struct stages *stages, const char *name,
                          char part[SERVICE_ID_BYTES], int *number, struct error *error);
/* The nth name that stages_find_candidate may know; false: there is none. */
bool stages_candidate_name(struct service *service, const char *id, const struct stages *stages, int nth, char name[65],
                           struct error *error);

#endif
