/* Service: all studies of one store, from admission to result. `lag serve` and `lag run` are both thin shells over it.
 *
 * Everything here runs on the loop thread. Work that takes time (reading files, hashing, growing, training, SQLite writes)
 * goes to the pool; the answer comes back through a callback on the loop thread. Callbacks are never called before
 * the function that takes them has returned. A function that takes a callback returns 0, or ERROR_NO_MEMORY: then the callback
 * is never called and nothing has changed. */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/request.h"
#include "api/response.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

struct service;
struct metrics;
struct uv_loop_s;

enum { SERVICE_ID_BYTES = 40 };      /* "study_" + 26 sortable characters */

struct service_options {
    const char *store;               /* directory */
    const char *data_root;           /* client paths resolve beneath it; NULL: no paths, ids only */
    int workers;
    uint64_t memory_bytes;           /* limit for training memory */
    struct clock *clock;
    struct uv_loop_s *loop;
    const char *version;
    struct metrics *metrics;         /* observed into; NULL: nobody looks */
    bool recover;                    /* take up every unfinished study at the start (serve); lag run takes up its own */
};

/* Takes the store's lock (ERROR_CONFLICT naming the process that has it), opens it. Recovery begins with service_start. */
int service_open(struct service **service, const struct service_options *options, struct error *error);
/* Recovers in the background: loads unfinished studies, then lets them run. */
void service_start(struct service *service);
/* Takes up one stored study that is not ended and not in memory (lag run). */
int service_take_up(struct service *service, const char *id, struct error *error);
/* Ready: recovered, store writable. Otherwise `reason` says why not. */
bool service_ready(const struct service *service, char reason[256]);
/* Lines "[+]name ok" / "[-]name failed: why" for /readyz?verbose. */
void service_ready_verbose(struct service *service, struct buffer *out);
/* Stops lending slices, saves what runs; `done` when everything is on disk. Studies stay `running`/`queued` in the
 * store and go on at the next start. */
void service_drain(struct service *service, void (*done)(void *context), void *context);
/* Whether the study is in memory: being worked on, or not yet out of our hands. Once it is not, its row is all there is. */
bool service_works_on(struct service *service, const char *id);
/* Saves what still runs (as service_drain), running the loop until nothing is under way. Not from a callback of the loop. */
void service_close(struct service *service);

/* ---- uploads: the HTTP room wrote the files below service_upload_directory(); accepting verifies, hashes, moves, commits */
const char *service_upload_directory(const struct service *service);
typedef void service_callback(void *context, const struct error *error, const char *id, bool existed);
/* `directory`: holds config.json, model.safetensors or shards + index, optional optimizer.safetensors, tokenizer files. Same
 * content: the same id, existed = true. Removes `directory` in every case. */
int service_accept_checkpoint(struct service *service, const char *directory, service_callback *callback, void *context);
/* `file`: the raw token file. Any format; tokens are judged when a study uses it. */
int service_accept_dataset(struct service *service, const char *file, service_callback *callback, void *context);

/* ---- studies */
struct study_submission {
    const char *body; size_t body_length;     /* the JSON; copied */
    const char *idempotency_key;              /* NULL: none */
    const char *checkpoint_directory;         /* multipart parts already on disk below the upload directory; NULL: none */
    const char *train_file, *valid_file;
    bool by_content;                          /* lag run: the same request on the same files is the same study */
};
/* Parses, reads headers and data, resolves, plans, checks memory and disk, commits (fsync); then calls back with the id.
 * existed: the idempotency key was seen with the same body. ERROR_CONFLICT: with another body. */
int service_submit(struct service *service, const struct study_submission *submission, service_callback *callback,
                    void *context);
/* The dry run: on success `json` has the answer. */
typedef void service_text_callback(void *context, const struct error *error, const char *json, size_t length);
int service_validate(struct service *service, const char *body, size_t length, service_text_callback *callback,
                      void *context);
int service_cancel(struct service *service, const char *id, service_callback *callback, void *context);
int service_resume(struct service *service, const char *id, service_callback *callback, void *context);
/* kind: "studies", "checkpoints", "datasets". ERROR_NOT_FOUND, ERROR_CONFLICT (running; or naming the study that uses it). */
int service_delete(struct service *service, const char *kind, const char *id, service_callback *callback, void *context);

/* ---- reading: at once, from memory or by a short query. ERROR_NOT_FOUND. */
int service_study_json(struct service *service, const char *id, struct buffer *out, bool *ended, struct error *error);
int service_study_state(struct service *service, const char *id, enum study_state_name *state, struct error *error);
/* As stored. */
int service_study_reason(struct service *service, const char *id, enum study_state_name *state, char reason[512],
                         struct error *error);
int service_list(struct service *service, const char *kind, const char *state, int limit, const char *after,
                 struct buffer *out, struct error *error);          /* {"items": […], "next": …} */
int service_show(struct service *service, const char *kind, const char *id, struct buffer *out, struct error *error);
/* what: "curves.csv", "curves.json", "plot.svg", "report.html", "table.txt" */
int service_study_document(struct service *service, const char *id, const char *what, struct buffer *out,
                           struct error *error);
/* Path of a candidate's file for sendfile; ERROR_CONFLICT while the candidate is unfinished; "" lists names as JSON into
 * `listing`. */
int service_candidate_file(struct service *service, const char *id, const char *candidate, const char *file,
                           char path[4096], struct buffer *listing, struct error *error);

/* The nth kept candidate's name and directory; -1 (no error) past the last. */
int service_kept_directory(struct service *service, const char *id, int nth, char name[65], char path[4096],
                           struct error *error);

/* ---- watching: `notify` is called (loop thread) whenever the study has new events or ended. */
struct service_watch {
    void (*notify)(struct service_watch *watch);
    void *owner;
    struct service_watch *next;
    char id[SERVICE_ID_BYTES];
};
int service_watch_add(struct service *service, const char *id, struct service_watch *watch, struct error *error);
void service_watch_remove(struct service *service, struct service_watch *watch);
/* Events after `last` as server-sent-event text ("id: 7\nevent: evaluation\ndata: {…}\n\n"), at most `limit`; *last moves
 * on; *ended when the stream is complete. */
int service_events(struct service *service, const char *id, uint64_t *last, int limit, struct buffer *out, bool *ended,
                   struct error *error);

/* ---- numbers for /metrics and progress */
struct service_counts {
    int studies[STUDY_STATE_COUNT];
    int candidates[CANDIDATE_STATE_COUNT];
    uint64_t steps, tokens, recovered_studies, points;
    double flops, train_seconds, evaluate_seconds, commit_seconds;
    double step_flops[PRODUCT_TYPE_COUNT], step_seconds[PRODUCT_TYPE_COUNT];   /* of steps, by training.compute */
    uint64_t store_bytes, store_free_bytes;
    int workers, workers_busy;
    uint64_t memory_limit, memory_used;
};
void service_counts(struct service *service, struct service_counts *counts);
/* For a progress display of `lag run`: the study's pieces, valid until the loop runs again. NULL if not in memory. */
const struct study *service_study(struct service *service, const char *id);
const struct study_outcome *service_outcome(struct service *service, const char *id);

#endif
