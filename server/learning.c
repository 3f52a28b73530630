#include "server/learning.h"

#include "api/request.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/data_file.h"

static int open_data(struct learning *learning, const struct data_file *file, const struct shape *parent,
                     struct error *error)
{
    int context = learning->fit.training.context;

    if (objective_check(&learning->fit.training.objective, parent, context, error))
        return error_wrap(error, "the objective; its tokens are members of a JSON file given as --data");
    if (corpus_open(&learning->train, file->train, file->data.format, parent->vocabulary, context, error))
        return error_wrap(error, "--data");
    learning->has_train = true;
    if (file->valid[0])
        return 0;
    if (corpus_split(&learning->train, &learning->valid, context, error))
        return error_wrap(error, "--data");
    learning->has_valid = true;
    return 0;
}

static int read_training(struct training *training, const char *path, const struct shape *parent, struct error *error)
{
    char *text = NULL;
    size_t length;

    if (!path)
        return 0;
    if (file_read(path, (size_t)SPEC_JSON_BYTES_MAX, &text, &length, error) == 0)
        request_training(text, length, parent, 0, training, error);
    memory_free(text);
    return error_wrap(error, "--training %s", path);
}

int learning_open(struct learning *learning, const struct learning_files *files, const struct shape *parent,
                  const uint64_t *seed, struct error *error)
{
    struct training *training = &learning->fit.training;
    struct data_file file;

    *learning = (struct learning){ .fit = { .kernels = kernels_cpu(), .training = training_defaults(parent) } };
    if (read_training(training, files->training, parent, error))
        return (int)error->code;
    if (seed)
        training->seed = *seed;
    if (data_file_read(&file, files->data, NULL, &training->objective, error) == 0) {
        learning->fit.sampler = file.data.sampler;
        learning->fit.train = &learning->train;
        open_data(learning, &file, parent, error);
    }
    if (error->code)
        learning_close(learning);
    return (int)error->code;
}

void learning_close(struct learning *learning)
{
    if (learning->has_train)
        corpus_close(&learning->train);
    if (learning->has_valid)
        corpus_close(&learning->valid);
    learning->has_train = learning->has_valid = false;
}
