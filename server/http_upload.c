#include "server/http_upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"
#include "server/http_parts.h"

struct upload {
    enum upload_form form;
    bool raw;
    struct multipart parser;
    char directory[FILE_PATH_BYTES];
    char checkpoint[FILE_PATH_BYTES];        /* the directory, or the study's "checkpoint" below it */
    char train[FILE_PATH_BYTES], valid[FILE_PATH_BYTES];
    struct buffer study;

    const struct part_row *row;              /* the part being received */
    int fd;                                  /* its file, -1: none */
    uint64_t part_bytes;
    int seen[PART_KIND_COUNT];
    char shards[MULTIPART_PARTS_MAX][MULTIPART_FILE_NAME_BYTES];    /* file names of the model parts, in order */
};

/* The files are not durable before the service accepts them, so they are plain appends; the fault point is the same. */
static int append(struct upload *upload, const char *bytes, size_t length, struct error *error)
{
    while (length > 0) {
        ssize_t done;
        if (fault_strikes(FAULT_WRITE))
            return error_set_errno(error, ENOSPC, "The upload cannot be written");
        done = write(upload->fd, bytes, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_set_errno(error, errno, "The upload cannot be written; free some disk, then send it again");
        bytes += done;
        length -= (size_t)done;
    }
    return 0;
}

static int open_file(struct upload *upload, const char *directory, const char *name, struct error *error)
{
    char path[FILE_PATH_BYTES];
    int code = file_join(path, directory, name, error);

    if (code)
        return code;
    upload->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (upload->fd < 0 && errno == EEXIST)
        return error_set_at(error, ERROR_INVALID, name, "The file %s is sent twice; send each once", name);
    return upload->fd < 0 ? error_set_errno(error, errno, "The upload's file %s cannot be made", name) : 0;
}

static int close_file(struct upload *upload, struct error *error)
{
    int fd = upload->fd;

    upload->fd = -1;
    if (fd >= 0 && close(fd))
        return error_set_errno(error, errno, "The upload cannot be written; free some disk, then send it again");
    return 0;
}

/* A model part gets a working name: which name it keeps is known when all have come. */
static void shard_working_name(int number, char name[32])
{
    snprintf(name, 32, "model-part-%d.upload", number);
}

static int begin_model(struct upload *upload, const struct multipart_part *part, struct error *error)
{
    const int number = upload->seen[PART_MODEL] - 1;
    const char *base = part->file_name + strlen(part->file_name);
    char name[32];

    while (base > part->file_name && base[-1] != '/' && base[-1] != '\\')
        base--;
    memcpy(upload->shards[number], base, strlen(base) + 1);
    shard_working_name(number, name);
    return open_file(upload, upload->checkpoint, name, error);
}

static int on_begin(void *context, const struct multipart_part *part, struct error *error)
{
    struct upload *upload = context;
    const char *file = NULL;
    int code = part_find(part, upload->form, &upload->row, &file, error);

    if (code)
        return code;
    upload->part_bytes = 0;
    if (++upload->seen[upload->row->kind] > 1 && !upload->row->repeats)
        return error_set_at(error, ERROR_INVALID, part->name, "The part \"%s\" is sent twice; send it once", part->name);
    switch (upload->row->kind) {
    case PART_STUDY:
        return 0;
    case PART_MODEL:
        return begin_model(upload, part, error);
    case PART_TRAIN:
    case PART_VALID:
    case PART_TOKENS:
        code = file_join(upload->row->kind == PART_VALID ? upload->valid : upload->train, upload->directory, file, error);
        return code ? code : open_file(upload, upload->directory, file, error);
    default:
        return open_file(upload, upload->checkpoint, file, error);
    }
}

static int on_data(void *context, const char *bytes, size_t length, struct error *error)
{
    struct upload *upload = context;
    const struct part_row *row = upload->row;

    upload->part_bytes += length;
    if (row->limit && upload->part_bytes > row->limit)
        return error_set_at(error, ERROR_TOO_LARGE, row->name, "The part \"%s\" is limited to %llu bytes; send a smaller one",
                            row->name, (unsigned long long)row->limit);
    if (row->kind != PART_STUDY)
        return append(upload, bytes, length, error);
    buffer_append(&upload->study, bytes, length);
    return upload->study.failed ? error_set(error, ERROR_NO_MEMORY, "No memory for the study; try again later") : 0;
}

static int on_end(void *context, struct error *error)
{
    return close_file(context, error);
}

static int make_directory(const char *path, struct error *error)
{
    return mkdir(path, 0700) ? error_set_errno(error, errno, "The upload's directory cannot be made") : 0;
}

/* Directories and parser of a fresh upload. */
static int prepare(struct upload *upload, const struct upload_options *options, struct error *error)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    const struct multipart_sink sink = {on_begin, on_data, on_end, upload};
    const size_t length = strlen(options->directory);
    int code = 0;

    if (length >= sizeof upload->directory)
        return error_set(error, ERROR_INVALID, "The store's path is too long");
    memcpy(upload->directory, options->directory, length + 1);
    memcpy(upload->checkpoint, options->directory, length + 1);
    if (options->content_type) {
        code = multipart_boundary(options->content_type, boundary, error);
        if (code)
            return code;
        multipart_init(&upload->parser, boundary, &sink);
    }
    code = make_directory(upload->directory, error);
    if (!code && upload->form == UPLOAD_STUDY) {
        code = file_join(upload->checkpoint, upload->directory, "checkpoint", error);
        code = code ? code : make_directory(upload->checkpoint, error);
    }
    if (!code && upload->raw) {
        upload->row = part_row_of(PART_TOKENS);
        upload->seen[PART_TOKENS] = 1;
        code = file_join(upload->train, upload->directory, "tokens", error);
        code = code ? code : open_file(upload, upload->directory, "tokens", error);
    }
    return code;
}

