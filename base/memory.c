#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fault.h"

enum {
    ALIGNED_FROM_BYTES = 4096,    /* smaller blocks have malloc's alignment */
    ALIGNMENT_BYTES = 64,         /* a cache line; also the widest vector register */
    LAZY_FROM_BYTES = 1 << 20,    /* from here on zeroing is left to the first touch of each page */
    HUGE_PAGE_BYTES = 1 << 21,    /* of x86-64 and most arm64 */
    HUGE_FROM_BYTES = 2 * HUGE_PAGE_BYTES
};

/* Large blocks ask for huge pages: walks over slabs of hundreds of MB miss the processor's table of addresses otherwise.
 * Only whole ones within the block, so that it takes no more memory than its size; where the kernel declines, nothing
 * is lost. */
static void ask_for_huge_pages(char *block, size_t size)
{
    size_t head = (size_t)(-(uintptr_t)block & (HUGE_PAGE_BYTES - 1));
    if (size >= HUGE_FROM_BYTES)
        (void)madvise(block + head, (size - head) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES, MADV_HUGEPAGE);
}

/* Zeroes a fresh block. Whole pages of a large one are given back to the kernel, which promises zeroes at the next
 * touch of private anonymous memory (madvise(2)): a slab costs nothing until it is used. Where it declines, memset. */
static void zero_block(char *block, size_t size)
{
    long page = size >= LAZY_FROM_BYTES ? sysconf(_SC_PAGESIZE) : 0;
    if (page > 0) {
        size_t head = (size_t)(-(uintptr_t)block & (uintptr_t)(page - 1));
        size_t whole = (size - head) / (size_t)page * (size_t)page;
        if (madvise(block + head, whole, MADV_DONTNEED) == 0) {
            memset(block, 0, head);
            memset(block + head + whole, 0, size - head - whole);
            return;
        }
    }
    memset(block, 0, size);
}

static void *aligned_zeroed(size_t size)
{
    void *block = NULL;
    if (posix_memalign(&block, size >= HUGE_FROM_BYTES ? HUGE_PAGE_BYTES : ALIGNMENT_BYTES, size) != 0)
        return NULL;
    ask_for_huge_pages(block, size);
    zero_block(block, size);
    return block;
}

void *memory_array(size_t count, size_t size)
{
    size_t total;
    if (memory_multiply(count, size, &total) != 0 || total > PTRDIFF_MAX || fault_strikes(FAULT_ALLOC))
        return NULL;
    return total >= ALIGNED_FROM_BYTES ? aligned_zeroed(total) : calloc(1, total ? total : 1);
}

void *memory_new(size_t size)
{
    return memory_array(1, size);
}

void *memory_resize(void *block, size_t size)
{
    if (size > PTRDIFF_MAX || fault_strikes(FAULT_ALLOC))
        return NULL;
    return realloc(block, size ? size : 1);
}

void memory_free(void *block)
{
    free(block);
}

char *memory_string(const char *text)
{
    return memory_string_n(text, strlen(text));
}

char *memory_string_n(const char *text, size_t length)
{
    char *copy = length < PTRDIFF_MAX ? memory_new(length + 1) : NULL;
    if (copy)
        memcpy(copy, text, length);
    return copy;
}

int memory_multiply(size_t a, size_t b, size_t *product)
{
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        return -1;
    *product = result;
    return 0;
}
