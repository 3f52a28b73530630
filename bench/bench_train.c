/* bench_train: how close a training step comes to the machine's own sgemm. Steps (forward, backward, clip, AdamW) and
 * products (1024 x 768 x 768, the same OpenBLAS, one thread) alternate in one run, since machines drift; medians of both are
 * compared. Prints one JSON line. FLOPs by shape_flops_per_row, the one function used everywhere.
 *   --profile          instead: where a step's time goes, a JSON line per operation (bench/profile.h)
 *   --form NAME        the vector code of that name ("avx2") in place of the best one the processor has
 *   --sgemm-only S     no training: the rate of products alone for S seconds */
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
#include "bench/profile.h"
#include "model/kernels_bodies.h"
#include "trainer/trial.h"

enum { SGEMM_M = 1024, SGEMM_N = 768, SGEMM_K = 768, TOKENS = 1 << 18, SPECIAL = 128 };

struct bench {
    struct shape shape;
    struct training training;
    int steps, sgemm_seconds;
    bool profile;
    const char *form;
    const struct kernels *kernels;
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
        { "--steps", &bench->steps },             { "--sgemm-only", &bench->sgemm_seconds },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].value;
    return NULL;
}

static bool is_compute(const char *text)
{
    return strcmp(text, "f32") == 0 || strcmp(text, "bf16") == 0;
}

static bool read_argument(struct bench *bench, const char *name, const char *text)
{
    int *value = size_of(bench, name), family;

    if (strcmp(name, "--family") == 0 && (family = family_parse(text)) >= 0)
        bench->shape.family = (enum family)family;
    else if (strcmp(name, "--compute") == 0 && is_compute(text))
        bench->training.compute = strcmp(text, "bf16") == 0 ? PRODUCT_BF16 : PRODUCT_F32;
    else if (strcmp(name, "--form") == 0)
        bench->form = text;
    else if (value && atoi(text) > 0)
        *value = atoi(text);
    else
        return false;
    return true;
}

