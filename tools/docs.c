/* docs [--check] FILE...: puts the generated blocks into the documents, or with --check says which are out of date.
 * Every block must stand in some file, and every marker must name a block. */
#include "tools/docs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { BLOCKS_MAX = 64, NAME_BYTES = 64 };

static const struct block *const groups[] = { blocks_tables, blocks_answers, blocks_growth };
enum { GROUPS = sizeof groups / sizeof groups[0] };
static bool seen[GROUPS][BLOCKS_MAX];

void stop(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("docs: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void write_cell(struct buffer *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("|*", *text))
            buffer_text(out, "\\");
        if (*text == '<')
            buffer_text(out, "&lt;");
        else
            buffer_append(out, text, 1);
    }
}

static const struct block *find_block(const char *name)
{
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; groups[g][i].name; i++)
            if (strcmp(groups[g][i].name, name) == 0) {
                seen[g][i] = true;
                return &groups[g][i];
            }
    return NULL;
}

/* The name in a line "<!-- begin NAME -->"; false for any other line. */
static bool begins_block(const char *line, char name[NAME_BYTES])
{
    return sscanf(line, "<!-- begin %63s -->", name) == 1;
}

/* The document with every block written anew. */
static void renew(const char *path, const char *text, struct buffer *out)
{
    while (*text) {
        size_t length = strcspn(text, "\n") + 1;
        char name[NAME_BYTES], end[NAME_BYTES + 32];
        const struct block *block;
        const char *rest;

        if (text[length - 1] == '\0')
            length--;
        buffer_append(out, text, length);
        if (!begins_block(text, name)) {
            text += length;
            continue;
        }
        snprintf(end, sizeof end, "<!-- end %s -->", name);
        if (!(block = find_block(name)))
            stop("%s: there is no block \"%s\"", path, name);
        if (!(rest = strstr(text, end)))
            stop("%s: block \"%s\" has no end", path, name);
        buffer_text(out, "\n");
        block->write(out);
        buffer_text(out, "\n");
        text = rest;
    }
}

/* True if the file is, or was, not as it should be. */
static bool treat(const char *path, bool only_check)
{
    struct error error = { 0 };
    struct buffer fresh;
    size_t length = 0;
    char *text = NULL;
    bool differs;

    if (file_read(path, 1 << 24, &text, &length, &error))
        stop("%s", error.message);
    buffer_init(&fresh);
    renew(path, text, &fresh);
    if (fresh.failed)
        stop("out of memory");
    differs = fresh.length != length || memcmp(fresh.data, text, length) != 0;
    if (differs && only_check)
        fprintf(stderr, "%s: differs from the tables; `make docs` writes it anew\n", path);
    else if (differs && file_write(path, fresh.data, fresh.length, &error))
        stop("%s", error.message);
    buffer_fini(&fresh);
    memory_free(text);
    return differs;
}

int main(int count, char **arguments)
{
    bool only_check = count > 1 && strcmp(arguments[1], "--check") == 0, differs = false;

    for (int i = only_check ? 2 : 1; i < count; i++)
        differs |= treat(arguments[i], only_check);
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; groups[g][i].name; i++)
            if (!seen[g][i])
                stop("the block \"%s\" stands in none of the files", groups[g][i].name);
    return only_check && differs;
}
