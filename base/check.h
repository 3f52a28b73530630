/* CHECK: for our own bugs only. Nothing read from a file, socket or database may reach one. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Prints file, line and condition to stderr and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#endif
