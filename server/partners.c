#include "server/partners.h"

#include <string.h>

#include "base/memory.h"

int partners_init(struct partners *partners, int most, struct error *error)
{
    *partners = (struct partners){ 0 };
    if (most == 0)
        return 0;
    partners->checkpoints = memory_array((size_t)most, sizeof *partners->checkpoints);
    partners->of = memory_array((size_t)most, sizeof *partners->of);
    if (partners->checkpoints && partners->of)
        return 0;
    partners_fini(partners);
    return error_set(error, ERROR_NO_MEMORY, "reading %d further checkpoints: out of memory", most);
}

int partners_add(struct partners *partners, const char *directory, bool moments, struct error *error)
{
    struct checkpoint_load options = { .moments = moments };
    struct checkpoint *checkpoint = &partners->checkpoints[partners->count];
    int code = checkpoint_load(checkpoint, directory, &options, error);

    if (code)
        return code;
    struct growth_partner *partner = &partners->of[partners->count++];
    *partner = (struct growth_partner){ .shape = checkpoint->table.shape, .checkpoint = checkpoint };
    memcpy(partner->hash, checkpoint->hash, sizeof partner->hash);
    return 0;
}

uint64_t partners_bytes(const struct partners *partners)
{
    uint64_t bytes = 0;

    for (int i = 0; i < partners->count; i++) {
        const struct moments *moments = partners->checkpoints[i].moments;
        bytes += partners->checkpoints[i].table.slab * sizeof(float) * (moments ? moments->raw ? 4 : 3 : 1);
    }
    return bytes;
}

void partners_fini(struct partners *partners)
{
    for (int i = 0; i < partners->count; i++)
        checkpoint_fini(&partners->checkpoints[i]);
    memory_free(partners->checkpoints);
    memory_free(partners->of);
    *partners = (struct partners){ 0 };
}
