/* Heap memory: every allocation of the project goes through here, so that a test can fail the n-th one.
 * Thread rule: any thread. Ownership: the caller's, released with memory_free. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* Zeroed memory for count elements of size bytes, 64-byte aligned when the total is 4 KiB or more. NULL on overflow or
 * when memory is short; never NULL for a total of 0 (a valid pointer to nothing). */
void *memory_array(size_t count, size_t size);

/* One zeroed block. */
void *memory_new(size_t size);

/* Resizes a block from memory_array/new (NULL allowed); new bytes are NOT zeroed. NULL on failure, old block intact.
 * Alignment: that of malloc. */
void *memory_resize(void *block, size_t size);

/* NULL allowed. */
void memory_free(void *block);

/* Copies of strings; NULL when memory is short. */
char *memory_string(const char *text);
char *memory_string_n(const char *text, size_t length);

/* *product = a * b; returns 0, or -1 on overflow (and leaves *product alone). */
int memory_multiply(size_t a, size_t b, size_t *product);

#endif
