/* Routes: one table of every method and path; the HTTP room dispatches on it, 405's Allow and the documents read it. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include <stdbool.h>

/* X(code, method, path with {id} {name} {file} placeholders, public (no token), body limit kind, summary)
 * body: 0 none, 1 JSON (1 MiB), 2 upload (streams to disk) */
#define ROUTE_TABLE(X)                                                                                                \
    X(ROUTE_CHECKPOINT_CREATE, "POST", "/v1/checkpoints", false, 2, "upload a checkpoint (multipart)")                \
    X(ROUTE_CHECKPOINT_LIST, "GET", "/v1/checkpoints", false, 0, "list checkpoints")                                  \
    X(ROUTE_CHECKPOINT_SHOW, "GET", "/v1/checkpoints/{id}", false, 0, "show a checkpoint")                            \
    X(ROUTE_CHECKPOINT_DELETE, "DELETE", "/v1/checkpoints/{id}", false, 0, "delete a checkpoint")                     \
    X(ROUTE_DATASET_CREATE, "POST", "/v1/datasets", false, 2, "upload tokens (multipart or raw body)")                \
    X(ROUTE_DATASET_LIST, "GET", "/v1/datasets", false, 0, "list datasets")                                           \
    X(ROUTE_DATASET_SHOW, "GET", "/v1/datasets/{id}", false, 0, "show a dataset")                                     \
    X(ROUTE_DATASET_PATCH, "PATCH", "/v1/datasets/{id}", false, 2, "continue an upload (later release)")              \
    X(ROUTE_DATASET_HEAD, "HEAD", "/v1/datasets/{id}", false, 0, "an upload's offset (later release)")                \
    X(ROUTE_DATASET_DELETE, "DELETE", "/v1/datasets/{id}", false, 0, "delete a dataset")                              \
    X(ROUTE_STUDY_CREATE, "POST", "/v1/studies", false, 2, "start a study (JSON or multipart)")                       \
    X(ROUTE_STUDY_VALIDATE, "POST", "/v1/studies/validate", false, 1, "dry run of a study")                           \
    X(ROUTE_STUDY_LIST, "GET", "/v1/studies", false, 0, "list studies")                                               \
    X(ROUTE_STUDY_SHOW, "GET", "/v1/studies/{id}", false, 0, "a study; ?wait=SECONDS blocks until it ends")           \
    X(ROUTE_STUDY_CANCEL, "POST", "/v1/studies/{id}/cancel", false, 0, "cancel")                                      \
    X(ROUTE_STUDY_RESUME, "POST", "/v1/studies/{id}/resume", false, 0, "resume a cancelled or failed study")          \
    X(ROUTE_STUDY_DELETE, "DELETE", "/v1/studies/{id}", false, 0, "delete a study that does not run")                 \
    X(ROUTE_STUDY_EVENTS, "GET", "/v1/studies/{id}/events", false, 0, "server-sent events")                           \
    X(ROUTE_STUDY_CURVES_CSV, "GET", "/v1/studies/{id}/curves.csv", false, 0, "curves as CSV")                        \
    X(ROUTE_STUDY_CURVES_JSON, "GET", "/v1/studies/{id}/curves.json", false, 0, "curves with blocks")                 \
    X(ROUTE_STUDY_PLOT, "GET", "/v1/studies/{id}/plot.svg", false, 0, "the plot")                                     \
    X(ROUTE_STUDY_REPORT, "GET", "/v1/studies/{id}/report", false, 0, "the report, a page that loads nothing")         \
    X(ROUTE_CANDIDATE_FILE, "GET", "/v1/studies/{id}/candidates/{name}/files/{file}", false, 0,                       \
      "a file of a candidate; an empty {file} lists them")                                                            \
    X(ROUTE_OPERATORS, "GET", "/v1/operators", false, 0, "the growth operators")                                      \
    X(ROUTE_OPTIMIZERS, "GET", "/v1/optimizers", false, 0, "the optimizers")                                          \
    X(ROUTE_SCHEDULES, "GET", "/v1/schedules", false, 0, "the schedules")                                             \
    X(ROUTE_LIVEZ, "GET", "/livez", true, 0, "the process is alive")                                                  \
    X(ROUTE_READYZ, "GET", "/readyz", true, 0, "ready to take studies; ?verbose")                                     \
    X(ROUTE_HEALTH, "GET", "/health", true, 0, "as /readyz")                                                          \
    X(ROUTE_V2_LIVE, "GET", "/v2/health/live", true, 0, "as /livez")                                                  \
    X(ROUTE_V2_READY, "GET", "/v2/health/ready", true, 0, "as /readyz")                                               \
    X(ROUTE_METRICS, "GET", "/metrics", true, 0, "Prometheus text")                                                   \
    X(ROUTE_OPENAPI, "GET", "/openapi.json", true, 0, "OpenAPI document (later release)")                             \
    X(ROUTE_VERSION, "GET", "/version", true, 0, "version and build")                                                 \
    X(ROUTE_PAGE, "GET", "/", true, 0, "the page (later release)")

enum route {
#define X(code, ...) code,
    ROUTE_TABLE(X)
#undef X
    ROUTE_COUNT
};

enum { ROUTE_ARGUMENT_BYTES = 256, ROUTE_ARGUMENTS = 3 };
struct route_match {
    enum route route;
    char arguments[ROUTE_ARGUMENTS][ROUTE_ARGUMENT_BYTES];    /* percent-decoded {…} values in order */
};

struct route_row { const char *method, *path; bool is_public; int body; const char *summary; };
const struct route_row *route_rows(void);

/* 0 and *match; or 404 (no such path), 405 (path known, method not: `allow` gets the list "GET, DELETE"). HEAD is
 * answered wherever GET is. Percent-decoding is strict: bad escapes, %00 and %2F in a placeholder are 404. {file}
 * takes the rest of the path ("initial/model.safetensors"); empty parts and parts "." and ".." are 404. */
int route_find(const char *method, const char *path, struct route_match *match, char allow[128]);

#endif