int upload_new(struct upload **upload, const struct upload_options *options, struct error *error)
{
    struct upload *made = memory_new(sizeof *made);
    int code;

    *upload = NULL;
    if (!made)
        return error_set(error, ERROR_NO_MEMORY, "No memory for an upload; try again later");
    made->form = options->form;
    made->raw = !options->content_type;
    made->fd = -1;
    buffer_init(&made->study);
    code = prepare(made, options, error);
    if (code) {
        upload_free(made);
        return code;
    }
    *upload = made;
    return 0;
}

void upload_free(struct upload *upload)
{
    if (!upload)
        return;
    if (upload->fd >= 0)
        close(upload->fd);
    buffer_fini(&upload->study);
    memory_free(upload);
}

int upload_write(struct upload *upload, const char *bytes, size_t length, struct error *error)
{
    return upload->raw ? on_data(upload, bytes, length, error) : multipart_feed(&upload->parser, bytes, length, error);
}

static int rename_shard(const struct upload *upload, int number, const char *name, struct error *error)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES], working[32];
    int code;

    shard_working_name(number, working);
    code = file_join(from, upload->checkpoint, working, error);
    code = code ? code : file_join(to, upload->checkpoint, name, error);
    if (code)
        return code;
    if (file_exists(to))
        return error_set_at(error, ERROR_INVALID, "model", "The file name %s is there already; each shard needs its own, as "
                            "the index names it", name);
    if (fault_strikes(FAULT_RENAME))
        return error_set_errno(error, EIO, "The upload's shard %s cannot be named", name);
    return rename(from, to) ? error_set_errno(error, errno, "The upload's shard %s cannot be named", name) : 0;
}

/* One model part without an index is model.safetensors, whatever it was called; shards keep their names. */
static int finish_models(struct upload *upload, struct error *error)
{
    const int count = upload->seen[PART_MODEL];

    if (count == 1 && !upload->seen[PART_INDEX])
        return rename_shard(upload, 0, "model.safetensors", error);
    if (!upload->seen[PART_INDEX])
        return error_set_at(error, ERROR_INVALID, "index", "%d model parts need the part \"index\" "
                            "(model.safetensors.index.json)", count);
    for (int i = 0; i < count; i++) {
        int code;
        if (!part_shard_name_is_valid(upload->shards[i]))
            return error_set_at(error, ERROR_INVALID, "model", "\"%s\" is not a shard's file name; use a plain name ending "
                                ".safetensors", upload->shards[i]);
        code = rename_shard(upload, i, upload->shards[i], error);
        if (code)
            return code;
    }
    return 0;
}

static int need(const struct upload *upload, enum part_kind kind, struct error *error)
{
    const char *name = part_row_of(kind)->name;

    if (upload->seen[kind])
        return 0;
    return error_set_at(error, ERROR_INVALID, name, "The part \"%s\" is missing; add it", name);
}

static bool has_checkpoint(const struct upload *upload)
{
    return upload->form == UPLOAD_CHECKPOINT || upload->seen[PART_CONFIG] || upload->seen[PART_MODEL] ||
           upload->seen[PART_INDEX] || upload->seen[PART_OPTIMIZER] || upload->seen[PART_TOKENIZER];
}

int upload_finish(struct upload *upload, struct error *error)
{
    int code = upload->raw ? close_file(upload, error) : multipart_finish(&upload->parser, error);

    if (!code && upload->form == UPLOAD_DATASET)
        code = need(upload, PART_TOKENS, error);
    if (!code && upload->form == UPLOAD_STUDY)
        code = need(upload, PART_STUDY, error);
    if (!code && upload->form != UPLOAD_DATASET && has_checkpoint(upload)) {
        code = need(upload, PART_CONFIG, error);
        code = code ? code : need(upload, PART_MODEL, error);
        code = code ? code : finish_models(upload, error);
    }
    if (!code && upload->form == UPLOAD_DATASET && upload->part_bytes == 0)
        code = error_set_at(error, ERROR_INVALID, "tokens", "The token file is empty; send its bytes");
    return code;
}

const char *upload_directory(const struct upload *upload)
{
    return upload->directory;
}

const char *upload_checkpoint(const struct upload *upload)
{
    return upload->form != UPLOAD_DATASET && has_checkpoint(upload) ? upload->checkpoint : "";
}

const char *upload_train(const struct upload *upload)
{
    return upload->train;
}

const char *upload_valid(const struct upload *upload)
{
    return upload->valid;
}

const struct buffer *upload_study(const struct upload *upload)
{
    return &upload->study;
}
