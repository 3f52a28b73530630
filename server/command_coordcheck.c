/* lag coordcheck: does an update change the function by as much at every size, under each parametrization? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/coordcheck.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "server/command.h"

enum { CHECKS_MAX = 2 * PARAMETRIZATION_COUNT };

struct asked {
    struct coordcheck_options common;
    int widths[COORDCHECK_SIZES_MAX], width_count, depths[COORDCHECK_SIZES_MAX], depth_count;
    enum parametrization parametrizations[PARAMETRIZATION_COUNT];
    int parametrization_count;
};

/* ---- values ---- */

static int read_base(const struct options *options, struct shape *base, struct error *error)
{
    const char *shape = options->values[OPTION_SHAPE], *checkpoint = options->values[OPTION_CHECKPOINT];
    char path[FILE_PATH_BYTES], *text = NULL;
    struct config config;
    size_t length;

    if (!shape == !checkpoint)
        return error_set(error, ERROR_INVALID, "give either --shape config.json or --checkpoint DIR");
    snprintf(path, sizeof path, shape ? "%s" : "%s/config.json", shape ? shape : checkpoint);
    if (file_read(path, CONFIG_LIMIT_BYTES, &text, &length, error))
        return (int)error->code;
    if (config_parse(&config, text, length, error) == 0) {
        *base = config.shape;
        config_fini(&config);
    }
    memory_free(text);
    return error_wrap(error, "%s", path);
}

static int read_sizes(const char *flag, const char *text, int sizes[COORDCHECK_SIZES_MAX], int *count, struct error *error)
{
    *count = 0;
    for (char *end; text && *text; text = *end == ',' ? end + 1 : end) {
        long value = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || value < 1 || value > 1 << 20 || *count == COORDCHECK_SIZES_MAX)
            return error_set(error, ERROR_INVALID, "--%s must be at most %d whole numbers with commas, as 64,128,256", flag,
                             COORDCHECK_SIZES_MAX);
        sizes[(*count)++] = (int)value;
    }
    return 0;
}

static int read_number(const struct options *options, enum option option, double *value, struct error *error)
{
    const char *text = options->values[option];
    char *end;

    if (!text)
        return 0;
    *value = strtod(text, &end);
    if (end == text || *end || !(*value > 0 && *value <= 1000))
        return error_set(error, ERROR_INVALID, "--%s must be a number above 0 and at most 1000, not \"%.40s\"",
                         option_flag(option), text);
    return 0;
}

static int read_parametrizations(struct asked *asked, const char *text, struct error *error)
{
    for (int i = 0; !text && i < PARAMETRIZATION_COUNT; i++)
        asked->parametrizations[asked->parametrization_count++] = (enum parametrization)i;
    while (text && *text) {
        char name[32];
        size_t length = strcspn(text, ",");

        snprintf(name, sizeof name, "%.*s", (int)length, text);
        if (asked->parametrization_count == PARAMETRIZATION_COUNT
            || parametrization_parse(name, &asked->parametrizations[asked->parametrization_count]))
            return error_set(error, ERROR_INVALID, "--parametrization must be some of standard, mup, completep, ntp, with commas");
        for (int i = 0; i < asked->parametrization_count; i++)
            if (asked->parametrizations[i] == asked->parametrizations[asked->parametrization_count])
                return error_set(error, ERROR_INVALID, "--parametrization names %s twice; name it once", name);
        asked->parametrization_count++;
        text += length + (text[length] == ',');
    }
    return 0;
}

static int read_optimizer(const char *text, enum optimizer_name *optimizer, struct error *error)
{
    *optimizer = text && strcmp(text, "sgd") == 0 ? OPTIMIZER_SGD : OPTIMIZER_ADAMW;
    if (text && strcmp(text, "sgd") != 0 && strcmp(text, "adamw") != 0)
        return error_set(error, ERROR_INVALID, "--optimizer must be adamw or sgd; the schedule-free ones have their laws");
    return 0;
}

