#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "trainer/kavg.h"
#include "trainer/optimizer.h"
#include "trainer/scratch.h"

/* A saved trial, little-endian:
 *
 *     "LAGTRIAL" | version u64 | SHA-256 of the shape | SHA-256 of the training values | state: STATE_FIELDS u64
 *     | step counters: one u64 per tensor | of each learner: updates u64, weight sum, largest rate of its schedule-free
 *     average | slab (f32) | SHA-256 of all before
 *
 * Doubles are stored by their bits. The two hashes at the front tell a file of another trial from a damaged one. */
enum { TRIAL_FILE_VERSION = 2, PIECE_BYTES = 1 << 18 };
static const char trial_magic[8] = "LAGTRIAL";

enum state_field {
    STATE_SLAB_BYTES, STATE_TENSORS, STATE_STEP, STATE_FIRST_DATA_STEP, STATE_AVERAGE_START, STATE_DIVERGED,
    STATE_DIVERGED_STEP, STATE_LAST_LOSS, STATE_LAST_NORM, STATE_FIELDS
};

struct trial_header {
    char magic[8];
    uint64_t version;
    uint8_t shape[HASH_BYTES], training[HASH_BYTES];
    uint64_t state[STATE_FIELDS];
};
_Static_assert(sizeof(struct trial_header) == 8 + 8 + 2 * HASH_BYTES + 8 * STATE_FIELDS, "the header has no padding");

static uint64_t double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void words_hash(uint64_t *words, size_t count, uint8_t digest[HASH_BYTES])
{
    struct hash_state state;
    for (size_t i = 0; i < count; i++) {
        words[i] = htole64(words[i]);
    }
    hash_begin(&state);
    hash_update(&state, words, count * sizeof *words);
    hash_end(&state, digest);
}

static void shape_digest(const struct shape *s, uint8_t digest[HASH_BYTES])
{
    struct hash_state state;
    char text[SHAPE_TEXT_BYTES];
    shape_text(s, text);
    hash_begin(&state);
    hash_update(&state, text, strlen(text));
    hash_end(&state, digest);
}

/* A number per token id: TOKEN_NONE is none of a file's. */
static void objective_digest(const struct objective_spec *o, uint8_t digest[HASH_BYTES])
{
    uint64_t words[10 + OBJECTIVE_SPECIAL_MAX] = {
        (uint64_t)o->name,       (uint64_t)o->mask_token,     (uint64_t)o->pad_token,     (uint64_t)o->eos_token,
        (uint64_t)o->sentinel_first, (uint64_t)o->sentinel_count, (uint64_t)o->sentinel_step,
        (uint64_t)o->mode_tokens[MODE_R], (uint64_t)o->mode_tokens[MODE_S], (uint64_t)o->mode_tokens[MODE_X],
    };
    size_t count = 10;
    for (int i = 0; i < o->special_tokens.count; i++) {
        words[count++] = (uint64_t)o->special_tokens.ids[i];
    }
    words_hash(words, count, digest);
}

static void learners_digest(const struct learners_spec *l, uint8_t digest[HASH_BYTES])
{
    uint64_t words[7 + LEARNERS_MAX] = {
        (uint64_t)l->count, (uint64_t)l->mode, (uint64_t)l->outer.name, double_bits(l->outer.learning_rate),
        double_bits(l->outer.momentum), l->averaged_moments, double_bits(l->batch_growth),
    };
    for (int i = 0; i < l->count; i++) {
        words[7 + i] = l->local_steps[i];
    }
    words_hash(words, (size_t)(7 + l->count), digest);
}

/* Everything that the following steps depend on. Not `recompute`: it decides where activations come from, and no bit of
 * the trial. */
