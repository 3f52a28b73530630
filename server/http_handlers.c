/* One handler per route. All share one shape: read what the request has, call the service, reply. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/response.h"
#include "server/http_exchange.h"

enum { LIST_DEFAULT = 50, LIST_MOST = 1000, LOCATION_BYTES = 128 };

static int reply_json(struct exchange *exchange, int status, struct buffer *body)
{
    return reply_buffer(exchange, &(struct reply){.status = status, .type = "application/json"}, body);
}

static int reply_created(struct exchange *exchange, int status, const char *kind, struct buffer *body)
{
    char location[LOCATION_BYTES];
    struct reply reply = {.status = status, .type = "application/json", .headers = {{"Location", location}}};

    snprintf(location, sizeof location, "/v1/%s/%s", kind, exchange->id);
    if (exchange->existed && strcmp(kind, "studies") == 0)
        reply.headers[1] = (struct reply_header){"Idempotency-Replayed", "true"};
    return reply_buffer(exchange, &reply, body);
}

/* {"id": …} as the last resort: what was created is told even if it can't be shown. */
static void write_id(struct exchange *exchange, struct buffer *body)
{
    error_clear(&exchange->error);
    buffer_fini(body);
    buffer_init(body);
    buffer_text(body, "{\"id\":");
    buffer_json_string(body, exchange->id);
    buffer_text(body, "}\n");
}

/* ---- checkpoints and datasets */

static const char *kind_of(enum route route)
{
    const char *path = route_rows()[route].path;

    return strstr(path, "/checkpoints") ? "checkpoints" : strstr(path, "/datasets") ? "datasets" : "studies";
}

static int create_checkpoint(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_accept_checkpoint(service, upload_directory(exchange->upload), exchange_answered,
                                                              exchange));
}

static int create_dataset(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_accept_dataset(service, upload_train(exchange->upload), exchange_answered,
                                                           exchange));
}

static int created(struct exchange *exchange)
{
    const char *kind = kind_of(exchange->match.route);
    struct buffer body;

    buffer_init(&body);
    if (service_show(exchange->http->service, kind, exchange->id, &body, &exchange->error))
        write_id(exchange, &body);
    return reply_created(exchange, 201, kind, &body);
}

static int list(struct exchange *exchange)
{
    const char *kind = kind_of(exchange->match.route);
    char state[32], after[64];
    enum study_state_name parsed;
    uint64_t limit = LIST_DEFAULT;
    struct buffer body;
    int has_state = strcmp(kind, "studies") == 0 ? query_text(exchange, "state", state, sizeof state) : 0;
    int has_after = has_state < 0 ? 0 : query_text(exchange, "after", after, sizeof after);
    int code;

    if (has_state < 0 || has_after < 0)
        return exchange->error.code;
    if (has_state && study_state_parse(state, &parsed))
        return error_set_at(&exchange->error, ERROR_SYNTAX, "state", "\"%s\" is not a state; use queued, running, succeeded, "
                            "failed or cancelled", state);
    code = query_number(exchange, "limit", 1, LIST_MOST, false, &limit);
    if (code)
        return code;
    buffer_init(&body);
    code = service_list(exchange->http->service, kind, has_state ? state : NULL, (int)limit, has_after ? after : NULL, &body,
                        &exchange->error);
    if (code) {
        buffer_fini(&body);
        return code;
    }
    return reply_json(exchange, 200, &body);
}

static int show(struct exchange *exchange)
{
    struct buffer body;
    int code;

    buffer_init(&body);
    code = service_show(exchange->http->service, kind_of(exchange->match.route), exchange->match.arguments[0], &body,
                        &exchange->error);
    if (code) {
        buffer_fini(&body);
        return code;
    }
    return reply_json(exchange, 200, &body);
}

static int delete_one(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_delete(service, kind_of(exchange->match.route), exchange->match.arguments[0],
                                                   exchange_answered, exchange));
}

static int deleted(struct exchange *exchange)
{
    static char nothing[1];

    return reply_response(exchange, &(struct reply){.status = 204},
                          MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT));
}

/* ---- studies */

