/* Probing with libblkid; see blkid.h. */
#include "blkid.h"

#include <blkid/blkid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LIBRARY "libblkid.so.1"

struct functions {
	void *library;
	__typeof__(blkid_new_probe) *new_probe;
	__typeof__(blkid_free_probe) *free_probe;
	__typeof__(blkid_probe_set_device) *set_device;
	__typeof__(blkid_probe_enable_partitions) *enable_partitions;
	__typeof__(blkid_do_safeprobe) *do_safeprobe;
	__typeof__(blkid_probe_lookup_value) *lookup_value;
};

static bool load(struct functions *f)
{
	const struct {
		const char *name;
		void **to;
	} symbols[] = {
		{"blkid_new_probe", (void **)&f->new_probe},
		{"blkid_free_probe", (void **)&f->free_probe},
		{"blkid_probe_set_device", (void **)&f->set_device},
		{"blkid_probe_enable_partitions", (void **)&f->enable_partitions},
		{"blkid_do_safeprobe", (void **)&f->do_safeprobe},
		{"blkid_probe_lookup_value", (void **)&f->lookup_value},
	};

	f->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; f->library && i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		*symbols[i].to = dlsym(f->library, symbols[i].name);
		if (!*symbols[i].to) {
			dlclose(f->library);
			f->library = NULL;
		}
	}
	return f->library;
}

static int probe(const struct functions *f, int fd, char *what, size_t size)
{
	blkid_probe pr = f->new_probe();
	const char *value = NULL;
	int found;

	if (!pr)
		return -ENOMEM;
	f->enable_partitions(pr, 1);
	found = f->set_device(pr, fd, 0, 0) == 0 ? f->do_safeprobe(pr) : -1;
	if (found == 0 && f->lookup_value(pr, "TYPE", &value, NULL) != 0)
		f->lookup_value(pr, "PTTYPE", &value, NULL);
	/* -2: several of them; -1: it could not tell, as for an empty file. */
	if (found == 0)
		snprintf(what, size, "%s", value ? value : "something");
	else if (found == -2)
		snprintf(what, size, "several filesystems");
	f->free_probe(pr);
	return found == 0 || found == -2;
}

int blkid_probe_path(const char *path, char *what, size_t size)
{
	struct functions f;
	int fd, result;

	if (!load(&f))
		return -ENOSYS;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = probe(&f, fd, what, size);
	close(fd);
	dlclose(f.library);
	return result;
}
