/* lag grow: only expands a checkpoint; the result is a complete loadable directory. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"
#include "api/response.h"
#include "base/file.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "growth/stream.h"
#include "server/command.h"
#include "server/learning.h"
#include "server/partners.h"

enum { SHARD_GIGABYTES = 5 };                 /* as save_pretrained cuts */
static const uint64_t SHARD_BYTES = SHARD_GIGABYTES * (uint64_t)1000000000;

struct growing {
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    enum moments_policy moments;
    uint64_t seed;
    double preservation;
    double rounded;                           /* the same from the files, if they hold 16 bits; else NAN */
    struct partners partners;                 /* that operators name (fuse) */
    struct checkpoint_source source;
    struct provenance provenance;
    struct learning learning;                 /* the data of operators that learn */
    bool carries;                             /* there are moments, and they are to be grown */
    bool learns;                              /* an operator does; then it is grown in memory */
    bool has_source, has_parent, has_list, has_plan, has_grown;
};

static void growing_fini(struct growing *growing)
{
    if (growing->has_grown)
        checkpoint_fini(&growing->grown);
    if (growing->has_plan)
        growth_plan_fini(&growing->plan);
    if (growing->has_list)
        growth_list_fini(&growing->list);
    partners_fini(&growing->partners);
    if (growing->has_parent)
        checkpoint_fini(&growing->parent);
    if (growing->has_source)
        checkpoint_source_close(&growing->source);
    learning_close(&growing->learning);
}

static int read_list(struct growing *growing, const char *text, struct error *error)
{
    char *file = NULL;
    size_t length = strlen(text);

    if (text[0] != '[' && text[0] != '{') {       /* a file */
        if (file_read(text, 1 << 20, &file, &length, error))
            return error_wrap(error, "--operators is no JSON list, so it was read as a file");
        text = file;
    }
    if (request_operators(text, length, &growing->list, error) == 0)
        growing->has_list = true;
    else
        error_prefix_pointer(error, "/operators");
    memory_free(file);
    return error_wrap(error, "--operators");
}

/* Further checkpoints are paths here, as --checkpoint is. */
static int read_partners(struct growing *growing, struct error *error)
{
    struct growth_list *list = &growing->list;
    char prefix[32];
    int code = partners_init(&growing->partners, list->count, error);

    for (int i = 0; i < list->count && !code; i++) {
        struct growth_step *step = &list->steps[i];
        const char *directory = growth_step_reference(step);
        if (!directory)
            continue;
        code = partners_add(&growing->partners, directory, growing->moments != MOMENTS_RESET, error);
        if (!code && (code = growth_step_join(step, &growing->partners.of[growing->partners.count - 1], error))) {
            snprintf(prefix, sizeof prefix, "/operators/%d", i);
            error_prefix_pointer(error, prefix);
        }
        if (code)
            return error_wrap(error, "--operators, operator %d (%s)", i, step->op->name);
    }
    return code;
}

/* Shape and files, without weights. */
static int open_source(struct growing *growing, const char *directory, struct error *error)
{
    char path[FILE_PATH_BYTES];

    if (checkpoint_source_open(&growing->source, directory, error))
        return (int)error->code;
    growing->has_source = true;
    if (provenance_read(&growing->provenance, directory, error)
        || file_join(path, directory, CHECKPOINT_OPTIMIZER_FILE, error))
        return (int)error->code;
    growing->carries = growing->moments != MOMENTS_RESET && file_exists(path);
    if (read_partners(growing, error)
        || growth_plan_init(&growing->plan, &growing->source.table.shape, &growing->list, error))
        return (int)error->code;
    growing->has_plan = true;
    if (growing->plan.ramp_steps > 0)
        return error_set_at(error, ERROR_INVALID, "/operators", "--operators: masks rise over the first %llu steps of "
                            "training; before their end the model has no standard file, and nothing is trained here: use lag "
                            "run, or operators without ramp_steps (identity, zero_pad)",
                            (unsigned long long)growing->plan.ramp_steps);
    return 0;
}