/* NULL in *key when there is none. */
static int idempotency_key(struct exchange *exchange, const char **key)
{
    const char *given = exchange_header(exchange, "Idempotency-Key");
    const size_t length = given ? strlen(given) : 1;

    *key = given;
    if (length == 0 || length > EXCHANGE_KEY_MAX)
        return error_set(&exchange->error, ERROR_SYNTAX, "Idempotency-Key must have 1 to %d characters", EXCHANGE_KEY_MAX);
    for (size_t i = 0; given && i < length; i++)
        if (given[i] < ' ' || given[i] > '~')
            return error_set(&exchange->error, ERROR_SYNTAX, "Idempotency-Key must be printable ASCII");
    return 0;
}

static int create_study(struct exchange *exchange)
{
    const struct upload *upload = exchange->upload;
    const struct buffer *body = upload ? upload_study(upload) : &exchange->body;
    struct study_submission submission = {.body = body->data ? body->data : "", .body_length = body->length};
    int code = idempotency_key(exchange, &submission.idempotency_key);

    if (code)
        return code;
    if (upload) {
        submission.checkpoint_directory = upload_checkpoint(upload)[0] ? upload_checkpoint(upload) : NULL;
        submission.train_file = upload_train(upload)[0] ? upload_train(upload) : NULL;
        submission.valid_file = upload_valid(upload)[0] ? upload_valid(upload) : NULL;
    }
    return exchange_await(exchange, service_submit(exchange->http->service, &submission, exchange_answered, exchange));
}

static int accepted_study(struct exchange *exchange)
{
    struct buffer body;
    bool ended = false;

    buffer_init(&body);
    if (service_study_json(exchange->http->service, exchange->id, &body, &ended, &exchange->error))
        write_id(exchange, &body);
    return reply_created(exchange, 202, "studies", &body);
}

static int validate(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_validate(service, exchange->body.data ? exchange->body.data : "",
                                                     exchange->body.length, exchange_answered_text, exchange));
}

static int validated(struct exchange *exchange)
{
    struct buffer body;

    buffer_init(&body);
    if (exchange->text)
        buffer_append(&body, exchange->text, exchange->text_length);
    return reply_json(exchange, 200, &body);
}

static int cancel(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_cancel(service, exchange->match.arguments[0], exchange_answered, exchange));
}

static int resume(struct exchange *exchange)
{
    struct service *service = exchange->http->service;

    return exchange_await(exchange, service_resume(service, exchange->match.arguments[0], exchange_answered, exchange));
}

static int changed(struct exchange *exchange)
{
    memcpy(exchange->id, exchange->match.arguments[0], sizeof exchange->id - 1);
    return accepted_study(exchange);
}

static int document(struct exchange *exchange)
{
    static const struct { enum route route; const char *what, *type; } rows[] = {
        {ROUTE_STUDY_CURVES_CSV, "curves.csv", "text/csv; charset=utf-8"},
        {ROUTE_STUDY_CURVES_JSON, "curves.json", "application/json"},
        {ROUTE_STUDY_PLOT, "plot.svg", "image/svg+xml"},
        {ROUTE_STUDY_REPORT, "report.html", "text/html; charset=utf-8"},
    };
    struct buffer body;
    size_t i = 0;
    int code;

    while (rows[i].route != exchange->match.route)
        i++;
    buffer_init(&body);
    code = service_study_document(exchange->http->service, exchange->match.arguments[0], rows[i].what, &body,
                                  &exchange->error);
    if (code) {
        buffer_fini(&body);
        return code;
    }
    return reply_buffer(exchange, &(struct reply){.status = 200, .type = rows[i].type}, &body);
}

/* ---- tables, health, numbers */

static int tables(struct exchange *exchange)
{
    struct buffer body;

    buffer_init(&body);
    if (exchange->match.route == ROUTE_OPERATORS)
        response_operators(&body);
    else if (exchange->match.route == ROUTE_OPTIMIZERS)
        response_optimizers(&body);
    else
        response_schedules(&body);
    return reply_json(exchange, 200, &body);
}

static int reply_text(struct exchange *exchange, int status, struct buffer *body)
{
    return reply_buffer(exchange, &(struct reply){.status = status, .type = "text/plain; charset=utf-8"}, body);
}

static int live(struct exchange *exchange)
{
    struct buffer body;

    buffer_init(&body);
    buffer_text(&body, "ok\n");
    return reply_text(exchange, 200, &body);
}

