/* lag eval: mean loss, perplexity, standard error of a checkpoint on tokens. Defaults come from the checkpoint's
 * lag_report.json, so that a study's reported loss is reproduced by naming only the files. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/json.h"
#include "api/report.h"
#include "api/response.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "server/command.h"
#include "server/data_file.h"
#include "trainer/trial.h"

struct evaluating {
    struct checkpoint checkpoint;
    struct corpus corpus;
    struct report_data data;           /* from lag_report.json, or the defaults */
    struct data_file file;
    enum corpus_format format;
    uint64_t context, valid_tokens, seed;
    bool has_checkpoint, has_corpus;
};

static int read_format(struct evaluating *evaluating, const struct options *options, struct error *error)
{
    const char *text = options->values[OPTION_FORMAT];

    evaluating->format = evaluating->file.data.format != CORPUS_AUTO ? evaluating->file.data.format : evaluating->data.format;
    if (text && corpus_format_parse(text, &evaluating->format))
        return error_set(error, ERROR_INVALID, "--format must be auto, bytes, u16, u32, llmc, npy or safetensors, not "
                         "\"%.40s\"", text);
    return 0;
}

static int read_report(struct evaluating *evaluating, const char *directory, struct error *error)
{
    const struct shape *shape = &evaluating->checkpoint.table.shape;
    char path[FILE_PATH_BYTES], *text = NULL;
    size_t length = 0;

    if (file_join(path, directory, "lag_report.json", error))
        return (int)error->code;
    if (file_exists(path) && file_read(path, 1 << 20, &text, &length, error))
        return (int)error->code;
    report_parse(text, length, shape, &evaluating->data, error);
    memory_free(text);
    return (int)error->code;
}

static int open_all(struct evaluating *evaluating, const struct options *options, struct error *error)
{
    struct checkpoint_load load = { 0 };
    const char *directory = options->values[OPTION_CHECKPOINT], *path;
    const struct shape *shape;

    if (checkpoint_load(&evaluating->checkpoint, directory, &load, error))
        return (int)error->code;
    evaluating->has_checkpoint = true;
    shape = &evaluating->checkpoint.table.shape;
    if (read_report(evaluating, directory, error)
        || data_file_read(&evaluating->file, options->values[OPTION_DATA], options->values[OPTION_OBJECTIVE],
                          &evaluating->data.objective, error)
        || read_format(evaluating, options, error)
        || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, evaluating->data.seed, &evaluating->seed, error)
        || option_count(options, OPTION_CONTEXT, 1, (uint64_t)shape->context, (uint64_t)evaluating->data.context,
                        &evaluating->context, error)
        || option_count(options, OPTION_VALID_TOKENS, 1, (uint64_t)1 << 53, evaluating->data.valid_tokens,
                        &evaluating->valid_tokens, error))
        return (int)error->code;
    if (objective_check(&evaluating->data.objective, shape, (int)evaluating->context, error))
        return error_wrap(error, "the objective; its tokens are members of a JSON file given as --data");
    path = evaluating->file.valid[0] ? evaluating->file.valid : evaluating->file.train;
    if (corpus_open(&evaluating->corpus, path, evaluating->format, shape->vocabulary, (int)evaluating->context, error))
        return (int)error->code;
    evaluating->has_corpus = true;
    return 0;
}

static void print_result(const struct windows *windows, struct loss_summary summary, const struct options *options,
                         struct error *error)
{
    char loss[NUMBER_BYTES], perplexity[NUMBER_BYTES], deviation[NUMBER_BYTES];
    struct buffer out;

    buffer_init(&out);
    number_text(summary.mean, loss);
    number_text(exp(summary.mean), perplexity);
    number_text(summary.standard_error, deviation);      /* of one window: null */
    if (options->values[OPTION_JSON])
        buffer_format(&out, "{\"loss\":%s,\"perplexity\":%s,\"standard_error\":%s,\"windows\":%d,\"tokens\":%lld}\n",
                      loss, perplexity, deviation, windows->count, (long long)windows->count * windows->context);
    else if (isfinite(summary.standard_error))
        buffer_format(&out, "loss %.6f nats per token, standard error %.6f, perplexity %.4f\n"
                      "%d windows of %d tokens\n", summary.mean, summary.standard_error, exp(summary.mean),
                      windows->count, windows->context);
    else
        buffer_format(&out, "loss %.6f nats per token, perplexity %.4f\none window of %d tokens: no standard error\n",
                      summary.mean, exp(summary.mean), windows->context);
    command_print(&out, error);
    buffer_fini(&out);
}

static int evaluate(struct evaluating *evaluating, const struct options *options, struct error *error)
{
    struct windows windows = windows_of(&evaluating->corpus, (int)evaluating->context, evaluating->valid_tokens);
    float *losses = memory_array((size_t)windows.count, sizeof *losses);
    struct evaluated evaluated = {
        .kernels = kernels_cpu(), .checkpoint = &evaluating->checkpoint, .valid = &evaluating->corpus,
        .windows = &windows, .objective = &evaluating->data.objective, .seed = evaluating->seed,
    };

    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "evaluating: out of memory");
    if (evaluate_weights(&evaluated, losses, error) == 0) {
        struct loss_summary summary = loss_summarize(losses, windows.count);
        if (isfinite(summary.mean))
            print_result(&windows, summary, options, error);
        else
            error_set(error, ERROR_DIVERGED, "the loss is not finite: these weights are of no use; train again from an earlier "
                      "checkpoint");
    }
    memory_free(losses);
    return (int)error->code;
}

int command_eval(const struct options *options, struct error *error)
{
    static struct evaluating evaluating;

    if (option_required(options, OPTION_CHECKPOINT, error) || option_required(options, OPTION_DATA, error))
        return 0;
    if (open_all(&evaluating, options, error) == 0)
        evaluate(&evaluating, options, error);
    if (evaluating.has_corpus)
        corpus_close(&evaluating.corpus);
    if (evaluating.has_checkpoint)
        checkpoint_fini(&evaluating.checkpoint);
    return 0;
}
