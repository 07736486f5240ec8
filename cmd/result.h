/* Results of requests to a mounted filesystem that are longer than an answer: see <hammer2/ioctl.h>. */
#ifndef CMD_RESULT_H
#define CMD_RESULT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Read the whole of a result; *bytes is to be freed. Returns 0; -ENOENT where the server has it no
 * more; -ENOMEM; another error of the request. fd: of any file of the filesystem.
 */
int result_fetch(int fd, uint64_t number, uint8_t **bytes, size_t *size);

#endif
