/*
 * For tests: a transport that hears nothing of what a model says.
 */
#ifndef VIRTIO_TRANSPORT_FIXTURE_H
#define VIRTIO_TRANSPORT_FIXTURE_H

#include "virtio/virtio.h"

static inline void silent_interrupt_queue(void *transport, unsigned index)
{
	(void)transport;
	(void)index;
}

static inline void silent_call(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops silent_transport_ops = {
	.interrupt_queue = silent_interrupt_queue,
	.interrupt_config = silent_call,
	.outside = silent_call,
};

#endif
