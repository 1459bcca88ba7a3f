/*
 * Memory operands that the TLB does not have: segments with bases and limits, pages that were not
 * looked up yet; and those that no single host instruction can read and write: devices, operands
 * across pages, code pages.
 */
#include "engine/soft/operand.h"

#include "engine/soft/code_pages.h"
#include "engine/soft/paging.h"
#include "engine/soft/vector.h"

#include <pthread.h>

uint64_t operand_read_slow(struct vcpu *vcpu, const struct insn *insn, unsigned size)
{
	return mmu_read_sized(vcpu, insn_linear(vcpu, insn, size, MMU_READ), size);
}

void operand_write_slow(struct vcpu *vcpu, const struct insn *insn, unsigned size, uint64_t value)
{
	mmu_write_sized(vcpu, insn_linear(vcpu, insn, size, MMU_WRITE), size, value);
}

/* RAM that is written directly although it holds code: what the code page protocol of code_pages.h
 * asks for is done by rmw_end_slow. */
static volatile void *code_pointer(struct vcpu *vcpu, struct rmw *rmw, unsigned size)
{
	struct ram_place place;

	if ((rmw->address & (GUEST_PAGE_SIZE - 1)) + size > GUEST_PAGE_SIZE ||
		!mmu_translate(vcpu, rmw->address, &rmw->physical))
		return NULL;
	if (!paging_find(&vcpu->machine->memory, rmw->physical, &place) || place.read_only)
		return NULL;
	return place.region->host + place.offset;
}

static volatile void *begin_copy(struct vcpu *vcpu, struct rmw *rmw, unsigned size)
{
	if (rmw->locked) {
		vector_leave(vcpu);
		pthread_mutex_lock(&vcpu->engine->split_lock);
		vcpu->split_locked = true;
	}
	if (size > 8)
		mmu_read(vcpu, rmw->address, rmw->copy, size);
	else
		rmw->copy[0] = mmu_read_sized(vcpu, rmw->address, size);
	return rmw->copy;
}

volatile void *rmw_begin_at(
	struct vcpu *vcpu, struct rmw *rmw, gva_t address, unsigned size, bool locked)
{
	volatile void *host = mmu_pointer(vcpu, address, size, MMU_WRITE);

	rmw->direct = host;
	if (host)
		return host;
	mmu_probe_write(vcpu, address, size);
	rmw->address = address;
	rmw->locked = locked;
	host = code_pointer(vcpu, rmw, size);
	rmw->copied = !host;
	return host ? host : begin_copy(vcpu, rmw, size);
}

volatile void *rmw_begin_slow(
	struct vcpu *vcpu, const struct insn *insn, struct rmw *rmw, unsigned size, bool locked)
{
	return rmw_begin_at(vcpu, rmw, insn_linear(vcpu, insn, size, MMU_WRITE), size, locked);
}

void rmw_unlock(struct vcpu *vcpu)
{
	vcpu->split_locked = false;
	pthread_mutex_unlock(&vcpu->engine->split_lock);
}

void rmw_end_slow(struct vcpu *vcpu, struct rmw *rmw, unsigned size)
{
	if (!rmw->copied) {
		if (code_pages_written(vcpu->engine, rmw->physical, size))
			vcpu->run_end = NULL;
		return;
	}
	if (size > 8)
		mmu_write(vcpu, rmw->address, rmw->copy, size);
	else
		mmu_write_sized(vcpu, rmw->address, size, rmw->copy[0]);
	if (rmw->locked)
		rmw_unlock(vcpu);
}
