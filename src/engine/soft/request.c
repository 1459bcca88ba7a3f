/*
 * How anybody gets a vCPU's attention: a bit, and a wake-up if it sleeps in vcpu_wait.
 */
#include "engine/soft/direct.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void vcpu_request(struct vcpu *vcpu, uint64_t bits)
{
	atomic_fetch_or(&vcpu->requests, bits);
	direct_kick(vcpu);
	if (atomic_exchange(&vcpu->futex, 0) == 1)
		syscall(SYS_futex, &vcpu->futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
