/* Inside of checkpoint loading and saving: where each tensor of a directory lies, and the files beside the weights. */
#ifndef MODEL_CHECKPOINT_FILES_H
#define MODEL_CHECKPOINT_FILES_H

#include "model/checkpoint.h"

#define CHECKPOINT_WEIGHTS_FILE "model.safetensors"
#define CHECKPOINT_INDEX_FILE "model.safetensors.index.json"
#define CHECKPOINT_OPTIMIZER_FILE "optimizer.safetensors"
#define CHECKPOINT_CONFIG_FILE "config.json"
#define CHECKPOINT_REPORT_FILE "lag_report.json"
#define CHECKPOINT_CARD_FILE "README.md"
/* Metadata key of the optimizer file: SHA-256 of the weights file; of shards: of their bytes one after the other,
 * sorted by file name. */
#define CHECKPOINT_HASH_KEY "model_sha256"
/* And of struct averaging, beside a schedule-free state. */
#define CHECKPOINT_UPDATES_KEY "averaged_updates"
#define CHECKPOINT_WEIGHT_SUM_KEY "weight_sum"
#define CHECKPOINT_RATE_KEY "largest_rate"

enum {
    CHECKPOINT_SHARDS_MAX = 512,                 /* all are open at once */
    CHECKPOINT_INDEX_LIMIT_BYTES = 32 << 20,
    CHECKPOINT_REPORT_LIMIT_BYTES = 16 << 20,
    CHECKPOINT_NAME_BYTES = TENSOR_NAME_BYTES + 32,
    CHECKPOINT_PART_BYTES = CHECKPOINT_NAME_BYTES + 16,    /* with the ending of a part of the optimizer's state */
    CHECKPOINT_COPIES_MAX = 4
};

/* model.safetensors.index.json: which shard holds each tensor. */
struct shard_index {
    char *text;                                  /* the file; names point into it */
    struct shard_place { const char *name, *shard; } *places;   /* sorted by name */
    int place_count;
    const char **shards;                         /* plain file names, sorted, once each */
    int shard_count;
};
int shard_index_read(struct shard_index *index, const char *path, struct error *error);
void shard_index_fini(struct shard_index *index);
const char *shard_index_find(const struct shard_index *index, const char *name);   /* the shard, or NULL */

struct source_place { const struct safetensors *file; const struct safetensors_entry *entry; };
/* What ships all the same although another tensor stands for it: a tied head, an encoder's embedding. */
struct source_copy {
    struct source_place place;
    const struct tensor *of;
};

/* A directory whose headers were read and agree with config.json. */
struct checkpoint_source {
    const char *directory;                       /* the caller's */
    struct config config;
    struct tensor_table table;
    struct safetensors *files;                   /* one, or the shards sorted by name */
    int file_count;
    struct source_place *places;
    struct source_copy copies[CHECKPOINT_COPIES_MAX];
    int copy_count;
    bool prefixed;
    enum dtype dtype;                            /* the one dtype of the parameters; F32 if they are mixed */
    uint64_t bytes;
};
int checkpoint_source_open(struct checkpoint_source *source, const char *directory, struct error *error);
void checkpoint_source_close(struct checkpoint_source *source);
/* Are the bytes of two entries the same? */
int checkpoint_places_equal(const struct source_place *a, const struct source_place *b, bool *equal,
                            struct error *error);
/* Places every tensor; the first five disagreements with config.json become the error (checkpoint_match.c). */
int checkpoint_source_match(struct checkpoint_source *source, struct error *error);
/* SHA-256 of the weights files, as CHECKPOINT_HASH_KEY says. */
int checkpoint_source_hash(const struct checkpoint_source *source, char hex[HASH_HEX_BYTES], struct error *error);

/* The first five disagreements of a file with what was expected, and how many there are. */
struct disagreements {
    struct error_detail first[ERROR_DETAILS_MAX];
    int count;
};
void disagreements_add(struct disagreements *found, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 0 if there are none; else ERROR_INVALID, "<what> disagree in N places: <first>". */
int disagreements_report(const struct disagreements *found, const char *what, struct error *error);

/* The name in files: with the family's prefix where the checkpoint has it. */
void checkpoint_file_name(const struct tensor *tensor, enum family family, bool prefixed,
                          char name[CHECKPOINT_NAME_BYTES]);
/* Index of the first value that is not finite and how many there are; false if all are finite. */
bool checkpoint_find_nonfinite(const float *values, size_t count, size_t *first, size_t *total);

/* Declares one tensor under the name it has in files, `part` appended (".m"). */
int checkpoint_declare_tensor(struct safetensors_writer *writer, const struct checkpoint *checkpoint,
                              const struct tensor *tensor, const char *part, enum dtype dtype, struct error *error);
/* The weights of options->supply, in one file or in shards (checkpoint_shards.c). */
int checkpoint_save_supplied(const struct checkpoint *checkpoint, const char *directory, enum dtype dtype,
                             const struct checkpoint_save *options, struct error *error);
/* Tensors that ship beside the one they stand for must equal it. */
int checkpoint_source_check_copies(const struct checkpoint_source *source, struct error *error);

/* optimizer.safetensors (checkpoint_optimizer.c, checkpoint_optimizer_save.c). */
int checkpoint_optimizer_load(struct checkpoint *checkpoint, const struct checkpoint_source *source,
                              struct error *error);
int checkpoint_optimizer_save(const struct checkpoint *checkpoint, const struct moments *moments,
                              const char *model_hash, const char *path, struct error *error);

/* The `training` object of lag_report.json; an absent file leaves *provenance alone. */
int provenance_read(struct provenance *provenance, const char *directory, struct error *error);

#endif
