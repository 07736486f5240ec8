/* Standard input, output and error, which a program may be started without. */
#ifndef CMD_DESCRIPTORS_H
#define CMD_DESCRIPTORS_H

#include <stdbool.h>

/*
 * See to it that the descriptors 0, 1 and 2 are open, before anything else is: the next file that is
 * opened takes the number of a closed one, and if it is a volume, messages are written over its
 * header. What was closed cannot be read or written afterwards either: that fails with EBADF.
 *
 * Returns false where the system opens nothing for them: the program must end then, without opening
 * a volume.
 */
bool descriptors_init(void);

#endif
