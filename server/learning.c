#include "server/learning.h"

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

int learning_open(struct learning *learning, const char *path, const struct shape *parent, uint64_t seed,
                  struct error *error)
{
    struct data_file file;

    *learning = (struct learning){ .fit = { .kernels = kernels_cpu(), .training = training_defaults(parent) } };
    learning->fit.training.seed = seed;
    if (data_file_read(&file, path, NULL, &learning->fit.training.objective, error) == 0) {
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
