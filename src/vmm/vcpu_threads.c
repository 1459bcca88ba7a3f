#include "vmm/vcpu_threads.h"

#include "base/trace.h"

#include <signal.h>
#include <stdio.h>

/*
 * Less than a large page. Of the 8 MiB that a thread has by default Linux makes a whole large page
 * resident as soon as one lies in them aligned, which happens beside guest memory, because that is
 * aligned.
 */
#define VCPU_STACK_BYTES (1u << 20)

/* Waits while the machine is paused. Returns false if the thread has to end. */
static bool vcpu_park(struct vcpu_threads *all, unsigned resumes)
{
	bool ending;

	pthread_mutex_lock(&all->lock);
	all->nr_parked++;
	pthread_cond_broadcast(&all->changed);
	while (!all->ending && (all->paused || all->resumes == resumes))
		pthread_cond_wait(&all->changed, &all->lock);
	all->nr_parked--;
	ending = all->ending;
	pthread_mutex_unlock(&all->lock);
	return !ending;
}

static void *vcpu_main(void *context)
{
	struct vcpu_thread *thread = context;
	struct vcpu_threads *all = thread->all;
	struct vcpu_exit exit;
	unsigned resumes = 0;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", thread->index);
	pthread_setname_np(pthread_self(), name);
	trace_set_vcpu(thread->index);
	while (vcpu_park(all, resumes)) {
		bool paused = false;

		pthread_mutex_lock(&all->lock);
		resumes = all->resumes;
		pthread_mutex_unlock(&all->lock);
		while (!paused) {
			all->engine->ops->run(all->engine, thread->index, &exit);
			if (exit.reason != VCPU_EXIT_KICKED) {
				all->stopped(all->context, &exit);
				break;
			}
			pthread_mutex_lock(&all->lock);
			paused = all->paused || all->ending;
			pthread_mutex_unlock(&all->lock);
		}
	}
	return NULL;
}

int vcpu_threads_start(struct vcpu_threads *all, struct engine *engine, unsigned count,
	void (*stopped)(void *context, const struct vcpu_exit *exit), void *context)
{
	pthread_attr_t attributes;
	sigset_t blocked, former;
	int error;

	*all = (struct vcpu_threads){
		.engine = engine,
		.count = count,
		.stopped = stopped,
		.context = context,
		.paused = true,
	};
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);

	error = pthread_attr_init(&attributes);
	if (error)
		return -error;
	pthread_attr_setstacksize(&attributes, VCPU_STACK_BYTES);
	/* The main thread takes the process's signals. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &blocked, &former);
	for (unsigned i = 0; i < count && !error; i++) {
		struct vcpu_thread *thread = &all->threads[i];

		thread->all = all;
		thread->index = i;
		error = pthread_create(&thread->thread, &attributes, vcpu_main, thread);
		thread->started = !error;
	}
	pthread_sigmask(SIG_SETMASK, &former, NULL);
	pthread_attr_destroy(&attributes);
	return -error;
}

void vcpu_threads_pause(struct vcpu_threads *all)
{
	pthread_mutex_lock(&all->lock);
	all->paused = true;
	while (all->nr_parked < all->count) {
		struct timespec limit;

		pthread_mutex_unlock(&all->lock);
		for (unsigned i = 0; i < all->count; i++)
			all->engine->ops->kick(all->engine, i);
		pthread_mutex_lock(&all->lock);
		if (all->nr_parked == all->count)
			break;
		/* A kick that came while a thread was between park and run is given again. */
		clock_gettime(CLOCK_REALTIME, &limit);
		limit.tv_nsec += 10 * NS_PER_MS;
		if (limit.tv_nsec >= NS_PER_S) {
			limit.tv_sec++;
			limit.tv_nsec -= NS_PER_S;
		}
		pthread_cond_timedwait(&all->changed, &all->lock, &limit);
	}
	pthread_mutex_unlock(&all->lock);
}

void vcpu_threads_resume(struct vcpu_threads *all)
{
	pthread_mutex_lock(&all->lock);
	all->paused = false;
	all->resumes++;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

void vcpu_threads_end(struct vcpu_threads *all)
{
	if (!all->engine)
		return;
	pthread_mutex_lock(&all->lock);
	all->ending = true;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < all->count; i++) {
		if (!all->threads[i].started)
			continue;
		for (;;) {
			struct timespec limit;

			all->engine->ops->kick(all->engine, i);
			clock_gettime(CLOCK_REALTIME, &limit);
			limit.tv_nsec += 10 * NS_PER_MS;
			if (limit.tv_nsec >= NS_PER_S) {
				limit.tv_sec++;
				limit.tv_nsec -= NS_PER_S;
			}
			if (pthread_timedjoin_np(all->threads[i].thread, NULL, &limit) == 0)
				break;
		}
	}
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	all->engine = NULL;
}