static void training_digest(const struct trial_options *o, uint8_t digest[HASH_BYTES])
{
    const struct training *t = &o->training;
    uint64_t objective[HASH_BYTES / sizeof(uint64_t)], learners[HASH_BYTES / sizeof(uint64_t)];
    objective_digest(&t->objective, (uint8_t *)objective);
    learners_digest(&t->learners, (uint8_t *)learners);
    uint64_t words[] = {
        (uint64_t)t->batch,
        (uint64_t)t->context,
        t->steps,
        double_bits(t->learning_rate),
        (uint64_t)t->optimizer.name,
        double_bits(t->optimizer.beta1),
        double_bits(t->optimizer.beta2),
        double_bits(t->optimizer.epsilon),
        double_bits(t->optimizer.weight_decay),
        double_bits(t->optimizer.momentum),
        t->optimizer.nesterov,
        double_bits(t->optimizer.r),
        double_bits(t->optimizer.weight_power),
        (uint64_t)t->optimizer.decay_at,
        double_bits(t->optimizer.decoupling),
        (uint64_t)t->schedule.name,
        t->schedule.warmup_steps,
        t->schedule.decay_steps,
        (uint64_t)t->schedule.decay_form,
        double_bits(t->schedule.minimum),
        double_bits(t->schedule.a),
        double_bits(t->schedule.b),
        t->schedule.tokens_seen,
        t->schedule.tokens_step,
        (uint64_t)t->average.kind,
        double_bits(t->average.fraction),
        double_bits(t->average.decay),
        double_bits(t->clip),
        t->seed,
        double_bits(o->hidden_rate_scale),
        (uint64_t)o->sampler,
        o->seed_index,
        objective[0],
        objective[1],
        objective[2],
        objective[3],
        learners[0],
        learners[1],
        learners[2],
        learners[3],
        (uint64_t)t->compute,
    };
    words_hash(words, sizeof words / sizeof words[0], digest);
}

static void laws_hash(const struct trial *trial, struct hash_state *state)
{
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor_law *law = &trial->laws[i];
        const uint64_t words[] = {htole64(double_bits(law->rate)), htole64(double_bits(law->decay)),
                                  htole64(double_bits(law->epsilon)), htole64(double_bits(law->gradient))};
        hash_update(state, words, sizeof words);
    }
}

/* The training values, and the laws and masks where there are any. */
static void options_digest(const struct trial *trial, uint8_t digest[HASH_BYTES])
{
    const struct growth_ramps *ramps = trial->options.ramps;
    const bool masked = ramps != NULL && ramps->longest > 0, plain = laws_are_one(trial->laws, trial->table.count);
    struct hash_state state;
    training_digest(&trial->options, digest);
    if (!masked && plain) {
        return;
    }
    hash_begin(&state);
    hash_update(&state, digest, HASH_BYTES);
    if (masked) {
        growth_ramps_hash(ramps, &state);
    }
    if (!plain) {
        laws_hash(trial, &state);
    }
    hash_end(&state, digest);
}

enum { AVERAGING_WORDS = 3 };

static void averaging_words(const struct averaging *averaging, uint64_t words[AVERAGING_WORDS])
{
    words[0] = htole64(averaging->updates);
    words[1] = htole64(double_bits(averaging->weight_sum));
    words[2] = htole64(double_bits(averaging->rate_maximum));
}

void trial_identity(const struct trial *trial, uint8_t digest[HASH_BYTES])
{
    uint8_t parts[2 * HASH_BYTES];
    struct hash_state state;
    shape_digest(&trial->table.shape, parts);
    options_digest(trial, parts + HASH_BYTES);
    hash_begin(&state);
    hash_update(&state, parts, sizeof parts);
    hash_end(&state, digest);
}

static struct averaging words_averaging(const uint64_t words[AVERAGING_WORDS])
{
    return (struct averaging){.updates = le64toh(words[0]), .weight_sum = bits_double(le64toh(words[1])),
                              .rate_maximum = bits_double(le64toh(words[2]))};
}

/* Step counters: a learner's one per tensor, learner after learner. */
static size_t counters_of(const struct trial *trial)
{
    return (size_t)trial->learner_count * (size_t)trial->table.count;
}

static size_t slab_bytes(const struct trial *trial)
{
    return trial_slab_bytes(&trial->table.shape, &trial->options.training);
}

static void header_fill(const struct trial *trial, struct trial_header *header)
{
    memcpy(header->magic, trial_magic, sizeof header->magic);
    header->version = htole64(TRIAL_FILE_VERSION);
    shape_digest(&trial->table.shape, header->shape);
    options_digest(trial, header->training);
    const uint64_t state[STATE_FIELDS] = {
        [STATE_SLAB_BYTES] = slab_bytes(trial),
        [STATE_TENSORS] = (uint64_t)trial->table.count,
        [STATE_STEP] = trial->step,
        [STATE_FIRST_DATA_STEP] = trial->first_data_step,
        [STATE_AVERAGE_START] = trial->average_start,
        [STATE_DIVERGED] = trial->diverged,
        [STATE_DIVERGED_STEP] = trial->diverged_step,
        [STATE_LAST_LOSS] = double_bits(trial->last_loss),
        [STATE_LAST_NORM] = double_bits(trial->last_gradient_norm),
    };
    for (int i = 0; i < STATE_FIELDS; i++) {
        header->state[i] = htole64(state[i]);
    }
}

