/*
 * Breakpoints by DR0 to DR3 (SDM 3B 18.2, 18.3). Not modelled: DEBUGCTL (branch trap, last branch
 * records), RTM, and B bits of breakpoints that match but are not enabled.
 */
#include "engine/soft/debug.h"

#include "engine/soft/execute.h"

enum breakpoint_kind { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_READ_WRITE };

static bool enabled(const struct vcpu *vcpu, unsigned n)
{
	return vcpu->dr7 >> 2 * n & 3;
}

static enum breakpoint_kind kind_of(const struct vcpu *vcpu, unsigned n)
{
	return (enum breakpoint_kind)(vcpu->dr7 >> (16 + 4 * n) & 3);
}

static unsigned length_of(const struct vcpu *vcpu, unsigned n)
{
	static const uint8_t lengths[4] = { 1, 2, 8, 4 };

	return lengths[vcpu->dr7 >> (18 + 4 * n) & 3];
}

bool debug_watches_data(const struct vcpu *vcpu)
{
	if (!(vcpu->dr7 & DR7_ENABLES))
		return false;
	for (unsigned n = 0; n < 4; n++) {
		enum breakpoint_kind kind = kind_of(vcpu, n);

		if (enabled(vcpu, n) && (kind == BREAK_WRITE || kind == BREAK_READ_WRITE))
			return true;
	}
	return false;
}

static bool overlaps(const struct vcpu *vcpu, unsigned n, uint64_t address, unsigned size)
{
	unsigned length = length_of(vcpu, n);
	uint64_t first = vcpu->dr[n] & ~(uint64_t)(length - 1);

	return address - first < length || first - address < size;
}

void debug_data_access(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access)
{
	for (unsigned n = 0; n < 4; n++) {
		enum breakpoint_kind kind = kind_of(vcpu, n);
		bool watched =
			kind == BREAK_READ_WRITE || (kind == BREAK_WRITE && access == MMU_WRITE);

		if (enabled(vcpu, n) && watched && overlaps(vcpu, n, address, size))
			vcpu->debug_pending |= BIT(n);
	}
}

void debug_io_access(struct vcpu *vcpu, uint16_t port, unsigned size)
{
	if (!(vcpu->dr7 & DR7_ENABLES) || !(vcpu->cr4 & CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(vcpu, n) && kind_of(vcpu, n) == BREAK_IO &&
			overlaps(vcpu, n, port, size))
			vcpu->debug_pending |= BIT(n);
}

uint64_t debug_instruction_hits(const struct vcpu *vcpu, gva_t address)
{
	uint64_t hits = 0;

	for (unsigned n = 0; n < 4; n++)
		if (enabled(vcpu, n) && kind_of(vcpu, n) == BREAK_EXECUTE && vcpu->dr[n] == address)
			hits |= BIT(n);
	return hits;
}

void debug_raise(struct vcpu *vcpu, uint64_t hits)
{
	vcpu->debug_pending = 0;
	vcpu->dr6 = (vcpu->dr6 & ~DR6_B) | DR6_ONES | hits;
	vcpu->dr7 &= ~DR7_GD;
	cpu_raise(vcpu, X86_DB);
}

void debug_update(struct vcpu *vcpu)
{
	vcpu->run_end = NULL;
	mmu_update_mode(vcpu);
}
