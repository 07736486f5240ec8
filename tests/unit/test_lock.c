/* Mutexes with ranks, base/lock.h. Misuse must end a debug build: it is tried in child processes.
 */
#include "unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lock.h"

static struct h2_mutex low, high, high_too;

static int setup(void **state)
{
	(void)state;
	h2_mutex_init(&low, H2_RANK_POOL);
	h2_mutex_init(&high, H2_RANK_DEVICE);
	h2_mutex_init(&high_too, H2_RANK_DEVICE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	h2_mutex_fini(&low);
	h2_mutex_fini(&high);
	h2_mutex_fini(&high_too);
	return 0;
}

/* Whether body ends its process by an assertion; skips the test where there are none. */
static bool aborts(void (*body)(void))
{
	pid_t pid;
	int status;

#ifdef NDEBUG
	skip();
#endif
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void lock__knows_its_holder(void **state)
{
	(void)state;
	assert_false(h2_mutex_held(&low));
	h2_mutex_lock(&low);
	assert_true(h2_mutex_held(&low));
	h2_mutex_unlock(&low);
	assert_false(h2_mutex_held(&low));
}

static void *look(void *seen)
{
	*(bool *)seen = h2_mutex_held(&low);
	return NULL;
}

static void lock__is_not_held_by_another_thread(void **state)
{
	bool seen = true;
	pthread_t thread;

	(void)state;
	h2_mutex_lock(&low);
	assert_int_equal(pthread_create(&thread, NULL, look, &seen), 0);
	pthread_join(thread, NULL);
	h2_mutex_unlock(&low);
	assert_false(seen);
}

static void lock__allows_rising_ranks_and_release_in_any_order(void **state)
{
	(void)state;
	h2_mutex_lock(&low);
	h2_mutex_lock(&high);
	h2_mutex_unlock(&low);
	h2_mutex_unlock(&high);
	h2_mutex_lock(&low);
	h2_mutex_unlock(&low);
}

static void take_falling(void)
{
	h2_mutex_lock(&high);
	h2_mutex_lock(&low);
}

static void take_equal(void)
{
	h2_mutex_lock(&high);
	h2_mutex_lock(&high_too);
}

static void take_twice(void)
{
	h2_mutex_lock(&low);
	h2_mutex_lock(&low);
}

static void unlock_free(void)
{
	h2_mutex_unlock(&low);
}

static void free_held(void)
{
	h2_mutex_lock(&low);
	h2_mutex_fini(&low);
}

static void lock__refuses_falling_ranks(void **state)
{
	(void)state;
	assert_true(aborts(take_falling));
}

static void lock__refuses_equal_ranks(void **state)
{
	(void)state;
	assert_true(aborts(take_equal));
	assert_true(aborts(take_twice));
}

static void lock__refuses_unlock_by_others_and_fini_while_held(void **state)
{
	(void)state;
	assert_true(aborts(unlock_free));
	assert_true(aborts(free_held));
}

static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int counter;

static void *count_up(void *unused)
{
	(void)unused;
	h2_mutex_lock(&low);
	counter++;
	pthread_cond_signal(&turn);
	h2_mutex_unlock(&low);
	return NULL;
}

static void lock__wait_gives_it_up_and_takes_it_again(void **state)
{
	pthread_t thread;

	(void)state;
	counter = 0;
	h2_mutex_lock(&low);
	assert_int_equal(pthread_create(&thread, NULL, count_up, NULL), 0);
	while (counter == 0)
		h2_mutex_wait(&low, &turn);
	assert_true(h2_mutex_held(&low));
	h2_mutex_unlock(&low);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock__knows_its_holder),
		cmocka_unit_test(lock__is_not_held_by_another_thread),
		cmocka_unit_test(lock__allows_rising_ranks_and_release_in_any_order),
		cmocka_unit_test(lock__refuses_falling_ranks),
		cmocka_unit_test(lock__refuses_equal_ranks),
		cmocka_unit_test(lock__refuses_unlock_by_others_and_fini_while_held),
		cmocka_unit_test(lock__wait_gives_it_up_and_takes_it_again),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