static int open_learning(struct growing *growing, const struct options *options, struct error *error)
{
    const struct learning_files files = { options->values[OPTION_DATA], options->values[OPTION_TRAINING] };
    const char *data = files.data;
    int stage = growth_plan_learns(&growing->plan);

    growing->learns = stage >= 0;
    if (growing->learns && !data)
        return error_set(error, ERROR_INVALID, "--operators, operator %d (%s) learns from data: give --data FILE, tokens or a "
                         ".json file with a study's data object", stage, growing->list.steps[stage].op->name);
    if (!growing->learns && (data || files.training))
        return error_set(error, ERROR_INVALID, "--%s is for operators that learn (ligo), and none of these does; leave it "
                         "(and LAG_%s) out", data ? "data" : "training", data ? "DATA" : "TRAINING");
    if (!data)
        return 0;
    if (learning_open(&growing->learning, &files, &growing->source.table.shape,
                      options->given[OPTION_SEED] ? &growing->seed : NULL, error))
        return (int)error->code;
    growing->seed = growing->learning.fit.training.seed;
    return 0;
}

/* In memory: for operators that learn, for moments, which grow with the weights, and to compare what parent and grown model
 * compute. */
static int grow_in_memory(struct growing *growing, const char *directory, struct error *error)
{
    struct checkpoint_load load = { .moments = growing->carries };
    struct growth_learner learner = ligo_fit_learner(&growing->learning.fit);
    struct growth_options with = { .moments = growing->moments, .seed = growing->seed,
                                   .learner = growing->learns ? &learner : NULL };

    if (checkpoint_load(&growing->parent, directory, &load, error))
        return (int)error->code;
    growing->has_parent = true;
    if (growth_apply_with(&growing->plan, &growing->list, &growing->parent, &with, &growing->grown, error))
        return (int)error->code;
    growing->has_grown = true;
    return 0;
}

static int write_model(struct growing *growing, const char *directory, struct checkpoint_save *options,
                       struct error *error)
{
    struct growth_stream *stream;

    if (growing->has_grown) {
        options->moments = growing->grown.moments;
        return checkpoint_save(&growing->grown, directory, options, error);
    }
    if (growth_stream_new(&stream, &growing->plan, &growing->list, &growing->source, growing->seed, error) == 0)
        growth_stream_save(stream, directory, options, error);
    growth_stream_free(stream);
    return (int)error->code;
}

static int save(struct growing *growing, const char *directory, struct error *error)
{
    const struct provenance *provenance = &growing->provenance;
    struct plain_card facts = { .shape = &growing->plan.to, .operators = &growing->list, .loss = (double)NAN,
                                .tokens_seen = provenance->tokens_seen };
    struct checkpoint_save options = { .shard_bytes = SHARD_BYTES };
    struct buffer report, card;

    buffer_init(&report);
    buffer_format(&report, "{\"training\":{\"step\":0,\"tokens_seen\":%llu,\"data_cursor\":%llu,\"seed\":%llu},\"operators\":",
                  (unsigned long long)provenance->tokens_seen, (unsigned long long)provenance->data_cursor,
                  (unsigned long long)growing->seed);
    growth_list_json(&growing->list, &report);
    buffer_text(&report, ",\"plan\":");
    growth_plan_json(&growing->plan, &report);
    buffer_text(&report, "}\n");
    options.report = report.data;
    buffer_init(&card);
    response_plain_card(&card, &facts);
    options.card = card.data;
    if (report.failed || card.failed)
        error_set(error, ERROR_NO_MEMORY, "writing the grown checkpoint: out of memory");
    else
        write_model(growing, directory, &options, error);
    buffer_fini(&report);
    buffer_fini(&card);
    return (int)error->code;
}