static int read_asked(struct asked *asked, const struct options *options, struct error *error)
{
    struct coordcheck_options *common = &asked->common;
    uint64_t steps, seeds;

    common->kernels = kernels_cpu();
    common->tolerance = 0.2;
    if (read_base(options, &common->base, error)
        || read_optimizer(options->values[OPTION_OPTIMIZER], &common->optimizer, error)
        || option_count(options, OPTION_STEPS, 2, COORDCHECK_STEPS_MAX, 5, &steps, error)
        || option_count(options, OPTION_SEEDS, 1, COORDCHECK_SEEDS_MAX, 4, &seeds, error)
        || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, 1, &common->seed, error)
        || read_sizes("widths", options->values[OPTION_WIDTHS], asked->widths, &asked->width_count, error)
        || read_sizes("depths", options->values[OPTION_DEPTHS], asked->depths, &asked->depth_count, error)
        || read_parametrizations(asked, options->values[OPTION_PARAMETRIZATION], error))
        return (int)error->code;
    common->learning_rate = common->optimizer == OPTIMIZER_SGD ? 0.1 : 1e-3;
    common->steps = (int)steps;
    common->seeds = (int)seeds;
    for (int factor = 1; !options->values[OPTION_WIDTHS] && !asked->depth_count && factor <= 4; factor *= 2)
        asked->widths[asked->width_count++] = factor * common->base.width;
    return read_number(options, OPTION_LEARNING_RATE, &common->learning_rate, error);
}

/* ---- checks ---- */

static int run_axis(const struct asked *asked, enum coordcheck_axis axis, struct coordcheck *checks, int *count,
                    struct error *error)
{
    const int *sizes = axis == COORDCHECK_DEPTHS ? asked->depths : asked->widths;
    int size_count = axis == COORDCHECK_DEPTHS ? asked->depth_count : asked->width_count;
    struct coordcheck_options options = asked->common;

    options.axis = axis;
    options.size_count = size_count;
    memcpy(options.sizes, sizes, (size_t)size_count * sizeof *sizes);
    for (int i = 0; i < asked->parametrization_count && size_count && !error->code; i++) {
        options.parametrization = asked->parametrizations[i];
        fprintf(stderr, "%s over %d %s (%d of %d)\n", parametrization_name(options.parametrization), size_count,
                axis == COORDCHECK_DEPTHS ? "depths" : "widths", i + 1, asked->parametrization_count);
        if (coordcheck_run(&options, &checks[*count], error) == 0)
            (*count)++;
    }
    return error_wrap(error, "--%s", axis == COORDCHECK_DEPTHS ? "depths" : "widths");
}

/* Before minutes of work: a path that the plot can't be written to. */
static int check_out(const char *path, struct error *error)
{
    char parent[FILE_PATH_BYTES];
    const char *slash = path ? strrchr(path, '/') : NULL;

    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    if (path && (file_is_directory(path) || !file_is_directory(parent) || access(parent, W_OK)))
        return error_set(error, ERROR_INVALID, "--out %s: the plot is a file; name one in a directory that is there and can be "
                         "written to", path);
    return 0;
}

static int write_plot(const struct coordcheck *checks, int count, const char *path, struct error *error)
{
    struct buffer plot;

    if (!path)
        return 0;
    buffer_init(&plot);
    response_coordcheck_plot(&plot, checks, count);
    if (plot.failed)
        error_set(error, ERROR_NO_MEMORY, "drawing the plot: out of memory");
    else
        file_write(path, plot.data, plot.length, error);
    buffer_fini(&plot);
    return error_wrap(error, "--out %s", path);
}

static int show(const struct coordcheck *checks, int count, bool json, struct error *error)
{
    struct buffer text;

    buffer_init(&text);
    if (json) {
        response_coordcheck(&text, checks, count);
        buffer_text(&text, "\n");
    } else {
        response_coordcheck_text(&text, checks, count);
    }
    command_print(&text, error);
    buffer_fini(&text);
    return (int)error->code;
}

int command_coordcheck(const struct options *options, struct error *error)
{
    struct coordcheck *checks = memory_array(CHECKS_MAX, sizeof *checks);
    struct asked asked = { 0 };
    int count = 0;

    if (!checks)
        return error_set(error, ERROR_NO_MEMORY, "a coordinate check: out of memory"), 0;
    if (read_asked(&asked, options, error) == 0 && check_out(options->values[OPTION_OUT], error) == 0
        && run_axis(&asked, COORDCHECK_WIDTHS, checks, &count, error) == 0
        && run_axis(&asked, COORDCHECK_DEPTHS, checks, &count, error) == 0
        && show(checks, count, options->values[OPTION_JSON] != NULL, error) == 0)
        write_plot(checks, count, options->values[OPTION_OUT], error);
    memory_free(checks);
    return 0;
}
