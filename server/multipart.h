/* Multipart bodies (RFC 2046, RFC 7578) as a push parser: bytes in, in pieces of any size; parts out, their data as it
 * comes. Holds one delimiter and one part's headers, never a part's data. Thread rule: one thread. */
#ifndef SERVER_MULTIPART_H
#define SERVER_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { MULTIPART_NAME_BYTES = 128, MULTIPART_FILE_NAME_BYTES = 256, MULTIPART_HEADER_BYTES = 4096,
       MULTIPART_BOUNDARY_MAX = 70, MULTIPART_PARTS_MAX = 256 };

struct multipart_part {
    char name[MULTIPART_NAME_BYTES];
    char file_name[MULTIPART_FILE_NAME_BYTES];    /* as sent; "" if there was none; never a path to be trusted */
};

/* Each returns 0, or an error code that ends the parsing. Data comes between begin and end. */
struct multipart_sink {
    int (*begin)(void *context, const struct multipart_part *part, struct error *error);
    int (*data)(void *context, const char *bytes, size_t length, struct error *error);
    int (*end)(void *context, struct error *error);
    void *context;
};

/*   PREAMBLE --delimiter--> DELIMITER --CRLF--> HEADERS --empty line--> BODY --delimiter--> DELIMITER
 *                               \--"--"--> EPILOGUE */
enum multipart_state { MULTIPART_PREAMBLE, MULTIPART_DELIMITER, MULTIPART_PADDING, MULTIPART_DASH, MULTIPART_LINE_END,
                       MULTIPART_HEADERS, MULTIPART_BODY, MULTIPART_EPILOGUE };

struct multipart {
    enum multipart_state state;
    struct multipart_sink sink;
    char delimiter[MULTIPART_BOUNDARY_MAX + 8];    /* CR LF - - boundary */
    size_t delimiter_length;
    size_t matched;                                /* bytes of the delimiter seen at the end of the input so far */
    char header[MULTIPART_HEADER_BYTES];
    size_t header_length;
    int parts;
};

/* Takes the boundary out of a Content-Type's value. ERROR_SYNTAX if there is none, or a bad one. */
int multipart_boundary(const char *content_type, char boundary[MULTIPART_BOUNDARY_MAX + 1], struct error *error);
void multipart_init(struct multipart *parser, const char *boundary, const struct multipart_sink *sink);
/* ERROR_SYNTAX for a malformed body, ERROR_TOO_LARGE for too many parts or too long headers, or what the sink said. */
int multipart_feed(struct multipart *parser, const char *bytes, size_t length, struct error *error);
/* The input is over: ERROR_SYNTAX if the closing delimiter never came. */
int multipart_finish(const struct multipart *parser, struct error *error);

#endif
