/*
 * Finds the window (mmu_window.h). For the vCPU's thread.
 *
 * From a large page the run is followed up and down, a page of the guest's at a time, as long as
 * pages are present, accessed, global, the supervisor's alone, and plain RAM at the same distance.
 * A guest can make that long, and useless by a flush, so looking takes one part in LOOK_PART of the
 * time at most. The longest run found is kept.
 */
#include "engine/soft/mmu_window.h"

#include "engine/soft/paging.h"
#include "engine/soft/tsc.h"

#define MAX_PAGES 4096 /* in each direction */
#define LOOK_PART 256
/* A vCPU that wakes for a moment fills few entries, and looking takes as long as a hundred. */
#define FILLS 16

/* What a page of the guest's adds to a run. */
struct piece {
	gva_t from;
	uint64_t size;
	uint64_t host;
};

static bool has_apic(const struct vcpu *vcpu, gpa_t base, uint64_t size)
{
	return vcpu->apic_base & APIC_BASE_ENABLE &&
	       (vcpu->apic_base & APIC_BASE_ADDRESS) - base < size;
}

static bool piece_at(struct vcpu *vcpu, gva_t address, struct piece *piece)
{
	struct paging_leaf leaf;
	uint64_t size;
	void *host;

	if (!x86_is_canonical(address) || !paging_look_leaf(vcpu, address, &leaf))
		return false;
	size = BIT(leaf.shift);
	host = guest_memory_host_alone(&vcpu->machine->memory, leaf.base, size);
	if (!host || leaf.user || !leaf.global || !leaf.accessed || has_apic(vcpu, leaf.base, size))
		return false;
	*piece = (struct piece){
		.from = address & ~(size - 1),
		.size = size,
		.host = (uint64_t)(uintptr_t)host,
	};
	return true;
}

static void grow_up(struct vcpu *vcpu, struct piece *run)
{
	struct piece next;

	for (unsigned i = 0; i < MAX_PAGES; i++) {
		if (!piece_at(vcpu, run->from + run->size, &next) ||
			next.from != run->from + run->size || next.host != run->host + run->size)
			return;
		run->size += next.size;
	}
}

static void grow_down(struct vcpu *vcpu, struct piece *run)
{
	struct piece next;

	for (unsigned i = 0; i < MAX_PAGES; i++) {
		if (!piece_at(vcpu, run->from - 1, &next) || next.host + next.size != run->host)
			return;
		run->from = next.from;
		run->host = next.host;
		run->size += next.size;
	}
}

void mmu_window_consider(struct vcpu *vcpu, gva_t address)
{
	struct mmu_window *window = &vcpu->tlb.window;
	uint64_t start = host_tsc();
	struct piece run;

	if (address - window->from < window->size || ++window->fills < FILLS ||
		start < window->next_tsc || vcpu->smm || vcpu->a20_mask != UINT64_MAX ||
		!vcpu->mode.long_mode)
		return;
	window->fills = 0;
	if (piece_at(vcpu, address, &run)) {
		grow_up(vcpu, &run);
		grow_down(vcpu, &run);
		if (run.size > window->size && run.size > MMU_WINDOW_SPAN) {
			window->from = run.from;
			window->limit = run.size - MMU_WINDOW_SPAN;
			window->host = run.host;
			window->size = run.size;
		}
	}
	window->next_tsc = start + LOOK_PART * (host_tsc() - start);
}

void mmu_window_close(struct vcpu *vcpu)
{
	vcpu->tlb.window.limit = vcpu->tlb.window.size = 0;
	vcpu->tlb.window.fills = 0;
}

void mmu_window_flush_page(struct vcpu *vcpu, gva_t address)
{
	const struct mmu_window *window = &vcpu->tlb.window;

	if (address - window->from < window->size)
		mmu_window_close(vcpu);
}