/* Of the grown model, and of its files apart where they are rounded to 16 bits. */
static int measure_preservation(struct growing *growing, const char *written, struct error *error)
{
    struct checkpoint files;

    growing->rounded = (double)NAN;
    if (growth_preservation(&growing->parent, &growing->grown, kernels_cpu(), growing->seed, &growing->preservation, error)
        || growing->grown.dtype == DTYPE_F32)
        return (int)error->code;
    if (checkpoint_load(&files, written, &(struct checkpoint_load){ 0 }, error))
        return (int)error->code;
    growth_preservation(&growing->parent, &files, kernels_cpu(), growing->seed, &growing->rounded, error);
    checkpoint_fini(&files);
    return (int)error->code;
}

static int grow(struct growing *growing, const struct options *options, struct error *error)
{
    const char *directory = options->values[OPTION_CHECKPOINT];

    if (open_source(growing, directory, error) || open_learning(growing, options, error)
        || ((growing->carries || growing->learns) && grow_in_memory(growing, directory, error))
        || save(growing, options->values[OPTION_OUT], error))
        return (int)error->code;
    if (!options->values[OPTION_CHECK])
        return 0;
    if (!growing->has_grown && grow_in_memory(growing, directory, error))
        return (int)error->code;
    return measure_preservation(growing, options->values[OPTION_OUT], error);
}

static void tell(const struct growing *growing, const struct options *options, struct error *error)
{
    const struct shape *from = &growing->plan.from, *to = &growing->plan.to;
    struct buffer out;

    buffer_init(&out);
    if (options->values[OPTION_JSON]) {
        buffer_format(&out, "{\"parameters\":%llu,\"preservation\":", (unsigned long long)shape_parameters(to));
        if (options->values[OPTION_CHECK])
            buffer_format(&out, "%.9g", growing->preservation);
        else
            buffer_text(&out, "null");
        if (options->values[OPTION_CHECK] && !isnan(growing->rounded))
            buffer_format(&out, ",\"preservation_in_files\":%.9g", growing->rounded);
        buffer_text(&out, ",\"plan\":");
        growth_plan_json(&growing->plan, &out);
        buffer_text(&out, "}\n");
    } else {
        buffer_format(&out, "%d layers x %d -> %d layers x %d, %llu -> %llu parameters, in %s\n",
                      from->layers + from->decoder_layers, from->width, to->layers + to->decoder_layers, to->width,
                      (unsigned long long)shape_parameters(from),
                      (unsigned long long)shape_parameters(to), options->values[OPTION_OUT]);
        if (options->values[OPTION_CHECK])
            buffer_format(&out, "largest difference of logits: %.3g of their scale%s\n", growing->preservation,
                          growing->plan.promise == PROMISE_EXACT ? " (promised: at most 1e-4)"
                                                                 : " (these operators promise nothing)");
        if (options->values[OPTION_CHECK] && !isnan(growing->rounded))
            buffer_format(&out, "the same from the files, whose numbers have 16 bits: %.3g\n", growing->rounded);
    }
    for (int i = 0; i < growing->plan.warning_count; i++)
        fprintf(stderr, "warning: %s\n", growing->plan.warnings[i]);
    command_print(&out, error);
    buffer_fini(&out);
}

int command_grow(const struct options *options, struct error *error)
{
    struct growing growing = { 0 };

    if (option_required(options, OPTION_CHECKPOINT, error) || option_required(options, OPTION_OPERATORS, error)
        || option_required(options, OPTION_OUT, error)
        || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, 1, &growing.seed, error))
        return 0;
    if (moments_policy_parse(options->values[OPTION_MOMENTS], &growing.moments))
        error_set(error, ERROR_INVALID, "--moments must be reset, carry or old_only, not \"%.40s\"",
                  options->values[OPTION_MOMENTS]);
    if (!error->code && read_list(&growing, options->values[OPTION_OPERATORS], error) == 0
        && grow(&growing, options, error) == 0)
        tell(&growing, options, error);
    growing_fini(&growing);
    return 0;
}
