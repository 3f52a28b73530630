/* lag replay: applies selection rules to saved curves, and judges them where the truth is known. */
#include <math.h>
#include <string.h>

#include "api/curves.h"
#include "api/replay.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/command.h"

enum { TRUTHS_MAX = 64, RESAMPLES_MAX = 1000000 };

static int read_curves(const char *path, struct replay *replay, struct error *error)
{
    char *text = NULL;
    size_t length = 0;

    if (file_read(path, CURVES_BYTES_MAX, &text, &length, error) == 0 && curves_read(text, length, replay, error))
        error_wrap(error, "%s", path);
    memory_free(text);
    return (int)error->code;
}

static int read_finals(const char *path, const struct replay *replay, double *finals, struct error *error)
{
    char *text = NULL;
    size_t length = 0;

    if (file_read(path, CURVES_BYTES_MAX, &text, &length, error) == 0
        && curves_read_finals(text, length, replay, finals, error))
        error_wrap(error, "%s", path);
    memory_free(text);
    return error_wrap(error, "--truth");
}

/* Files with commas between them: one run each. */
static int read_truth(const char *paths, const struct replay *replay, struct truth *truth, struct error *error)
{
    double (*runs)[SPEC_CANDIDATES_MAX] = memory_array(TRUTHS_MAX, sizeof *runs);
    char *copy = memory_string(paths), *rest = copy;
    int count = 0;

    if (!runs || !copy)
        error_set(error, ERROR_NO_MEMORY, "no memory for the truth");
    for (char *path = copy; path && !error->code; path = rest) {
        rest = strchr(path, ',');
        if (rest)
            *rest++ = '\0';
        if (count == TRUTHS_MAX)
            error_set(error, ERROR_INVALID, "--truth takes at most %d files", TRUTHS_MAX);
        else
            read_finals(path, replay, runs[count++], error);
    }
    if (!error->code)
        truth_from_runs(truth, (const double (*)[SPEC_CANDIDATES_MAX])runs, count, replay->spec.candidate_count);
    memory_free(copy);
    memory_free(runs);
    return (int)error->code;
}

static const struct rule_row *rule_wanted(const char *name, struct error *error)
{
    struct buffer names;
    const struct rule_row *row = rule_find(name);

    if (row)
        return row;
    buffer_init(&names);
    for (row = rule_rows(); row->name; row++)
        buffer_format(&names, "%s%s", row == rule_rows() ? "" : ", ", row->name);
    error_set(error, ERROR_INVALID, "--rule: there is no rule \"%.60s\"; the rules are %s", name,
              names.data ? names.data : "");
    buffer_fini(&names);
    return NULL;
}

/* Without --max-k the default cap of a study; without --step where the study's own rule stops, so that all rules are seen
 * at equal budget. */
static int settings_resolve(const struct options *options, const struct replay *replay, struct rule_settings *settings,
                            struct error *error)
{
    uint64_t horizon = replay->spec.training.steps, twentieth = (horizon + 19) / 20;
    uint64_t cap = twentieth > 1000 ? twentieth : 1000;
    struct rule_answer answer;

    if (option_count(options, OPTION_MAX_K, 1, 1000000000, cap < horizon ? cap : horizon, &settings->cap, error)
        || option_count(options, OPTION_STEP, 1, 1000000000, 0, &settings->step, error)
        || option_count(options, OPTION_SEED, 0, UINT64_MAX >> 11, replay->spec.training.seed, &settings->seed, error))
        return (int)error->code;
    if (settings->step == 0) {
        if (rule_apply(rule_find("agreement"), replay, settings, &answer, error))
            return (int)error->code;
        settings->step = answer.step;
    }
    return 0;
}

static int replay_rules(const struct options *options, struct replay_view *view, struct buffer *out, struct error *error)
{
    int count = 0;
    const struct rule_row *only = NULL, *row;

    if (options->values[OPTION_RULE] && !(only = rule_wanted(options->values[OPTION_RULE], error)))
        return (int)error->code;
    for (row = rule_rows(); row->name; row++)
        count++;
    struct replay_row *rows = memory_array((size_t)count, sizeof *rows);
    if (!rows)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %d rules", count);
    view->rows = rows;
    for (row = only ? only : rule_rows(); row->name && !error->code; row++) {
        struct replay_row *filled = &rows[view->row_count++];

        filled->rule = row;
        if (rule_apply(row, view->replay, &view->settings, &filled->answer, error) == 0 && view->truth)
            filled->judgement = judge(&filled->answer, view->truth);
        if (only)
            break;
    }
    if (!error->code)
        (options->values[OPTION_JSON] ? response_replay_json : response_replay_text)(out, view);
    memory_free(rows);
    return (int)error->code;
}

static int replay_calibration(const struct options *options, const struct replay_view *view, uint64_t draws,
                              struct buffer *out, struct error *error)
{
    const struct rule_row *rule = rule_wanted(options->values[OPTION_RULE] ? options->values[OPTION_RULE] : "agreement", error);
    struct calibration_view calibration = { .replay = view->replay, .rule = rule };

    if (!rule)
        return (int)error->code;
    if (!view->truth)
        return error_set(error, ERROR_INVALID, "--resample needs --truth, to say what was right");
    struct calibration *rows = memory_array(draws, sizeof *rows);
    if (!rows)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %llu replays", (unsigned long long)draws);
    calibration.rows = rows;
    for (uint64_t draw = 0; draw < draws && !error->code; draw++)
        if (calibrate(rule, view->replay, view->truth, &view->settings, draw, &rows[calibration.row_count], error) == 0)
            calibration.row_count++;
    if (!error->code)
        (options->values[OPTION_JSON] ? response_calibration_json : response_calibration_text)(out, &calibration);
    memory_free(rows);
    return (int)error->code;
}

static int replay_all(const struct options *options, const struct replay *replay, struct buffer *out, struct error *error)
{
    struct replay_view view = { .replay = replay };
    struct truth truth;
    uint64_t draws = 0;

    if (options->values[OPTION_TRUTH]) {
        if (read_truth(options->values[OPTION_TRUTH], replay, &truth, error))
            return (int)error->code;
        view.truth = &truth;
    }
    if (settings_resolve(options, replay, &view.settings, error)
        || option_count(options, OPTION_RESAMPLE, 1, RESAMPLES_MAX, 0, &draws, error))
        return (int)error->code;
    return draws ? replay_calibration(options, &view, draws, out, error) : replay_rules(options, &view, out, error);
}

int command_replay(const struct options *options, struct error *error)
{
    struct replay replay;
    struct buffer out;

    if (read_curves(options->arguments[0], &replay, error))
        return 0;
    buffer_init(&out);
    if (replay_all(options, &replay, &out, error) == 0)
        command_print(&out, error);
    buffer_fini(&out);
    replay_fini(&replay);
    return 0;
}
