/* The verbs hash and dhash: the numbers that names have on the media. */
#include <inttypes.h>
#include <string.h>

#include "hammer2.h"

static int print_hashes(struct call *call, uint64_t (*hash)(const void *name, size_t len))
{
	json_array_begin(call->json, NULL);
	for (int i = 0; i < call->argc; i++) {
		const char *name = call->argv[i];
		uint64_t value = hash(name, strlen(name));

		if (call->json) {
			json_object_begin(call->json, NULL);
			json_name(call->json, "name", name, strlen(name));
			json_hex(call->json, "hash", value);
			json_object_end(call->json);
			continue;
		}
		printf("0x%016" PRIx64 " ", value);
		out_name(stdout, name, strlen(name));
		putchar('\n');
	}
	json_array_end(call->json);
	return EXIT_DONE;
}

int verb_hash(struct call *call)
{
	return print_hashes(call, h2_name_hash);
}

int verb_dhash(struct call *call)
{
	for (int i = 0; i < call->argc; i++) {
		if (strlen(call->argv[i]) > H2_BLOCK_MIN) {
			complain("dhash: argument %d is longer than a name block, %u bytes", i + 1,
				 H2_BLOCK_MIN);
			return EXIT_USAGE;
		}
	}
	return print_hashes(call, h2_name_block_hash);
}
