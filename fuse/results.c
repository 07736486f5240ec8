/* See results.h. */
#include "results.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define KEPT 8u
#define KEPT_SECONDS 60
#define SIZE_LIMIT ((size_t)1 << 30)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept {
	uint64_t number; /* 0: none */
	uid_t uid;
	time_t asked; /* monotonic */
	struct result result;
} kept[KEPT]; /* under lock */
static bool sweeping; /* under lock: a thread does */

int result_add(struct result *result, const void *bytes, size_t size)
{
	size_t room = result->room ? result->room : 4096;
	uint8_t *more;

	if (size > SIZE_LIMIT - result->size)
		return -EFBIG;
	while (room < result->size + size)
		room *= 2;
	if (room > result->room) {
		more = realloc(result->bytes, room);
		if (!more)
			return -ENOMEM;
		result->bytes = more;
		result->room = room;
	}
	memcpy(result->bytes + result->size, bytes, size);
	result->size += size;
	return 0;
}

void result_fini(struct result *result)
{
	free(result->bytes);
	*result = (struct result){0};
}

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void give_up(struct kept *k)
{
	result_fini(&k->result);
	k->number = 0;
}

static void give_up_old(void)
{
	for (unsigned i = 0; i < KEPT; i++)
		if (kept[i].number && now() - kept[i].asked >= KEPT_SECONDS)
			give_up(&kept[i]);
}

/* As long as some are kept: gives up what nobody asks for any more. */
static void *sweep(void *user)
{
	const struct timespec pause = {.tv_sec = KEPT_SECONDS};
	bool more = true;

	(void)user;
	while (more) {
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&lock);
		give_up_old();
		more = false;
		for (unsigned i = 0; i < KEPT; i++)
			more = more || kept[i].number;
		sweeping = more;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Without a thread it is left to the next request. */
static void start_sweeping(void)
{
	pthread_t thread;

	if (sweeping || pthread_create(&thread, NULL, sweep, NULL) != 0)
		return;
	sweeping = true;
	pthread_detach(thread);
}

uint64_t results_keep(struct result *result, uid_t uid)
{
	struct kept *k = &kept[0];
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number) || number == 0) {
		result_fini(result);
		return 0;
	}
	pthread_mutex_lock(&lock);
	give_up_old();
	for (unsigned i = 0; i < KEPT && k->number; i++)
		if (!kept[i].number || kept[i].asked < k->asked)
			k = &kept[i];
	if (k->number)
		give_up(k);
	*k = (struct kept){.number = number, .uid = uid, .asked = now(), .result = *result};
	*result = (struct result){0};
	start_sweeping();
	pthread_mutex_unlock(&lock);
	return number;
}

ssize_t results_read(uint64_t number, uid_t uid, uint64_t offset, void *bytes, size_t size)
{
	size_t wanted = size;
	ssize_t done = -ENOENT;

	pthread_mutex_lock(&lock);
	give_up_old();
	for (unsigned i = 0; i < KEPT; i++) {
		struct kept *k = &kept[i];
		size_t left;

		if (number == 0 || k->number != number || k->uid != uid)
			continue;
		left = offset < k->result.size ? k->result.size - (size_t)offset : 0;
		if (size > left)
			size = left;
		if (size)
			memcpy(bytes, k->result.bytes + offset, size);
		done = (ssize_t)size;
		k->asked = now();
		if (size < wanted)
			give_up(k);
		break;
	}
	pthread_mutex_unlock(&lock);
	return done;
}

void results_free(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < KEPT; i++)
		give_up(&kept[i]);
	pthread_mutex_unlock(&lock);
}
