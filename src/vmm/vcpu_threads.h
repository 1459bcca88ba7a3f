/*
 * The threads that run a machine's vCPUs, and how all of them are brought to a stop.
 */
#ifndef VMM_VCPU_THREADS_H
#define VMM_VCPU_THREADS_H

#include "engine/engine.h"

#include <pthread.h>

struct vcpu_threads;

struct vcpu_thread {
	pthread_t thread;
	bool started;
	struct vcpu_threads *all;
	unsigned index;
};

struct vcpu_threads {
	struct engine *engine;
	unsigned count;
	struct vcpu_thread threads[MACHINE_MAX_VCPUS];
	/*
	 * A vCPU ended its run for a reason other than a kick: its text is in `exit`. Called on
	 * its thread, which then waits until it is resumed.
	 */
	void (*stopped)(void *context, const struct vcpu_exit *exit);
	void *context;

	/* Guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool paused, ending;
	unsigned nr_parked;
	unsigned resumes; /* grows with each resume */
};

/* Starts `count` threads, all parked until vcpu_threads_resume. Returns 0 or -errno. */
int vcpu_threads_start(struct vcpu_threads *all, struct engine *engine, unsigned count,
	void (*stopped)(void *context, const struct vcpu_exit *exit), void *context);

/* Returns when no vCPU runs. Not under the machine lock. */
void vcpu_threads_pause(struct vcpu_threads *all);
void vcpu_threads_resume(struct vcpu_threads *all);

/* Pauses and joins. Takes one that was never started. */
void vcpu_threads_end(struct vcpu_threads *all);

#endif
