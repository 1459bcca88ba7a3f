/*
 * Worker threads of a block device: at most MAX_THREADS, started when a job finds none idle, ended
 * after IDLE_S seconds without one.
 */
#include "base/bits.h"
#include "block/block_device.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define MAX_THREADS 16
#define IDLE_S      10
#define STACK_BYTES (256u << 10)

void block_workers_init(struct block_workers *workers)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&workers->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&workers->work, &attributes);
	pthread_cond_init(&workers->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	workers->first = NULL;
	workers->last = &workers->first;
}

void block_workers_finish(struct block_workers *workers)
{
	pthread_mutex_lock(&workers->lock);
	workers->closing = true;
	pthread_cond_broadcast(&workers->work);
	while (workers->nr_threads > 0)
		pthread_cond_wait(&workers->ended, &workers->lock);
	pthread_mutex_unlock(&workers->lock);
	pthread_cond_destroy(&workers->work);
	pthread_cond_destroy(&workers->ended);
	pthread_mutex_destroy(&workers->lock);
}

/* Returns false if none came in IDLE_S seconds. Called with the lock. */
static bool wait_for_work(struct block_workers *workers)
{
	struct timespec deadline;
	int result = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += IDLE_S;
	workers->nr_idle++;
	while (!workers->first && !workers->closing && result == 0)
		result = pthread_cond_timedwait(&workers->work, &workers->lock, &deadline);
	workers->nr_idle--;
	return workers->first != NULL;
}

static struct block_request *take(struct block_workers *workers)
{
	struct block_request *request = workers->first;

	workers->first = request->next_;
	if (!workers->first)
		workers->last = &workers->first;
	return request;
}

static void *worker_main(void *context)
{
	struct block_device *device = context;
	struct block_workers *workers = &device->workers;

	pthread_mutex_lock(&workers->lock);
	while (workers->first || wait_for_work(workers)) {
		struct block_request *request = take(workers);

		pthread_mutex_unlock(&workers->lock);
		block_queue_return(request, block_device_execute(device, request));
		pthread_mutex_lock(&workers->lock);
	}
	workers->nr_threads--;
	pthread_cond_signal(&workers->ended);
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

/* Called with the lock. A host without room for another thread leaves the job to the others. */
static bool start_thread(struct block_workers *workers)
{
	struct block_device *device = container_of(workers, struct block_device, workers);
	pthread_attr_t attributes;
	sigset_t all, saved;
	pthread_t thread;
	bool started;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	started = pthread_create(&thread, &attributes, worker_main, device) == 0;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	pthread_attr_destroy(&attributes);
	if (started)
		workers->nr_threads++;
	return started;
}

void block_workers_run(struct block_workers *workers, struct block_request *request)
{
	bool have_thread = true;

	pthread_mutex_lock(&workers->lock);
	request->next_ = NULL;
	if (workers->nr_idle == 0 && workers->nr_threads < MAX_THREADS && !start_thread(workers))
		have_thread = workers->nr_threads > 0;
	if (have_thread) {
		*workers->last = request;
		workers->last = &request->next_;
		pthread_cond_signal(&workers->work);
	}
	pthread_mutex_unlock(&workers->lock);
	if (!have_thread)
		block_queue_return(request, -ENOMEM);
}