static int ready(struct exchange *exchange)
{
    char reason[256] = "the server stops", ignored[8];
    const bool is_ready = !exchange->http->stopping && service_ready(exchange->http->service, reason);
    const int verbose = query_text(exchange, "verbose", ignored, sizeof ignored);
    struct buffer body;

    error_clear(&exchange->error);        /* whatever ?verbose= says, it is asked for */
    if (!is_ready && verbose == 0)
        return error_set(&exchange->error, ERROR_UNAVAILABLE, "Not ready: %s", reason);
    buffer_init(&body);
    if (verbose)
        service_ready_verbose(exchange->http->service, &body);
    else
        buffer_text(&body, "ok\n");
    return reply_text(exchange, is_ready ? 200 : 503, &body);
}

static int metrics(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct service_counts counts;
    struct buffer body;

    memset(&counts, 0, sizeof counts);
    service_counts(http->service, &counts);
    http->metrics->suspended = http->suspended_count;
    buffer_init(&body);
    metrics_write(http->metrics, &counts, http->options.version, &body);
    metrics_write_process(&body);
    return reply_buffer(exchange, &(struct reply){.status = 200, .type = "text/plain; version=0.0.4; charset=utf-8"}, &body);
}

static int version(struct exchange *exchange)
{
    struct buffer body;

    buffer_init(&body);
    buffer_text(&body, "{\"name\":\"lag\",\"version\":");
    buffer_json_string(&body, exchange->http->options.version);
    buffer_text(&body, "}\n");
    return reply_json(exchange, 200, &body);
}

/* Refused in http_checks.c before they get here; a row without a handler would be a hole. */
static int later(struct exchange *exchange)
{
    return error_set(&exchange->error, ERROR_NOT_YET, "This comes with a later release");
}

static const struct handler HANDLERS[ROUTE_COUNT] = {
    [ROUTE_CHECKPOINT_CREATE] = {create_checkpoint, created},
    [ROUTE_CHECKPOINT_LIST] = {list, NULL},
    [ROUTE_CHECKPOINT_SHOW] = {show, NULL},
    [ROUTE_CHECKPOINT_DELETE] = {delete_one, deleted},
    [ROUTE_DATASET_CREATE] = {create_dataset, created},
    [ROUTE_DATASET_LIST] = {list, NULL},
    [ROUTE_DATASET_SHOW] = {show, NULL},
    [ROUTE_DATASET_PATCH] = {later, NULL},
    [ROUTE_DATASET_HEAD] = {later, NULL},
    [ROUTE_DATASET_DELETE] = {delete_one, deleted},
    [ROUTE_STUDY_CREATE] = {create_study, accepted_study},
    [ROUTE_STUDY_VALIDATE] = {validate, validated},
    [ROUTE_STUDY_LIST] = {list, NULL},
    [ROUTE_STUDY_SHOW] = {handle_study_show, handle_study_wait},
    [ROUTE_STUDY_CANCEL] = {cancel, changed},
    [ROUTE_STUDY_RESUME] = {resume, changed},
    [ROUTE_STUDY_DELETE] = {delete_one, deleted},
    [ROUTE_STUDY_EVENTS] = {handle_study_events, NULL},
    [ROUTE_STUDY_CURVES_CSV] = {document, NULL},
    [ROUTE_STUDY_CURVES_JSON] = {document, NULL},
    [ROUTE_STUDY_PLOT] = {document, NULL},
    [ROUTE_STUDY_REPORT] = {document, NULL},
    [ROUTE_CANDIDATE_FILE] = {handle_candidate_file, NULL},
    [ROUTE_OPERATORS] = {tables, NULL},
    [ROUTE_OPTIMIZERS] = {tables, NULL},
    [ROUTE_SCHEDULES] = {tables, NULL},
    [ROUTE_LIVEZ] = {live, NULL},
    [ROUTE_READYZ] = {ready, NULL},
    [ROUTE_HEALTH] = {ready, NULL},
    [ROUTE_V2_LIVE] = {live, NULL},
    [ROUTE_V2_READY] = {ready, NULL},
    [ROUTE_METRICS] = {metrics, NULL},
    [ROUTE_OPENAPI] = {later, NULL},
    [ROUTE_VERSION] = {version, NULL},
    [ROUTE_PAGE] = {later, NULL},
};

const struct handler *handler_of(enum route route)
{
    return &HANDLERS[route];
}
