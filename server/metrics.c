#include "server/metrics.h"

#include <math.h>
#include <string.h>

#include "server/service.h"

static const double BOUNDS[METRICS_BOUNDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                              0.5,   1,      2.5,   5,    10,    30,   60};
/* 0: every other status. */
static const int STATUSES[METRICS_STATUSES] = {200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 409,
                                               411, 413, 415, 416, 422, 429, 499, 500, 501, 503, 507, 0};
static const struct { const char *name, *help; } HISTOGRAMS[] = {
#define X(code, name, help) {name, help},
    METRICS_HISTOGRAMS(X)
#undef X
};

void metrics_init(struct metrics *metrics)
{
    memset(metrics, 0, sizeof *metrics);
}

void metrics_observe(struct metrics *metrics, enum metrics_histogram which, double seconds)
{
    struct histogram *histogram = &metrics->histograms[which];
    int i = 0;

    if (!isfinite(seconds))
        return;
    while (i < METRICS_BOUNDS && seconds > BOUNDS[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += seconds;
}

void metrics_request(struct metrics *metrics, enum route route, int status)
{
    int i = 0;

    while (i < METRICS_STATUSES - 1 && STATUSES[i] != status)
        i++;
    metrics->requests[route][i]++;
}

void metrics_reject(struct metrics *metrics, enum error_code reason)
{
    metrics->rejected[reason]++;
}

/* A label's value: backslash, quote and newline escaped as the text format asks. */
static void write_label(struct buffer *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            buffer_text(out, "\\n");
        else if (*text == '\\' || *text == '"')
            buffer_format(out, "\\%c", *text);
        else
            buffer_append(out, text, 1);
    }
}

static void write_head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_number(struct buffer *out, const char *name, const char *type, const char *help, double value)
{
    write_head(out, name, type, help);
    buffer_format(out, "%s %.17g\n", name, value);
}

static void write_histogram(struct buffer *out, const char *name, const char *help, const struct histogram *histogram)
{
    uint64_t total = 0;

    write_head(out, name, "histogram", help);
    for (int i = 0; i < METRICS_BOUNDS; i++) {
        total += histogram->counts[i];
        buffer_format(out, "%s_bucket{le=\"%g\"} %llu\n", name, BOUNDS[i], (unsigned long long)total);
    }
    total += histogram->counts[METRICS_BOUNDS];
    buffer_format(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, (unsigned long long)total,
                  name, histogram->sum, name, (unsigned long long)total);
}

static void write_requests(const struct metrics *metrics, struct buffer *out)
{
    const struct route_row *rows = route_rows();

    write_head(out, "lag_http_requests_total", "counter", "requests answered, by route and code (499: client left)");
    for (int route = 0; route <= ROUTE_COUNT; route++)
        for (int i = 0; i < METRICS_STATUSES; i++)
            if (metrics->requests[route][i] > 0)
                buffer_format(out, "lag_http_requests_total{method=\"%s\",route=\"%s\",code=\"%d\"} %llu\n",
                              route < ROUTE_COUNT ? rows[route].method : "",
                              route < ROUTE_COUNT ? rows[route].path : "none", STATUSES[i],
                              (unsigned long long)metrics->requests[route][i]);
    write_head(out, "lag_http_rejected_total", "counter", "requests refused, by reason");
    for (int i = 1; i < ERROR_CODE_COUNT; i++)
        buffer_format(out, "lag_http_rejected_total{reason=\"%s\"} %llu\n", error_word((enum error_code)i),
                      (unsigned long long)metrics->rejected[i]);
    write_number(out, "lag_http_connections", "gauge", "open connections", metrics->connections);
    write_number(out, "lag_http_suspended", "gauge", "connections that wait or stream events", metrics->suspended);
    write_number(out, "lag_uploads_total", "counter", "uploads received whole", (double)metrics->uploads);
    write_number(out, "lag_upload_bytes_total", "counter", "bytes of uploads", (double)metrics->upload_bytes);
}

static void write_states(const struct service_counts *counts, struct buffer *out)
{
    write_head(out, "lag_studies", "gauge", "studies by state");
    for (int i = 0; i < STUDY_STATE_COUNT; i++)
        buffer_format(out, "lag_studies{state=\"%s\"} %d\n", study_state_text((enum study_state_name)i),
                      counts->studies[i]);
    write_head(out, "lag_candidates", "gauge", "candidates by state");
    for (int i = 0; i < CANDIDATE_STATE_COUNT; i++)
        buffer_format(out, "lag_candidates{state=\"%s\"} %d\n", candidate_state_text((enum candidate_state_name)i),
                      counts->candidates[i]);
}

static void write_counts(const struct service_counts *counts, struct buffer *out)
{
    const struct { const char *name, *type, *help; double value; } rows[] = {
        {"lag_steps_total", "counter", "training steps done", (double)counts->steps},
        {"lag_tokens_total", "counter", "tokens trained on", (double)counts->tokens},
        {"lag_flops_total", "counter", "floating point operations of training", counts->flops},
        {"lag_points_total", "counter", "evaluation points recorded", (double)counts->points},
        {"lag_train_seconds_total", "counter", "worker time in training", counts->train_seconds},
        {"lag_evaluate_seconds_total", "counter", "worker time in evaluation", counts->evaluate_seconds},
        {"lag_commit_seconds_total", "counter", "time in durable commits", counts->commit_seconds},
        {"lag_recovered_studies_total", "counter", "studies taken up again after a start",
         (double)counts->recovered_studies},
        {"lag_workers", "gauge", "training workers", counts->workers},
        {"lag_workers_busy", "gauge", "workers that hold a slice", counts->workers_busy},
        {"lag_memory_limit_bytes", "gauge", "limit of training memory", (double)counts->memory_limit},
        {"lag_memory_used_bytes", "gauge", "training memory in use", (double)counts->memory_used},
        {"lag_store_bytes", "gauge", "bytes of the store", (double)counts->store_bytes},
        {"lag_store_free_bytes", "gauge", "bytes free on the store's file system", (double)counts->store_free_bytes},
    };

    write_states(counts, out);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        write_number(out, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
}

void metrics_write(const struct metrics *metrics, const struct service_counts *counts, const char *version,
                   struct buffer *out)
{
    write_head(out, "lag_build_info", "gauge", "constant 1; the labels say what runs");
    buffer_text(out, "lag_build_info{version=\"");
    write_label(out, version);
    buffer_text(out, "\"} 1\n");
    write_counts(counts, out);
    for (int i = 0; i < METRICS_HISTOGRAM_COUNT; i++)
        write_histogram(out, HISTOGRAMS[i].name, HISTOGRAMS[i].help, &metrics->histograms[i]);
    write_requests(metrics, out);
}
