/* lag grow: only expands a checkpoint; the result is a complete loadable directory. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"
#include "api/response.h"
#include "base/file.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "server/command.h"

struct growing {
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    enum moments_policy moments;
    uint64_t seed;
    double preservation;
    bool has_parent, has_list, has_plan, has_grown;
};

static void growing_fini(struct growing *growing)
{
    if (growing->has_grown)
        checkpoint_fini(&growing->grown);
    if (growing->has_plan)
        growth_plan_fini(&growing->plan);
    if (growing->has_list)
        growth_list_fini(&growing->list);
    if (growing->has_parent)
        checkpoint_fini(&growing->parent);
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
    memory_free(file);
    return error_wrap(error, "--operators");
}

static int grow(struct growing *growing, const struct options *options, struct error *error)
{
    struct checkpoint_load load = { .moments = growing->moments != MOMENTS_RESET };

    if (checkpoint_load(&growing->parent, options->values[OPTION_CHECKPOINT], &load, error))
        return (int)error->code;
    growing->has_parent = true;
    if (growth_plan_init(&growing->plan, &growing->parent.table.shape, &growing->list, error))
        return (int)error->code;
    growing->has_plan = true;
    if (growth_apply(&growing->plan, &growing->list, &growing->parent, growing->moments, growing->seed, &growing->grown,
                     error))
        return (int)error->code;
    growing->has_grown = true;
    if (options->values[OPTION_CHECK])
        return growth_preservation(&growing->parent, &growing->grown, kernels_cpu(), growing->seed,
                                   &growing->preservation, error);
    return 0;
}

static int save(const struct growing *growing, const char *directory, struct error *error)
{
    const struct provenance *provenance = &growing->grown.provenance;
    struct plain_card facts = { .shape = &growing->plan.to, .operators = &growing->list, .loss = (double)NAN,
                                .tokens_seen = provenance->tokens_seen };
    struct checkpoint_save options = { .moments = growing->grown.moments };
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
        checkpoint_save(&growing->grown, directory, &options, error);
    buffer_fini(&report);
    buffer_fini(&card);
    return (int)error->code;
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
    if (options->values[OPTION_DATA])
        error_set(error, ERROR_NOT_YET, "--data is for operators that learn, which arrive in a later release; leave it (and "
                  "LAG_DATA) out");
    if (moments_policy_parse(options->values[OPTION_MOMENTS], &growing.moments))
        error_set(error, ERROR_INVALID, "--moments must be reset, carry or old_only, not \"%.40s\"",
                  options->values[OPTION_MOMENTS]);
    if (!error->code && read_list(&growing, options->values[OPTION_OPERATORS], error) == 0
        && grow(&growing, options, error) == 0 && save(&growing, options->values[OPTION_OUT], error) == 0)
        tell(&growing, options, error);
    growing_fini(&growing);
    return 0;
}
