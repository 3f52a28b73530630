/* Documents: the blocks of Markdown that are made from the project's own tables. A document holds a block between two
 * comments, <!-- begin NAME --> and <!-- end NAME -->; tools/docs.c puts the text of the block there. */
#ifndef TOOLS_DOCS_H
#define TOOLS_DOCS_H

#include "base/buffer.h"

struct block { const char *name; void (*write)(struct buffer *out); };

/* Ends with an empty row. */
extern const struct block blocks_tables[];      /* docs_tables.c: routes, fields, errors, limits, flags, operators … */
extern const struct block blocks_answers[];     /* docs_answers.c: fields of what the service answers */
extern const struct block blocks_growth[];      /* docs_growth.c: operators with drawings, the design space */

/* Text for a cell of a table or for prose: what Markdown would take for markup is escaped. */
void write_cell(struct buffer *out, const char *text);
/* "all" or "`gpt2`, `bert`"; a bit per enum family. */
void write_families(struct buffer *out, unsigned families);
/* Prints what is wrong and ends the program with 1. */
void stop(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