static void read_arguments(struct bench *bench, int count, char **arguments)
{
    *bench = (struct bench){
        .shape = { .layers = 6, .width = 384, .heads = 6, .vocabulary = 256, .tied = true, .norm_epsilon = 1e-5 },
        .training = { .batch = 8, .context = 256 }, .steps = 10,
    };
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--profile") == 0)
            bench->profile = true;
        else if (i + 1 == count || !read_argument(bench, arguments[i], arguments[i + 1])) {
            fprintf(stderr, "usage: bench_train --family F --layers L --width C --heads H [--kv-heads G] [--ff F] "
                    "--vocabulary V --batch B --context T --steps N [--compute f32|bf16] [--form NAME] [--profile]\n"
                    "       bench_train --sgemm-only SECONDS\n");
            exit(2);
        } else
            i++;
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
    enum product_type compute = bench->training.compute;

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
    bench->training.compute = compute;
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

static void set_up_sgemm(struct bench *bench)
{
    bench->a = memory_array((size_t)SGEMM_M * SGEMM_K, sizeof(float));
    bench->b = memory_array((size_t)SGEMM_K * SGEMM_N, sizeof(float));
    bench->c = memory_array((size_t)SGEMM_M * SGEMM_N, sizeof(float));
    for (size_t i = 0; i < (size_t)SGEMM_M * SGEMM_K; i++)
        bench->a[i] = (float)(i % 17) * 0.1f;
    for (size_t i = 0; i < (size_t)SGEMM_K * SGEMM_N; i++)
        bench->b[i] = (float)(i % 13) * 0.1f;
}

static void tear_down_sgemm(struct bench *bench)
{
    memory_free(bench->a);
    memory_free(bench->b);
    memory_free(bench->c);
}

static void set_up(struct bench *bench, struct error *error)
{
    struct trial_options options = { .kernels = bench->kernels, .training = bench->training, .hidden_rate_scale = 1 };

    if (shape_check(&bench->shape, error) || checkpoint_init(&bench->checkpoint, &bench->shape, error))
        fail(error);
    checkpoint_randomize(&bench->checkpoint, 1);
    open_corpus(bench, error);
    if (trial_init(&bench->trial, &bench->checkpoint, &options, error)
        || scratch_new(&bench->scratch, options.kernels, &bench->trial.table, &bench->training, error))
        fail(error);
    checkpoint_fini(&bench->checkpoint);
}

static void tear_down(struct bench *bench)
{
    scratch_free(bench->scratch);
    trial_fini(&bench->trial);
    corpus_close(&bench->corpus);
    unlink(bench->path);
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
        kernels_blas_product(&product, bench->a, bench->b, bench->c);
    return (now() - begin) / times;
}

static double sgemm_gflops(double seconds)
{
    return 2.0 * SGEMM_M * SGEMM_N * SGEMM_K / seconds * 1e-9;
}

static void print_result(const struct bench *bench, double step, double sgemm, uint64_t base)
{
    const struct training *training = &bench->training;
    const struct shape *shape = &bench->shape;
    struct objective_sizes sizes = objective_sizes_of(&training->objective, shape, training->context);
    double tokens = (double)training->batch * training->context;
    double gflops = objective_flops_per_token(&training->objective, shape, training->context) * tokens / step * 1e-9;
    uint64_t planned = base + trial_bytes(shape, training) + scratch_bytes(bench->kernels, shape, training);

    printf("{\"family\":\"%s\",\"layers\":%d,\"width\":%d,\"parameters\":%llu,\"inputs\":%d,\"targets\":%d,\"steps\":%d,"
           "\"compute\":\"%s\",\"step_ms\":%.2f,\"tokens_per_second\":%.0f,\"gflops\":%.2f,\"sgemm_gflops\":%.2f,"
           "\"ratio\":%.4f,\"peak_bytes\":%llu,\"planned_bytes\":%llu,\"kernels\":\"%s\",\"compiler\":\"%s\"}\n",
           family_name(shape->family), shape->layers, shape->width, (unsigned long long)shape_parameters(shape), sizes.inputs,
           sizes.targets, bench->steps, training->compute == PRODUCT_BF16 ? "bf16" : "f32", step * 1e3, tokens / step, gflops,
           sgemm, gflops / sgemm, (unsigned long long)peak_bytes(), (unsigned long long)planned,
           kernels_description(bench->kernels), __VERSION__);
}

/* base: what the process and OpenBLAS took before there was a model. */
static void measure(struct bench *bench, uint64_t base, struct error *error)
{
    double *steps = memory_array((size_t)bench->steps, sizeof *steps);
    double *products = memory_array((size_t)bench->steps, sizeof *products);

    time_step(bench, error);             /* the first touches every page */
    int times = (int)(time_step(bench, error) / time_sgemm(bench, 4) / 2) + 1;
    for (int i = 0; i < bench->steps; i++) {
        steps[i] = time_step(bench, error);
        products[i] = time_sgemm(bench, times);
    }
    print_result(bench, median(steps, bench->steps), sgemm_gflops(median(products, bench->steps)), base);
    memory_free(steps);
    memory_free(products);
}

static void measure_profile(struct bench *bench, struct error *error)
{
    double begin;

    time_step(bench, error);
    profile_clear();
    begin = now();
    for (int i = 0; i < bench->steps; i++)
        time_step(bench, error);
    profile_print(family_name(bench->shape.family), bench->shape.layers, bench->shape.width, bench->steps, now() - begin);
}

static void measure_sgemm(const struct bench *bench)
{
    enum { MOST = 4096 };
    static double products[MOST];
    double end = now() + bench->sgemm_seconds;
    int count = 0;

    time_sgemm(bench, 4);
    while (count < MOST && now() < end)
        products[count++] = time_sgemm(bench, 4);
    printf("{\"sgemm_gflops\":%.2f}\n", sgemm_gflops(median(products, count)));
}

static void choose_kernels(struct bench *bench)
{
    bench->kernels = bench->form ? kernels_cpu_form(bench->form) : kernels_cpu();
    if (!bench->kernels) {
        fprintf(stderr, "bench_train: this processor has no %s\n", bench->form);
        exit(2);
    }
    if (bench->profile)
        bench->kernels = profile_kernels(bench->kernels);
}

int main(int count, char **arguments)
{
    static struct bench bench;
    struct error error = { 0 };

    read_arguments(&bench, count, arguments);
    complete_shape(&bench);
    choose_kernels(&bench);
    set_up_sgemm(&bench);
    if (bench.sgemm_seconds)
        measure_sgemm(&bench);
    else {
        time_sgemm(&bench, 1);               /* OpenBLAS takes its memory with the first product */
        uint64_t base = peak_bytes();
        set_up(&bench, &error);
        if (bench.profile)
            measure_profile(&bench, &error);
        else
            measure(&bench, base, &error);
        tear_down(&bench);
    }
    tear_down_sgemm(&bench);
    return 0;
}
