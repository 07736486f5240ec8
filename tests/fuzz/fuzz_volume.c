/*
 * Fuzzing of everything that reads a volume: a small sound volume is changed at the places that
 * the input tells, the check codes on the way up to the header are made right again, and then it
 * is opened, walked, read and checked. Nothing may crash, hang, leak, or return a length beyond
 * what was asked for.
 *
 * An input is a list of records of 12 bytes: which block, where in it, how it is changed, value;
 * the last byte of the first one chooses what is done with the volume.
 */
#include "fuzz.h"
#include "hostile.h"
#include "use.h"

#define RECORDS_MAX 24u

/* Freed memory is remembered for a while, but not for as many megabytes as usual: for speed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:malloc_context_size=5";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	hostile_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct h2_volumes_options options = {.report = use_report};
	struct h2_check_summary summary;
	struct h2_volumes *volumes;
	unsigned what = size >= HOSTILE_RECORD ? data[HOSTILE_RECORD - 1] % 4 : 3;

	for (unsigned i = 0; i < RECORDS_MAX && size >= HOSTILE_RECORD; i++) {
		hostile_change(data);
		data += HOSTILE_RECORD;
		size -= HOSTILE_RECORD;
	}
	hostile_seal();
	if (hostile_open(&options, &volumes) == 0) {
		if (what == 0)
			use_check(volumes, &summary);
		else if (what == 1)
			use_dump(volumes);
		else
			use_volumes(volumes);
		h2_volumes_close(volumes);
	}
	hostile_restore();
	return 0;
}
