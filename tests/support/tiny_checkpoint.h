/* Tiny gpt2 directories written by hand: an implementation of the file format and of GPT-2's tensor names that shares
 * nothing with model/, so that a reader can be tested against it. Needs base/ only. Everything fails the test on error.
 *
 *     struct tiny_model model = tiny_model_default();
 *     tiny_checkpoint_write(directory, &model);                     a valid directory
 *
 *     struct tiny_file *file = tiny_file_of(&model);                or: change something first
 *     tiny_file_remove(file, "transformer.ln_f.bias");
 *     tiny_file_write(file, path);
 *     tiny_file_free(file); */
#ifndef TESTS_SUPPORT_TINY_CHECKPOINT_H
#define TESTS_SUPPORT_TINY_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tiny_model {
    int layers, width, heads, ff, context, vocabulary;
    bool tied;
    bool prefixed;           /* names carry "transformer." */
    bool buffers;            /* attn.bias and attn.masked_bias ship inside */
    const char *dtype;       /* "F32", "F16", "BF16" */
    const char *config;      /* further members of config.json, each with a leading comma; NULL: none */
};

/* 2 layers, 8 wide, 2 heads, ff 16, context 6, vocabulary 11, tied, prefixed, F32. */
struct tiny_model tiny_model_default(void);
/* config.json and model.safetensors in an existing directory. */
void tiny_checkpoint_write(const char *directory, const struct tiny_model *model);
void tiny_config_write(const char *directory, const struct tiny_model *model);
/* Value of element `index` of a tensor (name without prefix): exact in F16 and BF16; gains near 1, the rest below 0.25.
 * */
float tiny_value(const char *name, size_t index);

enum { TINY_TENSORS_MAX = 256 };
struct tiny_tensor {
    char name[96], dtype[8];
    int rank;
    uint64_t dims[8];
    unsigned char *bytes;
    size_t length;
};
struct tiny_file {
    struct tiny_tensor tensors[TINY_TENSORS_MAX];
    int count;
};
struct tiny_file *tiny_file_new(void);
struct tiny_file *tiny_file_of(const struct tiny_model *model);
void tiny_file_free(struct tiny_file *file);
/* Zeroed bytes of shape and dtype. */
struct tiny_tensor *tiny_file_add(struct tiny_file *file, const char *name, const char *dtype, int rank,
                                  const uint64_t *dims);
struct tiny_tensor *tiny_file_find(struct tiny_file *file, const char *name);
void tiny_file_remove(struct tiny_file *file, const char *name);
void tiny_file_write(const struct tiny_file *file, const char *path);
/* Puts a float where it belongs, in the tensor's dtype (the value must be exact in it). */
void tiny_tensor_set(struct tiny_tensor *tensor, size_t index, float value);

#endif
