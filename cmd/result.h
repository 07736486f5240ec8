/* Results of requests to a mount that are longer than an answer, <hammer2/ioctl.h>. */
#ifndef CMD_RESULT_H
#define CMD_RESULT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fetch a result as a whole by its number. *bytes is to be freed. Returns 0; -ENOENT: the server has
 * given it up; -ENOMEM; or the error of the request.
 */
int result_fetch(int fd, uint64_t number, uint8_t **bytes, size_t *size);

#endif
