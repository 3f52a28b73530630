/* What lies where in a data file: formats of a corpus resolved to offset, token size and count. Inside the corpus
 * only. */
#ifndef TRAINER_CORPUS_FORMAT_H
#define TRAINER_CORPUS_FORMAT_H

#include "trainer/corpus.h"

/* Fills format, data_offset, token_bytes, token_signed and tokens of a corpus whose file is open and whose
 * vocabulary is set. `path`: for formats whose reader opens the file itself. ERROR_INVALID naming what is malformed,
 * ERROR_IO, ERROR_NO_MEMORY. */
int corpus_resolve(struct corpus *corpus, const char *path, enum corpus_format format, struct error *error);

/* The npy part: header versions 1.0, 2.0 and 3.0. Source: numpy.lib.format, "Format Version 1.0" onwards. */
int npy_resolve(struct corpus *corpus, struct error *error);
extern const unsigned char npy_magic[6];

#endif
