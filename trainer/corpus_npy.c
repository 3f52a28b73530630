#include "trainer/corpus_format.h"

#include <string.h>

/* An npy file: magic (6), version (2), header length (2 or 4, little-endian), header, data. The header is a Python
 * literal
 *     {'descr': '<u2', 'fortran_order': False, 'shape': (1234,), }
 * padded with spaces and ended by a newline. Exactly these three keys, in any order. */
const unsigned char npy_magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
enum { NPY_PREFIX_MAX = 12, NPY_HEADER_MAX = 4096, NPY_WORD_BYTES = 32 };

struct npy_type { const char *name; int bytes; bool is_signed; };
static const struct npy_type npy_types[] = {
    {"|u1", 1, false}, {"|i1", 1, true}, {"<u2", 2, false}, {"<i2", 2, true},
    {"<u4", 4, false}, {"<i4", 4, true}, {"<u8", 8, false}, {"<i8", 8, true},
};

struct npy_text { const char *at, *end; };

/* What a header says; a key that was read has its flag. */
struct npy_header {
    bool has_type, has_order, has_shape;
    const struct npy_type *type;
    uint64_t count;
};

static int npy_refuse(const struct corpus *corpus, struct error *error, const char *what)
{
    return error_set_at(error, ERROR_INVALID, "",
                        "The npy data file %s %s. Save a one-dimensional array of integers with numpy.save.",
                        corpus->file.path, what);
}

static void text_skip(struct npy_text *text)
{
    while (text->at < text->end && *text->at == ' ') {
        text->at++;
    }
}

/* Skips spaces, then takes `c` if it comes next. */
static bool text_take(struct npy_text *text, char c)
{
    text_skip(text);
    if (text->at == text->end || *text->at != c) {
        return false;
    }
    text->at++;
    return true;
}

static bool text_quoted(struct npy_text *text, char word[NPY_WORD_BYTES])
{
    text_skip(text);
    if (text->at == text->end || (*text->at != '\'' && *text->at != '"')) {
        return false;
    }
    const char quote = *text->at++;
    size_t length = 0;
    while (text->at < text->end && *text->at != quote) {
        if (*text->at == '\\' || length + 1 == NPY_WORD_BYTES) {
            return false;
        }
        word[length++] = *text->at++;
    }
    word[length] = '\0';
    return text_take(text, quote);
}

static bool text_word(struct npy_text *text, const char *word)
{
    const size_t length = strlen(word);
    text_skip(text);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0) {
        return false;
    }
    text->at += length;
    return true;
}

/* Digits without a leading zero, below 2^60. */
static bool text_count(struct npy_text *text, uint64_t *count)
{
    text_skip(text);
    const char *begin = text->at;
    uint64_t value = 0;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9') {
        value = value * 10 + (uint64_t)(*text->at++ - '0');
        if (value >> 60 != 0) {
            return false;
        }
    }
    *count = value;
    return text->at > begin && (*begin != '0' || text->at == begin + 1);
}

static const char *npy_descr(struct npy_text *text, struct npy_header *header)
{
    char word[NPY_WORD_BYTES];
    if (!text_quoted(text, word)) {
        return "has a structured or malformed 'descr'";
    }
    for (size_t i = 0; i < sizeof npy_types / sizeof npy_types[0]; i++) {
        if (strcmp(word, npy_types[i].name) == 0) {
            header->type = &npy_types[i];
            return NULL;
        }
    }
    return word[0] == '>' ? "holds big-endian numbers" : "does not hold integers of 1, 2, 4 or 8 bytes";
}

static const char *npy_order(struct npy_text *text, struct npy_header *header)
{
    (void)header;
    if (text_word(text, "False")) {
        return NULL;
    }
    return text_word(text, "True") ? "is in Fortran order" : "has a malformed 'fortran_order'";
}

static const char *npy_shape(struct npy_text *text, struct npy_header *header)
{
    if (!text_take(text, '(')) {
        return "has a malformed 'shape'";
    }
    if (text_take(text, ')')) {
        return "holds a scalar";
    }
    if (!text_count(text, &header->count) || !text_take(text, ',')) {
        return "has a malformed 'shape'";
    }
    return text_take(text, ')') ? NULL : "has more than one dimension";
}

