/* bench_grow make DIR: a llama of one billion parameters in F16, sharded, with an embedding of 128256 x 2048.
 * bench_grow run CMD…: runs a command and prints {"seconds", "peak_mib"} of it.
 * See bench/grow.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "growth/deviates.h"
#include "model/checkpoint.h"

enum { PIECE = 1 << 16, SHARD_MEGABYTES = 600 };

static const struct shape BILLION = {
    .family = FAMILY_LLAMA, .layers = 13, .width = 2048, .heads = 32, .kv_heads = 8, .head_size = 64, .ff = 8192,
    .context = 2048, .vocabulary = 128256, .tied = true, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5,
    .rope = {.theta = 500000},
};

struct making { struct checkpoint checkpoint; float *table, *values; };

static int give(void *owner, int number, struct safetensors_writer *writer, struct error *error)
{
    struct making *making = owner;
    const struct tensor *tensor = &making->checkpoint.table.tensors[number];
    struct rng stream = rng_stream(1, (uint64_t)number, RNG_INIT);
    int code = 0;
    for (size_t done = 0; done < tensor->count && code == 0; done += PIECE) {
        size_t now = tensor->count - done < PIECE ? tensor->count - done : PIECE;
        deviates_fill(making->table, stream, done, making->values, now);
        for (size_t i = 0; i < now; i++)
            making->values[i] = role_is_gain(tensor->row->role) ? 1 : 0.02f * making->values[i];
        code = safetensors_writer_floats(writer, making->values, now, error);
    }
    return code;
}

static int make(const char *directory, struct error *error)
{
    struct making making = {.checkpoint = {.dtype = DTYPE_F16, .prefixed = true}};
    const struct checkpoint_supply supply = {.owner = &making, .give = give};
    const struct checkpoint_save options = {.supply = &supply, .shard_bytes = SHARD_MEGABYTES * (uint64_t)1000000};
    int code = tensor_table_init(&making.checkpoint.table, &BILLION, error);
    making.table = memory_array(DEVIATES_TABLE, sizeof *making.table);
    making.values = memory_array(PIECE, sizeof *making.values);
    if (code == 0 && (making.table == NULL || making.values == NULL))
        code = error_set(error, ERROR_NO_MEMORY, "no memory to make a model");
    if (code == 0) {
        deviates_table(making.table);
        code = checkpoint_save(&making.checkpoint, directory, &options, error);
        printf("{\"parameters\": %llu}\n", (unsigned long long)shape_parameters(&BILLION));
    }
    memory_free(making.table);
    memory_free(making.values);
    tensor_table_fini(&making.checkpoint.table);
    return code;
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int run(char **command)
{
    double begin = now_seconds();
    struct rusage usage;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return 1;
    printf("{\"seconds\": %.2f, \"cpu\": %.2f, \"kernel\": %.2f, \"peak_mib\": %.1f}\n", now_seconds() - begin,
           (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec,
           (double)usage.ru_stime.tv_sec + 1e-6 * (double)usage.ru_stime.tv_usec, (double)usage.ru_maxrss / 1024);
    return 0;
}

int main(int count, char **arguments)
{
    struct error error = {0};
    if (count == 3 && strcmp(arguments[1], "make") == 0 && make(arguments[2], &error) == 0)
        return 0;
    if (count > 2 && strcmp(arguments[1], "run") == 0)
        return run(arguments + 2);
    fprintf(stderr, "%s\n", error.code ? error.message : "usage: bench_grow make DIR | bench_grow run CMD...");
    return 1;
}
