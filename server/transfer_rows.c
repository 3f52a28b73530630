#include "server/transfer_rows.h"

#include <stdio.h>
#include <string.h>

#include "api/transfer_row.h"
#include "base/memory.h"
#include "server/command.h"
#include "server/data_file.h"

/* A row's losses, and all else of it, as text; the table, the JSON and the plot of a sweep. */
enum { LOSS_BYTES = 24, ROW_BYTES = 1024, RESULT_BYTES = 256 << 10, KEY_CHARACTERS = 32 };

/* ---- what determines a run */

static void hash_word(struct hash_state *state, uint64_t word)
{
    hash_update(state, &word, sizeof word);
}

static int hash_common(struct transfer_world *world, struct error *error)
{
    static const char version[] = "lag transfer " LAG_VERSION ", rows 1";
    struct hash_state state;

    hash_begin(&state);
    hash_update(&state, version, sizeof version);
    hash_update(&state, kernels_cpu()->name, strlen(kernels_cpu()->name));
    hash_word(&state, (uint64_t)world->training.parametrization);
    hash_word(&state, world->windows.possible);
    hash_word(&state, (uint64_t)world->windows.count);
    if (data_hash(&state, &world->train, error) || data_hash(&state, &world->valid, error))
        return (int)error->code;
    hash_end(&state, world->rows.common);
    for (int size = 0; size < TRANSFER_SIZES; size++) {
        const struct checkpoint *checkpoint = &world->sides[size].checkpoint;
        hash_begin(&state);
        hash_update(&state, checkpoint->weights, checkpoint->table.slab * sizeof(float));
        hash_end(&state, world->rows.weights[size]);
    }
    return 0;
}

static void key_of(const struct transfer_world *world, enum transfer_size size, const struct trial *trial,
                   char hex[HASH_HEX_BYTES])
{
    uint8_t digest[HASH_BYTES];
    struct hash_state state;

    hash_begin(&state);
    hash_update(&state, world->rows.common, HASH_BYTES);
    hash_update(&state, world->rows.weights[size], HASH_BYTES);
    trial_identity(trial, digest);
    hash_update(&state, digest, HASH_BYTES);
    hash_end(&state, digest);
    hash_hex(digest, hex);
    hex[KEY_CHARACTERS] = '\0';
}

/* ---- the directory */

static int check_room(const struct transfer_world *world, struct error *error)
{
    const struct transfer_sweep *sweep = &world->sweep;
    const uint64_t rows = (uint64_t)(TRANSFER_SIZES * sweep->rates * sweep->seeds);
    const uint64_t need = rows * ((uint64_t)sweep->windows * LOSS_BYTES + ROW_BYTES) + RESULT_BYTES;
    uint64_t free_bytes;

    if (file_free_bytes(world->rows.directory, &free_bytes, error))
        return (int)error->code;
    if (free_bytes < need)
        return error_set(error, ERROR_DISK_FULL, "the sweep's rows need about %llu KiB, and %llu KiB are free; free some, or name "
                         "another directory", (unsigned long long)(need >> 10), (unsigned long long)(free_bytes >> 10));
    return 0;
}

int transfer_rows_open(struct transfer_world *world, const char *directory, struct error *error)
{
    size_t length = strlen(directory);

    if ((file_exists(directory) && !file_is_directory(directory)) || (length > 4 && !strcmp(directory + length - 4, ".svg")))
        return error_set(error, ERROR_INVALID, "--out %s: name a directory; the rows of finished runs, table.txt, result.json and "
                         "plot.svg go into it", directory);
    if (file_join(world->rows.directory, directory, "runs", error)
        || file_make_directory(world->rows.directory, error) || check_room(world, error) || hash_common(world, error))
        return error_wrap(error, "--out %s", directory);
    world->rows.kept = true;
    return 0;
}

/* ---- a row */

static int row_path(const struct transfer_world *world, const char *key, char path[FILE_PATH_BYTES], struct error *error)
{
    char name[KEY_CHARACTERS + 8];

    snprintf(name, sizeof name, "%s.json", key);
    return file_join(path, world->rows.directory, name, error);
}

static struct transfer_row row_of(const struct transfer_world *world, const struct transfer_place *place, const char *key)
{
    return (struct transfer_row){ .key = key, .size = transfer_size_name(place->size), .windows = world->sweep.windows,
                                  .learning_rate = world->sweep.rate[place->rate],
                                  .seed = world->training.seed + (uint64_t)place->seed };
}

int transfer_rows_take(struct transfer_world *world, const struct transfer_place *place, const struct trial *trial, bool *found,
                       struct error *error)
{
    char key[HASH_HEX_BYTES], path[FILE_PATH_BYTES], *text = NULL;
    size_t length;

    *found = false;
    key_of(world, place->size, trial, key);
    if (row_path(world, key, path, error))
        return (int)error->code;
    if (file_read(path, TRANSFER_ROW_BYTES_MAX, &text, &length, error)) {
        if (error->code == ERROR_NOT_FOUND)
            error_clear(error);
        return (int)error->code;
    }
    const struct transfer_row row = row_of(world, place, key);
    transfer_row_read(text, length, &row, &world->sweep.runs[place->size][place->rate][place->seed], error);
    memory_free(text);
    *found = !error->code;
    if (error->code == ERROR_DAMAGED) {
        error_clear(error);
        fprintf(stderr, "%s is damaged; that run is made again\n", path);
    }
    return (int)error->code;
}

int transfer_rows_keep(const struct transfer_world *world, const struct transfer_place *place, const struct trial *trial,
                       struct error *error)
{
    char key[HASH_HEX_BYTES], path[FILE_PATH_BYTES];
    struct buffer text;

    key_of(world, place->size, trial, key);
    if (row_path(world, key, path, error))
        return (int)error->code;
    const struct transfer_row row = row_of(world, place, key);
    buffer_init(&text);
    transfer_row_write(&text, &row, &world->sweep.runs[place->size][place->rate][place->seed]);
    if (text.failed)
        error_set(error, ERROR_NO_MEMORY, "keeping a run: out of memory");
    else
        file_write(path, text.data, text.length, error);
    buffer_fini(&text);
    return (int)error->code;
}