/* A writer that hashes what it writes. */
struct hashed_writer { struct file_writer file; struct hash_state hash; };

static int hashed_write(struct hashed_writer *writer, const void *bytes, size_t length, struct error *error)
{
    hash_update(&writer->hash, bytes, length);
    return file_writer_write(&writer->file, bytes, length, error);
}

static int body_write(const struct trial *trial, struct hashed_writer *writer, char *piece, struct error *error)
{
    struct trial_header header;
    header_fill(trial, &header);
    int status = hashed_write(writer, &header, sizeof header, error);
    for (size_t i = 0; i < counters_of(trial) && status == 0; i++) {
        const uint64_t steps = htole64(trial->tensor_steps[i]);
        status = hashed_write(writer, &steps, sizeof steps, error);
    }
    for (int i = 0; i < trial->learner_count && status == 0; i++) {
        uint64_t words[AVERAGING_WORDS];
        averaging_words(&trial->learners[i].averaging, words);
        status = hashed_write(writer, words, sizeof words, error);
    }
    const size_t total = slab_bytes(trial);
    for (size_t at = 0; at < total && status == 0; at += PIECE_BYTES) {
        const size_t length = total - at < PIECE_BYTES ? total - at : PIECE_BYTES;
        trial->options.kernels->download(piece, (const char *)trial->slab + at, length);
        status = hashed_write(writer, piece, length, error);
    }
    uint8_t digest[HASH_BYTES];
    hash_end(&writer->hash, digest);
    return status != 0 ? status : file_writer_write(&writer->file, digest, sizeof digest, error);
}

static int trial_write(const struct trial *trial, const char *path, struct hashed_writer *writer, char *piece,
                       struct error *error)
{
    int status = file_writer_open(&writer->file, path, error);
    if (status != 0) {
        return status;
    }
    hash_begin(&writer->hash);
    status = body_write(trial, writer, piece, error);
    if (status != 0) {
        file_writer_abort(&writer->file);
        return status;
    }
    FAULT_POINT(trial_save_before_rename);
    status = file_writer_commit(&writer->file, error);
    if (status == 0) {
        FAULT_POINT(trial_save_after_rename);
    }
    return status;
}

int trial_save(const struct trial *trial, const char *path, struct error *error)
{
    FAULT_POINT(trial_save_begin);
    if (!trial_is_joined(trial)) {
        return error_set(error, ERROR_INTERNAL, "A trial was saved between two averages of its learners.");
    }
    struct hashed_writer *writer = memory_new(sizeof *writer);
    char *piece = memory_array(PIECE_BYTES, 1);
    int status = writer != NULL && piece != NULL ? trial_write(trial, path, writer, piece, error) :
                 error_set(error, ERROR_NO_MEMORY, "No memory to save a trial.");
    memory_free(piece);
    memory_free(writer);
    return status != 0 ? error_wrap(error, "saving the trial to %s", path) : 0;
}

/* A reader that hashes what it reads, in order. */
struct hashed_reader { struct file_reader file; struct hash_state hash; uint64_t at; };

static int hashed_read(struct hashed_reader *reader, void *bytes, size_t length, struct error *error)
{
    int status = file_reader_read(&reader->file, reader->at, bytes, length, error);
    if (status == 0) {
        hash_update(&reader->hash, bytes, length);
        reader->at += length;
    }
    return status;
}

static int trial_damaged(const struct hashed_reader *reader, const char *what, struct error *error)
{
    return error_set(error, ERROR_DAMAGED,
                     "The saved trial %s %s. Remove it to start this candidate again from its grown checkpoint.",
                     reader->file.path, what);
}

