/* Store: one directory that holds everything durable.
 *
 *   lag.lock                      the owner's process number; locked while it lives
 *   lag.db (+ -wal, -shm)         SQLite: studies, candidates, points, events, checkpoints, datasets
 *   checkpoints/<id>/             Hugging Face directories, immutable
 *   datasets/<id>/tokens
 *   studies/<id>/trials/<n>.trial       a candidate's saved state while the study can go on
 *   studies/<id>/candidates/<n>/        kept candidates' files
 *   studies/<id>/{curves.csv,curves.json,plot.svg,report.html,table.txt}
 *   uploads/<n>/                  what is being uploaded; emptied at every start
 *
 * Writes are lists of changes (server/changes.h) applied by the journal, one transaction at a time; 202 and events follow
 * the fsync. Reads use a connection of their own on the loop thread. */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "server/changes.h"
#include "study/study.h"

enum { STORE_ID_BYTES = 40, STORE_SCHEMA = 1 };

struct store {
    char directory[FILE_PATH_BYTES];
    int lock_fd;
    sqlite3 *writer;      /* used by the journal's job only */
    sqlite3 *reader;      /* loop thread */
};

/* Creates or opens, takes the lock (ERROR_CONFLICT naming the process), checks the schema (ERROR_DAMAGED, or
 * ERROR_INVALID for a newer one), empties uploads/. */
int store_open(struct store *store, const char *directory, struct error *error);
void store_close(struct store *store);

/* Paths below the store. `name` NULL: the directory itself. */
int store_path(const struct store *store, char path[FILE_PATH_BYTES], struct error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- changes */
struct study_row {
    char id[STORE_ID_BYTES];
    char *name, *reason, *request;       /* owned; request: the resolved JSON */
    char *idempotency_key, *body_hash;   /* "" where none */
    char *checkpoint, *train, *valid;    /* as given: ids or paths; valid "" where held out */
    char *content;                       /* hash of request + checkpoint + data: same study, same content */
    char checkpoint_hash[65], data_hash[65];
    enum study_state_name state;
    int64_t created_ms, started_ms, ended_ms;
    char *result;                        /* final JSON, "" before the end */
};
void study_row_fini(struct study_row *row);

void store_add_study(struct changes *changes, const struct study_row *row);
void store_set_state(struct changes *changes, const char *id, enum study_state_name state, const char *reason,
                     int64_t started_ms, int64_t ended_ms, const char *result);
void store_set_candidate(struct changes *changes, const char *id, int index, const struct candidate *candidate);
void store_add_point(struct changes *changes, const char *id, int candidate, const struct point *point, int windows);
/* An event is kept once per (study, kind, identity): what is redone after a crash adds nothing. */
void store_add_event(struct changes *changes, const char *id, const char *kind, const char *identity, const char *data);
void store_remove_study(struct changes *changes, const char *id);
/* kind: "checkpoint" or "dataset". */
void store_add_item(struct changes *changes, const char *kind, const char *id, int64_t created_ms, const char *info);
void store_remove_item(struct changes *changes, const char *kind, const char *id);

/* ---- reads; ERROR_NOT_FOUND where a row is not there. The parts of a staged study have rows of their own, their ids hold a
 * slash; lists and counts leave them out. */
int store_study(struct store *store, const char *id, struct study_row *row, struct error *error);
/* By idempotency key or by content; *id "" if there is none. */
int store_find_study(struct store *store, const char *column, const char *value, char id[STORE_ID_BYTES],
                     char body_hash[65], struct error *error);
/* Ids of studies in a state, oldest first. */
struct id_list { char (*ids)[STORE_ID_BYTES]; int count; };
int store_studies_in(struct store *store, enum study_state_name state, struct id_list *list, struct error *error);
void id_list_fini(struct id_list *list);
/* Facts and curves of every candidate into a study made by study_init. */
int store_load_candidates(struct store *store, const char *id, struct study *study, struct error *error);
/* The candidate 0 of one study, as candidate `to` of another made with the same number of windows. */
int store_load_candidate(struct store *store, const char *id, int to, struct study *study, struct error *error);
/* Items of a list page as JSON: {"items": […], "next": id or null}. kind: studies, checkpoints, datasets. */
int store_list(struct store *store, const char *kind, const char *state, int limit, const char *after,
               struct buffer *out, struct error *error);
int store_item(struct store *store, const char *kind, const char *id, struct buffer *out, struct error *error);
/* A study that still needs the item ("" if none). */
int store_item_user(struct store *store, const char *id, char study[STORE_ID_BYTES], struct error *error);
int store_events(struct store *store, const char *id, uint64_t *last, int limit, struct buffer *out, bool *ended,
                 struct error *error);
int store_count_states(struct store *store, int counts[STUDY_STATE_COUNT], struct error *error);

#endif
