/* bench_train: how close a training step comes to the machine's own sgemm. Steps (forward, backward, clip, AdamW) and
 * products (1024 x 768 x 768, the same OpenBLAS, one thread) alternate in one run, since machines drift; medians of both are
 * compared. Prints one JSON line. FLOPs by shape_flops_per_token, the one function used everywhere. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rng.h"
#include "model/kernels_ops.h"
#include "trainer/trial.h"

enum { SGEMM_M = 1024, SGEMM_N = 768, SGEMM_K = 768, TOKENS = 1 << 18, SPECIAL = 128 };

struct bench {
    struct shape shape;
    struct training training;
    int steps;
    struct checkpoint checkpoint;
    struct trial trial;
    struct scratch *scratch;
    struct corpus corpus;
    char path[64];
    float *a, *b, *c;
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint64_t peak_bytes(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

static _Noreturn void fail(const struct error *error)
{
    fprintf(stderr, "bench_train: %s\n", error->message);
    exit(2);
}

/* ---- arguments */

static int *size_of(struct bench *bench, const char *name)
{
    struct { const char *name; int *value; } rows[] = {
        { "--layers", &bench->shape.layers },     { "--width", &bench->shape.width },
        { "--heads", &bench->shape.heads },       { "--kv-heads", &bench->shape.kv_heads },
        { "--ff", &bench->shape.ff },             { "--vocabulary", &bench->shape.vocabulary },
        { "--batch", &bench->training.batch },    { "--context", &bench->training.context },
        { "--steps", &bench->steps },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].value;
    return NULL;
}

static void read_arguments(struct bench *bench, int count, char **arguments)
{
    *bench = (struct bench){
        .shape = { .layers = 6, .width = 384, .heads = 6, .vocabulary = 256, .tied = true, .norm_epsilon = 1e-5 },
        .training = { .batch = 8, .context = 256 }, .steps = 10,
    };
    for (int i = 1; i < count; i += 2) {
        int *value = size_of(bench, arguments[i]), family = -1;
        if (i + 1 < count && strcmp(arguments[i], "--family") == 0 && (family = family_parse(arguments[i + 1])) >= 0)
            bench->shape.family = (enum family)family;
        else if (i + 1 < count && value && atoi(arguments[i + 1]) > 0)
            *value = atoi(arguments[i + 1]);
        else {
            fprintf(stderr, "usage: bench_train --family F --layers L --width C --heads H [--kv-heads G] [--ff F] "
                    "--vocabulary V --batch B --context T --steps N\n");
            exit(2);
        }
    }
}

/* The vocabulary's end holds what the denoising objectives need; the text stays below (SPECIAL ids). */
static void special_tokens(struct objective_spec *objective, int vocabulary)
{
    if (objective->name == OBJECTIVE_CAUSAL)
        return;
    objective->mask_token = objective->eos_token = vocabulary - 1;
    objective->pad_token = vocabulary - 2;
    objective->sentinel_first = vocabulary - 3;
    objective->sentinel_count = SPECIAL - 4;
}

static void complete_shape(struct bench *bench)
{
    struct shape *shape = &bench->shape;
    bool mixtral = shape->family == FAMILY_MIXTRAL;
    bool llama = shape->family == FAMILY_LLAMA || shape->family == FAMILY_MISTRAL || shape->family == FAMILY_QWEN2 || mixtral;
    int batch = bench->training.batch, context = bench->training.context;

    shape->kv_heads = shape->kv_heads ? shape->kv_heads : shape->heads;
    shape->head_size = shape->width / shape->heads;
    shape->context = context;
    if (!shape->ff)
        shape->ff = llama ? shape->width * 8 / 3 / 16 * 16 : 4 * shape->width;
    shape->activation = llama ? ACTIVATION_SILU
                        : shape->family == FAMILY_BERT ? ACTIVATION_GELU_ERF
                        : shape->family == FAMILY_T5 ? ACTIVATION_RELU : ACTIVATION_GELU_TANH;
    shape->rope.theta = llama ? 1e4 : 0;
    shape->types = shape->family == FAMILY_BERT ? 2 : 0;
    shape->experts = mixtral ? 8 : 0;
    shape->top_k = mixtral ? 2 : 0;
    if (shape->family == FAMILY_T5) {
        shape->decoder_layers = shape->layers;
        shape->buckets = 32;
        shape->bucket_distance = 128;
        shape->scaled_head = true;
    }
    bench->training = training_defaults(shape);
    bench->training.batch = batch;
    bench->training.context = context;
    bench->training.average.kind = AVERAGE_NONE;
    special_tokens(&bench->training.objective, shape->vocabulary);
}

/* ---- set-up */