/* One "key: value". NULL, or what is wrong. */
static const char *npy_field(struct npy_text *text, struct npy_header *header)
{
    char key[NPY_WORD_BYTES];
    if (!text_quoted(text, key) || !text_take(text, ':')) {
        return "has a malformed header";
    }
    const struct {
        const char *name;
        bool *seen;
        const char *(*read)(struct npy_text *, struct npy_header *);
    } fields[] = {
        {"descr", &header->has_type, npy_descr},
        {"fortran_order", &header->has_order, npy_order},
        {"shape", &header->has_shape, npy_shape},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (strcmp(key, fields[i].name) == 0) {
            if (*fields[i].seen) {
                return "names a key of its header twice";
            }
            *fields[i].seen = true;
            return fields[i].read(text, header);
        }
    }
    return "has an unknown key in its header";
}

static const char *npy_parse(struct npy_text text, struct npy_header *header)
{
    if (!text_take(&text, '{')) {
        return "has a malformed header";
    }
    while (!text_take(&text, '}')) {
        const char *wrong = npy_field(&text, header);
        if (wrong != NULL) {
            return wrong;
        }
        if (!text_take(&text, ',')) {
            if (!text_take(&text, '}')) {
                return "has a malformed header";
            }
            break;
        }
    }
    text_skip(&text);
    if (text.end - text.at != 1 || *text.at != '\n') {
        return "has something behind its header, or no newline at its end";
    }
    return header->has_type && header->has_order && header->has_shape ? NULL : "lacks a key in its header";
}

/* Where the header lies: *begin and *length. Version 1 has a length of 2 bytes, versions 2 and 3 of 4. */
static int npy_extent(const struct corpus *corpus, uint64_t *begin, uint64_t *length, struct error *error)
{
    unsigned char prefix[NPY_PREFIX_MAX] = {0};
    const size_t available = corpus->file.size < NPY_PREFIX_MAX ? (size_t)corpus->file.size : NPY_PREFIX_MAX;
    int status = file_reader_read(&corpus->file, 0, prefix, available, error);
    if (status != 0) {
        return status;
    }
    if (available < NPY_PREFIX_MAX || memcmp(prefix, npy_magic, sizeof npy_magic) != 0) {
        return npy_refuse(corpus, error, "does not begin with the npy magic");
    }
    if (prefix[6] < 1 || prefix[6] > 3 || prefix[7] != 0) {
        return npy_refuse(corpus, error, "is of an unknown version");
    }
    const bool wide = prefix[6] > 1;
    *begin = wide ? 12 : 10;
    *length = (uint64_t)prefix[8] | (uint64_t)prefix[9] << 8;
    if (wide) {
        *length |= (uint64_t)prefix[10] << 16 | (uint64_t)prefix[11] << 24;
    }
    if (*length > NPY_HEADER_MAX) {
        return npy_refuse(corpus, error, "has a header of more than 4096 bytes");
    }
    if (*length > corpus->file.size - *begin) {
        return npy_refuse(corpus, error, "ends within its header");
    }
    return 0;
}

int npy_resolve(struct corpus *corpus, struct error *error)
{
    char bytes[NPY_HEADER_MAX];
    uint64_t begin = 0, length = 0;
    int status = npy_extent(corpus, &begin, &length, error);
    if (status == 0) {
        status = file_reader_read(&corpus->file, begin, bytes, (size_t)length, error);
    }
    if (status != 0) {
        return status;
    }
    struct npy_header header = {0};
    const char *wrong = npy_parse((struct npy_text){bytes, bytes + length}, &header);
    if (wrong != NULL) {
        return npy_refuse(corpus, error, wrong);
    }
    corpus->data_offset = begin + length;
    corpus->token_bytes = header.type->bytes;
    corpus->token_signed = header.type->is_signed;
    corpus->tokens = header.count;
    const uint64_t data = corpus->file.size - corpus->data_offset;
    if (data / (uint64_t)header.type->bytes != header.count || data % (uint64_t)header.type->bytes != 0) {
        return npy_refuse(corpus, error, data / (uint64_t)header.type->bytes < header.count ?
                          "is shorter than its shape says" : "has bytes behind its data");
    }
    return 0;
}
