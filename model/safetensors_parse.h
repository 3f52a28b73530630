/* Inside of the safetensors reader: header length, header, ranges. Used by safetensors.c alone. */
#ifndef MODEL_SAFETENSORS_PARSE_H
#define MODEL_SAFETENSORS_PARSE_H

#include "model/safetensors.h"

/* N from the first 8 bytes of a file of `size` bytes (only looked at if size >= 8), checked against limit and size. */
int safetensors_header_length(const unsigned char first[8], uint64_t size, uint64_t limit, uint64_t *length,
                              struct error *error);
/* Fills entries and metadata from file->text (length bytes and room for a NUL), which it overwrites. */
int safetensors_parse_header(struct safetensors *file, size_t length, uint64_t data_bytes, struct error *error);
/* The entries' ranges cover the data exactly: no hole, no overlap, nothing missing, nothing left. Reorders entries. */
int safetensors_check_ranges(struct safetensors *file, uint64_t data_bytes, struct error *error);

#endif