static void open_corpus(struct bench *bench, struct error *error)
{
    uint32_t *tokens = memory_array(TOKENS, sizeof *tokens);
    struct rng rng = rng_stream(1, 0, RNG_PROBE);
    int fd, words = bench->training.objective.name == OBJECTIVE_CAUSAL ? bench->shape.vocabulary
                                                                       : bench->shape.vocabulary - SPECIAL;

    strcpy(bench->path, "/tmp/bench_train.XXXXXX");
    if (!tokens || (fd = mkstemp(bench->path)) < 0) {
        error_set(error, ERROR_IO, "cannot make a file of tokens");
        fail(error);
    }
    close(fd);
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = (uint32_t)rng_below(&rng, (uint64_t)words);
    if (file_write(bench->path, tokens, TOKENS * sizeof *tokens, error)
        || corpus_open(&bench->corpus, bench->path, CORPUS_U32, bench->shape.vocabulary, bench->training.context, error))
        fail(error);
    memory_free(tokens);
}

static void set_up(struct bench *bench, struct error *error)
{
    struct trial_options options = { .kernels = kernels_cpu(), .training = bench->training, .hidden_rate_scale = 1 };

    if (shape_check(&bench->shape, error) || checkpoint_init(&bench->checkpoint, &bench->shape, error))
        fail(error);
    checkpoint_randomize(&bench->checkpoint, 1);
    open_corpus(bench, error);
    if (trial_init(&bench->trial, &bench->checkpoint, &options, error)
        || scratch_new(&bench->scratch, options.kernels, &bench->trial.table, &bench->training, error))
        fail(error);
    checkpoint_fini(&bench->checkpoint);
    bench->a = memory_array((size_t)SGEMM_M * SGEMM_K, sizeof(float));
    bench->b = memory_array((size_t)SGEMM_K * SGEMM_N, sizeof(float));
    bench->c = memory_array((size_t)SGEMM_M * SGEMM_N, sizeof(float));
    for (size_t i = 0; i < (size_t)SGEMM_M * SGEMM_K; i++)
        bench->a[i] = (float)(i % 17) * 0.1f;
    for (size_t i = 0; i < (size_t)SGEMM_K * SGEMM_N; i++)
        bench->b[i] = (float)(i % 13) * 0.1f;
}

static void tear_down(struct bench *bench)
{
    scratch_free(bench->scratch);
    trial_fini(&bench->trial);
    corpus_close(&bench->corpus);
    unlink(bench->path);
    memory_free(bench->a);
    memory_free(bench->b);
    memory_free(bench->c);
}

/* ---- measuring */

static double time_step(struct bench *bench, struct error *error)
{
    double begin = now();

    if (trial_step(&bench->trial, bench->scratch, &bench->corpus, NULL, error))
        fail(error);
    return now() - begin;
}

static double time_sgemm(const struct bench *bench, int times)
{
    const struct product product = { .m = SGEMM_M, .n = SGEMM_N, .k = SGEMM_K, .lda = SGEMM_K, .ldb = SGEMM_N,
                                     .ldc = SGEMM_N, .alpha = 1 };
    double begin = now();

    for (int i = 0; i < times; i++)
        kernels_cpu()->ops->product(&product, bench->a, bench->b, bench->c);
    return (now() - begin) / times;
}

static void measure(struct bench *bench, uint64_t base, struct error *error)
{
    double *steps = memory_array((size_t)bench->steps, sizeof *steps);
    double *products = memory_array((size_t)bench->steps, sizeof *products);
    double tokens = (double)bench->training.batch * bench->training.context;
    uint64_t planned = base + trial_bytes(&bench->shape, &bench->training)
                       + scratch_bytes(kernels_cpu(), &bench->shape, &bench->training);
    double product_flops = 2.0 * SGEMM_M * SGEMM_N * SGEMM_K;

    time_step(bench, error);             /* the first touches every page */
    int times = (int)(time_step(bench, error) / time_sgemm(bench, 4) / 2) + 1;
    for (int i = 0; i < bench->steps; i++) {
        steps[i] = time_step(bench, error);
        products[i] = time_sgemm(bench, times);
    }
    double step = median(steps, bench->steps);
    double gflops = objective_flops_per_token(&bench->training.objective, &bench->shape, bench->training.context)
                    * tokens / step * 1e-9;
    double sgemm = product_flops / median(products, bench->steps) * 1e-9;
    printf("{\"family\":\"%s\",\"layers\":%d,\"width\":%d,\"parameters\":%llu,\"step_ms\":%.2f,\"tokens_per_second\":%.0f,"
           "\"gflops\":%.2f,\"sgemm_gflops\":%.2f,\"ratio\":%.4f,\"peak_bytes\":%llu,\"planned_bytes\":%llu}\n",
           family_name(bench->shape.family), bench->shape.layers, bench->shape.width,
           (unsigned long long)shape_parameters(&bench->shape), step * 1e3, tokens / step, gflops, sgemm, gflops / sgemm,
           (unsigned long long)peak_bytes(), (unsigned long long)planned);
    memory_free(steps);
    memory_free(products);
}

int main(int count, char **arguments)
{
    static struct bench bench;
    struct error error = { 0 };
    uint64_t base;

    read_arguments(&bench, count, arguments);
    complete_shape(&bench);
    kernels_cpu();
    base = peak_bytes();                /* the process and OpenBLAS */
    set_up(&bench, &error);
    measure(&bench, base, &error);
    tear_down(&bench);
    return 0;
}