static int header_check(const struct trial *trial, const struct hashed_reader *reader,
                        const struct trial_header *header, struct error *error)
{
    struct trial_header expected;
    header_fill(trial, &expected);
    if (memcmp(header->magic, expected.magic, sizeof header->magic) != 0) {
        return trial_damaged(reader, "is not a saved trial", error);
    }
    if (header->version != expected.version) {
        return trial_damaged(reader, "was written by another version", error);
    }
    if (memcmp(header->shape, expected.shape, HASH_BYTES) != 0) {
        return trial_damaged(reader, "belongs to a model of another shape", error);
    }
    if (memcmp(header->training, expected.training, HASH_BYTES) != 0) {
        return trial_damaged(reader, "was saved with other training values", error);
    }
    const uint64_t counters = (counters_of(trial) + (size_t)trial->learner_count * AVERAGING_WORDS) * sizeof(uint64_t);
    if (header->state[STATE_SLAB_BYTES] != expected.state[STATE_SLAB_BYTES] ||
        header->state[STATE_TENSORS] != expected.state[STATE_TENSORS] ||
        reader->file.size != sizeof *header + counters + slab_bytes(trial) + HASH_BYTES) {
        return trial_damaged(reader, "has the wrong size", error);
    }
    return 0;
}

static int body_read(struct trial *trial, struct hashed_reader *reader, char *piece, struct error *error)
{
    int status = 0;
    for (size_t i = 0; i < counters_of(trial) && status == 0; i++) {
        uint64_t steps = 0;
        status = hashed_read(reader, &steps, sizeof steps, error);
        trial->tensor_steps[i] = le64toh(steps);
    }
    for (int i = 0; i < trial->learner_count && status == 0; i++) {
        uint64_t words[AVERAGING_WORDS] = {0};
        status = hashed_read(reader, words, sizeof words, error);
        trial->learners[i].averaging = words_averaging(words);
    }
    const size_t total = slab_bytes(trial);
    for (size_t at = 0; at < total && status == 0; at += PIECE_BYTES) {
        const size_t length = total - at < PIECE_BYTES ? total - at : PIECE_BYTES;
        status = hashed_read(reader, piece, length, error);
        if (status == 0) {
            trial->options.kernels->upload((char *)trial->slab + at, piece, length);
        }
    }
    if (status != 0) {
        return status;
    }
    uint8_t computed[HASH_BYTES], stored[HASH_BYTES];
    hash_end(&reader->hash, computed);
    status = file_reader_read(&reader->file, reader->at, stored, sizeof stored, error);
    if (status == 0 && memcmp(computed, stored, sizeof stored) != 0) {
        status = trial_damaged(reader, "does not match its checksum", error);
    }
    return status;
}

static void state_take(struct trial *trial, const struct trial_header *header)
{
    const uint64_t *state = header->state;
    trial->step = le64toh(state[STATE_STEP]);
    trial->first_data_step = le64toh(state[STATE_FIRST_DATA_STEP]);
    trial->average_start = le64toh(state[STATE_AVERAGE_START]);
    trial->diverged = state[STATE_DIVERGED] != 0;
    trial->diverged_step = le64toh(state[STATE_DIVERGED_STEP]);
    trial->last_loss = bits_double(le64toh(state[STATE_LAST_LOSS]));
    trial->last_gradient_norm = bits_double(le64toh(state[STATE_LAST_NORM]));
}

static int trial_read(struct trial *trial, struct hashed_reader *reader, char *piece, struct error *error)
{
    struct trial_header header;
    if (reader->file.size < sizeof header) {
        return trial_damaged(reader, "is cut short", error);
    }
    hash_begin(&reader->hash);
    int status = hashed_read(reader, &header, sizeof header, error);
    if (status == 0) {
        status = header_check(trial, reader, &header, error);
    }
    if (status == 0) {
        status = body_read(trial, reader, piece, error);
    }
    if (status == 0) {
        state_take(trial, &header);
    }
    return status;
}

int trial_load(struct trial *trial, const char *path, struct error *error)
{
    struct hashed_reader reader = {0};
    int status = file_reader_open(&reader.file, path, error);
    if (status != 0) {
        return status;
    }
    char *piece = memory_array(PIECE_BYTES, 1);
    status = piece != NULL ? trial_read(trial, &reader, piece, error) :
             error_set(error, ERROR_NO_MEMORY, "No memory to load a trial.");
    memory_free(piece);
    file_reader_close(&reader.file);
    return status;
}
