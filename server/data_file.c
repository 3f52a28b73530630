#include "server/data_file.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"
#include "base/memory.h"

static bool is_json(const char *path)
{
    size_t length = strlen(path);

    return length > 5 && strcmp(path + length - 5, ".json") == 0;
}

/* A path in a JSON file is meant from where the file lies. */
static void relative_to(char path[FILE_PATH_BYTES], const char *file, const char *name)
{
    char directory[FILE_PATH_BYTES];

    snprintf(directory, sizeof directory, "%s", file);
    if (!*name || *name == '/' || snprintf(path, FILE_PATH_BYTES, "%s/%s", dirname(directory), name) >= FILE_PATH_BYTES)
        snprintf(path, FILE_PATH_BYTES, "%s", name);
}

static int read_json(struct data_file *file, const char *path, struct objective_spec *objective, struct error *error)
{
    char *text = NULL;
    size_t length;

    if (file_read(path, (size_t)SPEC_JSON_BYTES_MAX, &text, &length, error) == 0
        && request_data(text, length, &file->data, objective, error) == 0) {
        relative_to(file->train, path, file->data.train);
        relative_to(file->valid, path, file->data.valid);
    }
    memory_free(text);
    return error_wrap(error, "--data %s", path);
}

int data_file_read(struct data_file *file, const char *path, const char *name, struct objective_spec *objective,
                   struct error *error)
{
    *file = (struct data_file){ .data = { .format = CORPUS_AUTO } };
    if (!is_json(path))
        snprintf(file->train, sizeof file->train, "%s", path);
    else if (read_json(file, path, objective, error))
        return (int)error->code;
    if (name && objective_parse(name, &objective->name))
        return error_set(error, ERROR_INVALID, "--objective must be causal, mlm, span_corruption or ul2, not \"%.40s\"",
                         name);
    return 0;
}

static void hash_word(struct hash_state *state, uint64_t word)
{
    hash_update(state, &word, sizeof word);
}

int data_hash(struct hash_state *state, const struct corpus *corpus, struct error *error)
{
    uint64_t at = corpus->data_offset + corpus->first * (uint64_t)corpus->token_bytes;
    uint64_t left = corpus->tokens * (uint64_t)corpus->token_bytes;
    enum { READ_BYTES = 1 << 20 };
    char *block = memory_new(READ_BYTES);

    if (!block)
        return error_set(error, ERROR_NO_MEMORY, "reading the data: out of memory");
    hash_word(state, (uint64_t)corpus->format);
    hash_word(state, (uint64_t)corpus->token_bytes);
    hash_word(state, left);
    while (left > 0 && !error->code) {
        size_t length = left < READ_BYTES ? (size_t)left : READ_BYTES;
        if (file_reader_read(&corpus->file, at, block, length, error) == 0)
            hash_update(state, block, length);
        at += length;
        left -= length;
    }
    memory_free(block);
    return (int)error->code;
}
